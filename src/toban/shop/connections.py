"""Connections to the shop, shared by all collectors."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import SecretStr

from toban.core.errors import ActionError, SettingsError
from toban.shop.settings import ShopSettings

if TYPE_CHECKING:
    from toban.shop.admin_database import AdminDatabase
    from toban.shop.database import ShopDatabase
    from toban.shop.redis import ShopRedis


@dataclass(frozen=True, slots=True)
class ShopConnections:
    """The shop's settings, and its parts that need a connection; one that is not configured is None."""

    database: "ShopDatabase | None" = None
    redis: "ShopRedis | None" = None
    settings: ShopSettings = field(default_factory=ShopSettings)

    @property
    def admin_database(self) -> "AdminDatabase":
        """What acts on the shop's database. Raises ``ActionError`` where it is not configured."""
        if self.settings.database_admin is None:
            raise ActionError("shop.database_admin is not set: toban has no role to act on the database")
        from toban.shop.admin_database import AdminDatabase

        return AdminDatabase(self.settings.database_admin)


def invalid_addresses(settings: ShopSettings) -> Iterator[tuple[str, str]]:
    """Yield which addresses are invalid, and why; nothing is connected."""
    try:
        if settings.database:
            _database(settings.database)
    except SettingsError as error:
        yield "database", str(error).removeprefix("shop.database is invalid: ")
    try:
        if settings.redis:
            _redis(settings.redis)
    except SettingsError as error:
        yield "redis", str(error).removeprefix("shop.redis is invalid: ")


@asynccontextmanager
async def open_connections(settings: ShopSettings) -> AsyncIterator[ShopConnections]:
    """Return the shop's connections, closed when the block ends. Each connects when it is first used."""
    async with AsyncExitStack() as stack:
        database = redis = None
        if settings.database:
            database = await stack.enter_async_context(_database(settings.database))
        if settings.redis:
            redis = await stack.enter_async_context(_redis(settings.redis))
        yield ShopConnections(database, redis, settings)


# The drivers cost some 20 MB each: they are imported when the shop has such a part.


def _database(address: SecretStr) -> "ShopDatabase":
    from toban.shop.database import ShopDatabase

    return ShopDatabase(address)


def _redis(address: SecretStr) -> "ShopRedis":
    from toban.shop.redis import ShopRedis

    return ShopRedis(address)
