"""Where the shop's parts are."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from toban.core import connection_urls
from toban.core.config_types import Address, Secret, Section, Text, Zone, require_scheme

ENVIRONMENT: Final = {
    "database": "DATABASE_URL",
    "redis": "REDIS_URL",
    "shop_api": "SHOP_API_URL",
    "storefront": "STOREFRONT_URL",
    "fly_token": "FLY_API_TOKEN",
}
"""The variables that are enough to watch a shop without any configuration."""


class Services(Section):
    """Which of the programs that send telemetry is which, by their `service.name`."""

    server: tuple[str, ...] = ("vendure-server", "vendure")
    """Vendure's server processes: their requests are the shop's."""

    worker: tuple[str, ...] = ("vendure-worker",)
    """Vendure's worker processes."""

    storefront: tuple[str, ...] = ("storefront",)
    """The programs that make the pages; their requests become `storefront_…`."""


class ShopCheck(Section):
    """What is tried at the Shop API, as a customer would."""

    search: Text = ""
    """A word to search for; the first product of the catalogue unless set."""

    product: Text = ""
    """The slug of the product to look at and price; what the search found unless set."""

    customer: Text = ""
    """The e-mail address of a customer to ask as, where prices differ by customer."""

    password: Secret | None = None
    """That customer's password."""

    cart: bool = False
    """Whether to put the product in a cart and take it out again: one session and one order, used again and again."""

    storefront: Text = ""
    """A text that the storefront's page must hold."""


class ShopSettings(Section):
    """The shop: what is named here is watched, by collectors of the same names."""

    name: Text = ""
    """What the shop is called in messages; the host of its Shop API or storefront unless set."""

    environment: Text = ""
    """Which of its environments this is, for messages: production, staging."""

    database: (
        Annotated[Secret, require_scheme("postgres", "postgresql"), AfterValidator(connection_urls.libpq_url)] | None
    ) = None
    """The shop's PostgreSQL, as a role that only reads: postgresql://toban:…@host:5432/vendure."""

    redis: Annotated[Secret, require_scheme("redis", "rediss"), AfterValidator(connection_urls.redis_url)] | None = None
    """The shop's Redis, Valkey or Upstash: redis://… or rediss://… (TLS)."""

    shop_api: Address | None = None
    """Vendure's Shop API, like https://shop.example/shop-api."""

    fly_token: Secret | None = None
    """A read-only token of Fly's, where the shop stands there: `fly tokens create readonly ORGANISATION`."""

    fly_org: Text = ""
    """The organisation's slug; that of the apps, or of the machine toban stands on, unless set."""

    fly_apps: tuple[Text, ...] = ()
    """The shop's apps; all of the organisation unless set."""

    admin_api: Address | None = None
    """Vendure's Admin API, like https://shop.example/admin-api; it tells in which precision money is kept."""

    admin_api_key: Secret | None = None
    """An API key for the Admin API, id:secret (Vendure 3.6 and newer)."""

    storefront: Address | None = None
    """The page that customers open."""

    worker: Address | None = None
    """The health address of Vendure's worker, like http://worker:3020/health."""

    timezone: Zone = "UTC"
    """The time zone in which the shop's processes write times (their TZ)."""

    precision: Annotated[int, Field(ge=0, le=6)] | None = None
    """With how many digits behind the point money is kept; asked of the Admin API unless set, else 2."""

    tax: Literal["with", "without"] = "without"
    """Whether amounts of orders are told with tax."""

    customer_type: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "customerStatus"
    """The custom field of a customer that tells what sort of customer it is."""

    services: Services = Services()

    check: ShopCheck = ShopCheck()

    @property
    def title(self) -> str:
        """What the shop is called, with its environment; empty where nothing says it."""
        address = self.shop_api or self.storefront or self.admin_api
        called = self.name or (urlsplit(str(address)).hostname if address else "") or ""
        return f"{called} ({self.environment})" if called and self.environment else called or self.environment


def from_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the section that the environment tells."""
    return {field: environment[name] for field, name in ENVIRONMENT.items() if environment.get(name)}
