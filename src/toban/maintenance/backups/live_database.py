"""The shop's database, as backups see it: what pg_dump connects to, and what a restored copy is compared with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from toban.core.errors import ActionError
from toban.maintenance.backups.dump import DumpSource
from toban.maintenance.backups.places import NO_DATABASE
from toban.maintenance.backups.programs import backup_program
from toban.maintenance.task import TaskTools
from toban.shop.admin_database import AdminDatabase

ABOUT: Final = """
SELECT current_database() AS database, current_user AS role,
       current_setting('server_version_num')::int / 10000 AS version,
       pg_database_size(current_database()) AS size
"""
IDENTITY: Final = "SELECT system_identifier::text AS cluster, current_database() AS database FROM pg_control_system()"
UNREADABLE: Final = """
SELECT n.nspname || '.' || c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND n.nspname !~ '^pg_temp'
  AND NOT CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
               ELSE has_table_privilege(c.oid, 'SELECT') END
ORDER BY 1 LIMIT 10
"""


class LiveDatabase:
    """
    The shop's database, by the role of `shop.database_admin`, else that of `shop.database`.

    Methods raise ``ActionError``: ``BackupError`` where it is about programs.
    """

    def __init__(self, tools: TaskTools) -> None:
        """Raises ``ActionError`` where no database is configured."""
        settings = tools.shop.settings
        address = settings.database_admin or settings.database
        if address is None:
            raise ActionError(NO_DATABASE)
        self.address: SecretStr = address
        self._folder = settings.pg_bin
        self._database = AdminDatabase(address)

    async def source(self) -> DumpSource:
        """Return what pg_dump needs: a program that is not older than the server."""
        about = await self._about()
        program, client = await backup_program("pg_dump", self._folder, about["version"], "the server")
        return DumpSource(self.address, about["database"], about["version"], program, client)

    async def version(self) -> int:
        """Return the major version of its server."""
        return int((await self._about())["version"])

    async def size(self) -> int:
        """Return the size of the database on its server's disk."""
        return int((await self._about())["size"])

    async def role(self) -> str:
        """Return the role that reads it."""
        return str((await self._about())["role"])

    async def unreadable_tables(self) -> Sequence[str]:
        """Return tables and sequences that the role may not read, ten at most: pg_dump would fail."""
        return [str(it["name"]) for it in await self._database.execute(UNREADABLE)]

    async def identity(self) -> tuple[str, str]:
        """Return what tells this database from all others, whatever its address: its cluster's id, and its name."""
        return await identity(self._database)

    async def rows(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, seconds: int = 60
    ) -> Sequence[Mapping[str, Any]]:
        """Run a query and return its rows."""
        return await self._database.execute(query, parameters, seconds=seconds)

    async def _about(self) -> Mapping[str, Any]:
        (row,) = await self._database.execute(ABOUT)
        return row


async def pg_restore_for_server(tools: TaskTools) -> Path:
    """
    Return a pg_restore that reads what pg_dump writes of the live server; the newest where no database is configured.

    Raises ``ActionError``.
    """
    settings = tools.shop.settings
    wanted = await LiveDatabase(tools).version() if settings.database_admin or settings.database else None
    return (await backup_program("pg_restore", settings.pg_bin, wanted, "the server"))[0]


async def identity(database: AdminDatabase) -> tuple[str, str]:
    """Return the id of a database's cluster, and its name. Raises ``ActionError``."""
    (row,) = await database.execute(IDENTITY)
    return str(row["cluster"]), str(row["database"])
