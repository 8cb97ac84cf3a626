"""The database that a backup is restored into: its name tells it from all others, and only such are dropped."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from pydantic import SecretStr

from toban.core.errors import ActionError
from toban.maintenance.backups.live_database import identity
from toban.shop.admin_database import AdminDatabase, quoted
from toban.shop.postgres_address import address_parts, address_with
from toban.shop.settings import ShopSettings

log = structlog.get_logger("toban.maintenance")

PREFIX: Final = "toban_drill_"
"""What the names of databases and folders of drills begin with: nothing else is ever dropped."""
NAME: Final = re.compile(r"toban_drill_(\d{8}_\d{6})(?:_\d{1,10})?", re.ASCII)
TIME: Final = "%Y%m%d_%H%M%S"
LEFTOVER: Final = timedelta(hours=24)
"""The age from which a database of a process elsewhere has been left behind."""
OWNER: Final = "drill"
"""The role that owns the restored database: what a dump contains runs without a superuser's rights."""

DATABASES: Final = "SELECT datname AS name FROM pg_database WHERE starts_with(datname, %(prefix)s)"
NEEDS_SUPERUSER: Final = """
SELECT 1 AS found FROM pg_available_extension_versions WHERE name = %(name)s AND NOT trusted LIMIT 1
"""


def drill_name(now: datetime) -> str:
    """Return the name of a drill's database, and of its folder: others may begin in the same second."""
    return f"{PREFIX}{now.astimezone(UTC).strftime(TIME)}_{secrets.randbelow(10**9)}"


def drill_time(name: str) -> datetime | None:
    """Return when a drill began, by its name; None for a name that is no drill's."""
    found = NAME.fullmatch(name)
    try:
        return datetime.strptime(found[1], TIME).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def is_same_server(one: SecretStr, other: SecretStr) -> bool:
    """Return whether two addresses name the same database of the same server, as far as the addresses tell."""
    try:
        return _target(one) == _target(other)
    except ActionError:
        return False


def _target(address: SecretStr) -> tuple[str, str, str]:
    parts = address_parts(address)
    host = str(parts.get("host") or parts.get("hostaddr") or "localhost").lower()
    user = str(parts.get("user") or "")
    return host, str(parts.get("port") or "5432"), str(parts.get("dbname") or user)


class DrillDatabase:
    """An empty database for one drill; every statement that makes or drops one looks at its name first."""

    def __init__(self, server: SecretStr, name: str, *, is_ours: bool) -> None:
        """``server`` is the address of a database beside it; ``is_ours`` is whether the server is thrown away too."""
        _require_drill(name)
        self.name = name
        self._server = server
        self._is_ours = is_ours

    @property
    def address(self) -> SecretStr:
        """Its address, as its owner."""
        owner = {"user": OWNER} if self._is_ours else {}
        return address_with(self._server, dbname=self.name, **owner)

    async def create(self) -> None:
        """Create it. Raises ``ActionError``."""
        server = AdminDatabase(self._server)
        name = quoted(self.name)
        if self._is_ours:
            await server.maintain(f"CREATE ROLE {quoted(OWNER)} LOGIN")
            await server.maintain(f"CREATE DATABASE {name} TEMPLATE template0 OWNER {quoted(OWNER)}")
        else:
            await server.maintain(f"CREATE DATABASE {name} TEMPLATE template0")

    async def add_extension(self, name: str) -> None:
        """
        Create an extension of the dump that only a superuser may create, where the server is thrown away.

        Raises ``BackupError`` where the server has no such extension.
        """
        if not self._is_ours:
            return
        inside = AdminDatabase(address_with(self._server, dbname=self.name))
        if await inside.execute(NEEDS_SUPERUSER, {"name": name}):
            await inside.maintain(f"CREATE EXTENSION IF NOT EXISTS {quoted(name)}")

    async def drop(self) -> None:
        """Drop it. Raises ``ActionError``."""
        await drop_database(AdminDatabase(self._server), self.name)


async def drop_database(server: AdminDatabase, name: str) -> None:
    """Drop the database of a drill, and no other. Raises ``ActionError``."""
    _require_drill(name)
    await server.maintain(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


def _require_drill(name: str) -> None:
    if drill_time(name) is None:
        raise ActionError(f"{name!r} is no database of a drill: it is not touched")


@asynccontextmanager
async def elsewhere(address: SecretStr, settings: ShopSettings, name: str) -> AsyncIterator[DrillDatabase]:
    """
    Make a database on another server, which is dropped when the block ends.

    Raises ``ActionError``, also where the address is that of the shop's own database, by whatever name.
    """
    server = AdminDatabase(address)
    for live in filter(None, (settings.database, settings.database_admin)):
        if is_same_server(address, live) or await _is_same_database(server, live):
            raise ActionError("the server of the drill is the shop's own database: name another one in `server`")
    database = DrillDatabase(address, name, is_ours=False)
    await database.create()
    try:
        yield database
    finally:
        try:
            await asyncio.shield(database.drop())
        except ActionError as error:
            # What ended the drill matters more; the next run drops it.
            log.warning("database of a drill not dropped", database=name, error=str(error))


async def _is_same_database(server: AdminDatabase, live: SecretStr) -> bool:
    try:
        theirs = await identity(AdminDatabase(live))
    except ActionError:
        return False  # the shop's database is down or tells nothing: the addresses differ
    return await identity(server) == theirs


async def sweep(address: SecretStr, now: datetime, ours: Container[str]) -> list[str]:
    """
    Drop the databases that drills have left on a server; return their names.

    These are ``ours``, and any that is older than a day. Raises ``ActionError``.
    """
    server = AdminDatabase(address)
    rows = await server.execute(DATABASES, {"prefix": PREFIX})
    names = [str(it["name"]) for it in rows]
    left = [it for it in names if (at := drill_time(it)) and (it in ours or now - at > LEFTOVER)]
    for name in left:
        await drop_database(server, name)
    return left
