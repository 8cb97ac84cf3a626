"""Where the shop's parts are."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

from toban.core.section import Address, Secret, Section

ENVIRONMENT: Final = {
    "database": "DATABASE_URL",
    "redis": "REDIS_URL",
    "shop_api": "SHOP_API_URL",
    "storefront": "STOREFRONT_URL",
}
"""The variables that are enough to watch a shop without any configuration."""


def _of_scheme(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        if value.get_secret_value().partition("://")[0] not in schemes:
            raise ValueError(f"the address must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


class ShopSettings(Section):
    """The shop: what is named here is watched, by collectors of the same names."""

    database: Annotated[Secret, _of_scheme("postgres", "postgresql")] | None = None
    """The shop's PostgreSQL, as a role that only reads: postgresql://toban:…@host:5432/vendure."""

    redis: Annotated[Secret, _of_scheme("redis", "rediss")] | None = None
    """The shop's Redis, Valkey or Upstash: redis://… or rediss://… (TLS)."""

    shop_api: Address | None = None
    """Vendure's Shop API, like https://shop.example/shop-api."""

    storefront: Address | None = None
    """The page that customers open."""


def from_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the section that the environment tells."""
    return {field: environment[name] for field, name in ENVIRONMENT.items() if environment.get(name)}
