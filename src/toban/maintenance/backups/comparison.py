"""Compares a restored copy with the shop: whether it is this shop, and whether anything is missing in it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from toban.core.errors import ActionError
from toban.core.number_format import counted
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.task import Finding, Severity
from toban.shop.admin_database import quoted

Query = Callable[[str, Mapping[str, Any] | None], Awaitable[Sequence[Mapping[str, Any]]]]
"""Runs a query in one of the two databases."""

MARGIN: Final = timedelta(minutes=5)
"""How long before a dump began an order must have been placed to be in it: its transaction may have lasted."""
LAST_ORDERS: Final = 20

SCHEMA: Final = """
SELECT n.nspname AS schema FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'orderPlacedAt' AND NOT a.attisdropped
WHERE c.relname = 'order' AND c.relkind IN ('r', 'p') ORDER BY n.nspname = 'public' DESC, n.nspname LIMIT 1
"""
TABLES: Final = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 2000
"""
ORDERS: Final = """
SELECT count(*) AS count, max("orderPlacedAt") AS newest, max("orderPlacedAt") AT TIME ZONE %(zone)s::text AS newest_at
FROM {schema}."order" WHERE "orderPlacedAt" IS NOT NULL
"""
ENDED_ORDERS: Final = """
SELECT count(*) AS count FROM {schema}."order"
WHERE "orderPlacedAt" <= %(newest)s::timestamp OR "orderPlacedAt" <= %(until)s::timestamptz AT TIME ZONE %(zone)s::text
"""
"""Orders whose transactions had ended when the dump began."""
LAST_CODES: Final = """
SELECT code FROM {schema}."order" WHERE "orderPlacedAt" IS NOT NULL ORDER BY "orderPlacedAt" DESC LIMIT %(limit)s
"""
KNOWN_CODES: Final = 'SELECT count(*) AS count FROM {schema}."order" WHERE code = ANY (%(codes)s)'
PAYMENTS: Final = """
SELECT coalesce(sum(amount), 0)::bigint AS amount FROM {schema}.payment
WHERE state = 'Settled' AND "createdAt" >= %(day)s AND "createdAt" < %(day)s + interval '1 day'
  AND (%(until)s::timestamp IS NULL OR "updatedAt" <= %(until)s::timestamp)
"""
LAST_CHANGE: Final = """
SELECT greatest((SELECT max("updatedAt") FROM {schema}.payment), (SELECT max("updatedAt") FROM {schema}."order")) AS at
"""
ORPHANS: Final = """
SELECT count(*) AS count FROM {schema}.{child} c
WHERE c.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {schema}.{parent} p WHERE p.id = c.{column})
"""
RELATIONS: Final = (
    ("order_line", "orderId", "order"),
    ("payment", "orderId", "order"),
    ("order", "customerId", "customer"),
)
MIGRATIONS: Final = "SELECT count(*) AS count, max(name) AS newest FROM {schema}.migrations"
PASSWORDS: Final = """
SELECT count(*) AS count FROM {schema}.authentication_method WHERE length("passwordHash") > 20
"""


class LiveError(ActionError):
    """The live database does not answer."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What is in a restored copy."""

    schema: str
    tables: frozenset[str]
    orders: int
    newest: datetime | None
    """The newest order, as the column has it: without a time zone."""
    newest_at: datetime | None
    """The same in UTC."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found, in sentences."""

    findings: Sequence[Finding] = ()
    said: Sequence[str] = field(default=())


class DatabaseComparison:
    """One restored copy, and the live database where there is one."""

    def __init__(self, name: str, restored: Query, live: Query | None, zone: str, dumped_at: datetime | None) -> None:
        """``dumped_at`` is when the dump was begun; None where only the time of its file is known."""
        self._name = name
        self._restored = restored
        self._live = live
        self._zone = zone
        self._until = dumped_at - MARGIN if dumped_at else None
        self._findings: list[Finding] = []
        self._said: list[str] = []

    async def read(self, database: str) -> Copy:
        """Read the copy of a database of a name. Raises ``BackupError`` where it is no shop's."""
        found = await self._restored(SCHEMA, None)
        if not found:
            raise BackupError(
                Problem.OTHER_DATABASE,
                f"{self._name} holds another database ({database}): it has no orders of Vendure",
                "look what writes the backups, and where they go",
            )
        schema = str(found[0]["schema"])
        tables = frozenset(str(it["name"]) for it in await self._restored(TABLES, {"schema": schema}))
        (orders,) = await self._restored(_in(ORDERS, schema), {"zone": self._zone})
        return Copy(schema, tables, orders["count"], orders["newest"], orders["newest_at"])

    async def compare(self, copy: Copy) -> Comparison:
        """Look whether anything is missing in the copy. Raises ``ActionError``."""
        await self._check_relations(copy)
        await self._check_passwords(copy)
        if self._live is None:
            self._add("live", "no live database is configured: nothing was compared with it", Severity.INFO)
        else:
            try:
                await self._compare_with(partial(_ask, self._live), copy)
            except LiveError as error:
                # The backup is as good as before: what is wrong with the live database, others report.
                self._add("live", f"the live database could not be compared: {error}", Severity.WARNING)
        return Comparison(tuple(self._findings), tuple(self._said))

    async def _compare_with(self, live: Query, copy: Copy) -> None:
        found = await live(SCHEMA, None)
        if not found:
            self._add("live", "the live database has no orders of Vendure: nothing was compared", Severity.WARNING)
            return
        schema = str(found[0]["schema"])
        await self._check_identity(live, schema, copy)
        await self._compare_orders(live, schema, copy)
        await self._compare_payments(live, schema, copy)
        await self._compare_schemas(live, schema, copy)

    async def _check_relations(self, copy: Copy) -> None:
        for child, column, parent in RELATIONS:
            if {child, parent} <= copy.tables:
                query = ORPHANS.format(schema=_quoted(copy.schema), child=_quoted(child), column=_quoted(column),
                                       parent=_quoted(parent))  # fmt: skip
                (row,) = await self._restored(query, None)
                if row["count"]:
                    text = f"{row['count']:,} rows of {child} belong to no {parent}: the backup is not consistent"
                    self._add(Problem.DATA, text)
        self._said.append("relations are intact")

    async def _check_passwords(self, copy: Copy) -> None:
        if "authentication_method" not in copy.tables:
            return
        (row,) = await self._restored(_in(PASSWORDS, copy.schema), None)
        if not row["count"]:
            self._add(Problem.DATA, "there is no password in it: nobody could sign in")

    async def _check_identity(self, live: Query, schema: str, copy: Copy) -> None:
        rows = await self._restored(_in(LAST_CODES, copy.schema), {"limit": LAST_ORDERS})
        codes = [str(it["code"]) for it in rows]
        if codes:
            (known,) = await live(_in(KNOWN_CODES, schema), {"codes": codes})
            if not known["count"]:
                raise BackupError(
                    Problem.OTHER_DATABASE,
                    f"{self._name} holds another shop: the live one knows none of its last {len(codes)} orders",
                    "look what writes the backups, and where they go",
                )

    async def _compare_orders(self, live: Query, schema: str, copy: Copy) -> None:
        newest = copy.newest - MARGIN if copy.newest else None
        parameters = {"newest": newest, "until": self._until, "zone": self._zone}
        (theirs,) = await live(_in(ENDED_ORDERS, schema), parameters)
        (mine,) = await self._restored(_in(ENDED_ORDERS, copy.schema), parameters)
        missing = theirs["count"] - mine["count"]
        if missing > 0:
            self._add(Problem.DATA, f"{missing:,} of {theirs['count']:,} orders that were placed before it are missing")
        elif missing < 0:
            self._add("orders", f"{counted(-missing, 'order')} of it were deleted since", Severity.INFO)
        self._said.append(counted(copy.orders, "order"))

    async def _compare_payments(self, live: Query, schema: str, copy: Copy) -> None:
        """Compare what was settled on the day before the newest order: a day that is complete in the copy."""
        if "payment" not in copy.tables or copy.newest is None:
            return
        day = copy.newest.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        (mine,) = await self._restored(_in(PAYMENTS, copy.schema), {"day": day, "until": None})
        # PostgreSQL writes these columns, in the time zone of the shop's sessions: only they can be compared with it.
        (last,) = await self._restored(_in(LAST_CHANGE, copy.schema), None)
        (theirs,) = await live(_in(PAYMENTS, schema), {"day": day, "until": last["at"] - MARGIN})
        if mine["amount"] < theirs["amount"]:
            missing = theirs["amount"] - mine["amount"]
            text = f"settled payments of {day:%Y-%m-%d} are missing: {missing:,} of {theirs['amount']:,} minor units"
            self._add(Problem.DATA, text)
        else:
            self._said.append(f"payments of {day:%Y-%m-%d} agree")

    async def _compare_schemas(self, live: Query, schema: str, copy: Copy) -> None:
        tables = {str(it["name"]) for it in await live(TABLES, {"schema": schema})}
        if missing := sorted(tables - copy.tables):
            names = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
            text = f"tables of the live database are not in it: {names}"
            self._add("schema", text, Severity.WARNING, "a deploy since the backup may have made them")
        if "migrations" in copy.tables & tables:
            (mine,), (theirs,) = (
                await self._restored(_in(MIGRATIONS, copy.schema), None),
                await live(_in(MIGRATIONS, schema), None),
            )
            if mine["newest"] != theirs["newest"] or mine["count"] != theirs["count"]:
                text = f"its schema is at {mine['newest'] or 'no migration'}, the live one at {theirs['newest']}"
                self._add("schema", text, Severity.WARNING, "restore it together with the shop's version of that time")
            else:
                self._said.append(f"its schema is the live one ({mine['newest']})")

    def _add(self, name: str, text: str, severity: Severity = Severity.CRITICAL, remedy: str = "") -> None:
        self._findings.append(Finding(str(name), text, severity, remedy))


async def _ask(live: Query, query: str, parameters: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    try:
        return await live(query, parameters)
    except ActionError as error:
        raise LiveError(str(error)) from error


def _in(query: str, schema: str) -> str:
    return query.format(schema=_quoted(schema))


def _quoted(name: str) -> str:
    """Return a quoted name; a per cent sign in it is no parameter."""
    return quoted(name).replace("%", "%%")
