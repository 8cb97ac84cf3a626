"""Reads rows of the shop's database: with the role that only reads, where there is one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from toban.core.errors import ActionError, CollectError
from toban.maintenance.task import TaskTools
from toban.shop.settings import ShopSettings

NO_ADDRESS: Final = "shop.database is not set: toban can't read the shop's database"

COLUMNS: Final = """
SELECT c.relname AS table, a.attname AS column, has_column_privilege(c.oid, a.attnum, 'SELECT') AS readable,
       quote_ident(current_user) AS role
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.oid = ANY (SELECT to_regclass(quote_ident(it)) FROM unnest(%(tables)s::text[]) it)
  AND a.attnum > 0 AND NOT a.attisdropped
"""


def not_configured(settings: ShopSettings) -> str:
    """Return what is missing to read the database."""
    return "" if settings.database or settings.database_admin else NO_ADDRESS


async def read(
    tools: TaskTools, query: str, parameters: Mapping[str, Any] | None = None
) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a query: by `shop.database`, else by `shop.database_admin`. Raises ``ActionError``."""
    database = tools.shop.database
    if database is None:
        return await tools.database.execute(query, parameters)
    try:
        async with database.transaction() as cursor:
            await cursor.execute(query.encode(), parameters)
            names = [it.name for it in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]
    except CollectError as error:
        raise ActionError(str(error)) from error


class ReadableTables:
    """Which tables and columns there are, and which of them the reading role may read."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._columns: dict[str, dict[str, bool]] = {}
        self._role = "toban"
        for row in rows:
            self._columns.setdefault(row["table"], {})[row["column"]] = row["readable"]
            self._role = row["role"]

    def absent(self, needed: Mapping[str, Sequence[str]]) -> list[str]:
        """Return which of the needed tables and columns this shop does not have."""
        return [
            table if table not in self._columns else f"{table}.{column}"
            for table, columns in needed.items()
            for column in columns
            if column not in self._columns.get(table, {})
        ]

    def grants(self, needed: Mapping[str, Sequence[str]]) -> list[str]:
        """Return the grants that are missing to read what is needed."""
        hidden = {
            table: [it for it in columns if self._columns.get(table, {}).get(it) is False]
            for table, columns in needed.items()
        }
        return [
            f'GRANT SELECT ({", ".join(_quoted(it) for it in columns)}) ON "{table}" TO {self._role}'
            for table, columns in hidden.items()
            if columns
        ]


async def readable_tables(tools: TaskTools, tables: Iterable[str]) -> ReadableTables:
    """Return what of some tables there is, and may be read. Raises ``ActionError``."""
    return ReadableTables(await read(tools, COLUMNS, {"tables": sorted(set(tables))}))


def _quoted(name: str) -> str:
    return f'"{name}"'
