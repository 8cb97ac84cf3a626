"""The section `shop` of toban.yaml: the addresses of the shop's parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from toban.core import connection_urls
from toban.core.config_types import Address, Secret, Section, Text, Zone, require_scheme
from toban.shop.backup_settings import BackupSettings
from toban.shop.fly import MACHINES_API

ENVIRONMENT: Final = {
    "database": "DATABASE_URL",
    "redis": "REDIS_URL",
    "shop_api": "SHOP_API_URL",
    "storefront": "STOREFRONT_URL",
    "fly_token": "FLY_API_TOKEN",
}
"""Environment variables that are enough to monitor a shop without any configuration."""


class Services(Section):
    """The programs that send telemetry, by their `service.name`."""

    server: tuple[str, ...] = ("vendure-server", "vendure")
    """Vendure's server processes: their requests are the shop's."""

    worker: tuple[str, ...] = ("vendure-worker",)
    """Vendure's worker processes."""

    storefront: tuple[str, ...] = ("storefront",)
    """Storefront processes; their requests become `storefront_…`."""

    graphql_errors: bool = True
    """Whether to log a line for each failed GraphQL request. Switch it off where the shop reports them by itself."""


class ShopCheck(Section):
    """What the check of the Shop API uses."""

    search: Text = ""
    """Search term; by default the name of the catalogue's first product."""

    product: Text = ""
    """Slug of the product to read; by default the first search result."""

    customer: Text = ""
    """E-mail address of a customer to log in as, where prices differ by customer."""

    password: Secret | None = None
    """That customer's password."""

    cart: bool = False
    """Whether to put the product in a cart and remove it again: one session and one order, used again and again."""

    storefront: Text = ""
    """A text that the storefront's page must contain."""


class ShopSettings(Section):
    """The shop: each part that is set here is monitored, by a collector of the same name."""

    name: Text = ""
    """Name of the shop in messages; by default the host of its Shop API or storefront."""

    environment: Text = ""
    """Environment in messages: production, staging."""

    database: (
        Annotated[Secret, require_scheme("postgres", "postgresql"), AfterValidator(connection_urls.libpq_url)] | None
    ) = None
    """The shop's PostgreSQL, with a read-only role: postgresql://toban:…@host:5432/vendure."""

    database_admin: (
        Annotated[Secret, require_scheme("postgres", "postgresql"), AfterValidator(connection_urls.libpq_url)] | None
    ) = None
    """The same PostgreSQL with the role by which runbooks and maintenance act; without it, they don't."""

    pg_bin: Path | None = None
    """The folder of PostgreSQL's programs, like /usr/lib/postgresql/17/bin; by default those of the PATH."""

    backups: BackupSettings | None = None

    redis: Annotated[Secret, require_scheme("redis", "rediss"), AfterValidator(connection_urls.redis_url)] | None = None
    """The shop's Redis, Valkey or Upstash: redis://… or rediss://… (TLS)."""

    shop_api: Address | None = None
    """Vendure's Shop API, like https://shop.example/shop-api."""

    fly_token: Secret | None = None
    """A read-only Fly token, where the shop runs there: `fly tokens create readonly ORGANISATION`."""

    fly_admin_token: Secret | None = None
    """A Fly token by which runbooks restart machines: `fly tokens create deploy -a APP`; without it, they don't."""

    fly_api: Address = MACHINES_API
    """The address of Fly's Machines API for that."""

    fly_org: Text = ""
    """The organisation's slug; by default that of the apps, or of the machine that toban runs on."""

    fly_apps: tuple[Text, ...] = ()
    """The shop's apps; by default all of the organisation."""

    admin_api: Address | None = None
    """Vendure's Admin API, like https://shop.example/admin-api; it returns the precision of money."""

    admin_api_key: Secret | None = None
    """An API key for the Admin API, id:secret (Vendure 3.6 and newer)."""

    storefront: Address | None = None
    """The page that customers open."""

    worker: Address | None = None
    """The health address of Vendure's worker, like http://worker:3020/health."""

    timezone: Zone = "UTC"
    """The time zone in which the shop's processes write times (their TZ)."""

    precision: Annotated[int, Field(ge=0, le=6)] | None = None
    """Decimal places of money; by default those that the Admin API returns, else 2."""

    tax: Literal["with", "without"] = "without"
    """Whether amounts of orders are reported with tax."""

    customer_type: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "customerStatus"
    """The custom field with the type of a customer."""

    services: Services = Services()

    check: ShopCheck = ShopCheck()

    @property
    def title(self) -> str:
        """The name of the shop with its environment; empty where neither is known."""
        address = self.shop_api or self.storefront or self.admin_api
        name = self.name or (urlsplit(str(address)).hostname if address else "") or ""
        return f"{name} ({self.environment})" if name and self.environment else name or self.environment


def from_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that environment variables have."""
    return {field: environment[name] for field, name in ENVIRONMENT.items() if environment.get(name)}
