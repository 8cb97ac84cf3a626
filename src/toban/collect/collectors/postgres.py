"""The shop's PostgreSQL."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from pydantic import PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import SqlQuery, is_due, parse_queries, row_samples, suitable_queries
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import Sample, gauge
from toban.shop.connections import ShopConnections
from toban.shop.database import KNOWN_AFTER, DatabaseError, DatabaseFailure, ShopDatabase

FAILED: Final = gauge(
    "postgres_connection_failed",
    "Why the database could not be looked at: 1 for the reason, 0 for all others.",
)
QUERIES: Final = parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
FAMILIES: Final = tuple(dict.fromkeys([FAILED, *(family for query in QUERIES for family in query.families)]))

POOL: Final = "postgres_connection_pool_size"
"""What the shop's pools tell themselves, where its telemetry comes."""

OLDEST: Final = 14
"""The oldest major version that the queries are written for."""

# The extension may live in a schema of its own: for this transaction it is looked for there as well.
SERVER: Final = """
SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(), quote_ident(current_user),
    pg_has_role('pg_read_all_stats', 'usage'),
    EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()),
    quote_ident(nspname), has_schema_privilege(extnamespace, 'usage'),
    (SELECT bool_and(has_function_privilege(pg_proc.oid, 'execute')) FROM pg_proc
        WHERE pronamespace = extnamespace AND proname = 'pg_stat_statements'),
    string_to_array(extversion, '.')::int[] >= '{1,8}',
    CASE WHEN nspname IS NOT NULL THEN
        set_config('search_path', 'pg_catalog, ' || quote_ident(nspname), true) END
FROM (SELECT) AS always
LEFT JOIN (pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace) ON extname = 'pg_stat_statements'
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What must be known of a server before it is asked: its major version, and what it has of what queries need."""

    version: int
    has: frozenset[str]
    role: str
    sees_all: bool
    statements: str = ""
    """What would show the costliest statements; nothing, where they can be seen."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a query brought, and when it was asked (monotonic seconds)."""

    at: float
    samples: tuple[Sample, ...] = ()


class Postgres(Collector):
    """
    Read how the shop's PostgreSQL (14 or newer) is: connections, transactions, locks, tables, replication, statements.

    It looks at `shop.database`, best as a role of its own: `CREATE ROLE toban LOGIN PASSWORD '…'; GRANT pg_monitor TO
    toban;`. Without pg_monitor it can't see what other roles' sessions do; without the extension pg_stat_statements
    it can't tell which statements cost most. All else works, and the log says what is missing.
    """

    kind: Literal["postgres"] = "postgres"

    _answers: dict[str, Answered] = PrivateAttr(default_factory=dict)
    _told: LogOnce = PrivateAttr(default_factory=LogOnce)

    def address_in(self, shop: ShopConnections) -> str:
        """Return where the database is."""
        return shop.database.address if shop.database else ""

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return the numbers that are due, and the newest of those that are read less often."""
        if tools.shop.database is None:
            raise CollectError(f"{self.name}: there is no shop.database to look at")
        patience = max(self.interval.total_seconds() / 2, KNOWN_AFTER)
        try:
            async with asyncio.timeout(patience):
                samples = await self._asked(tools.shop.database, tools.clock)
        except DatabaseError as error:
            return self._failed(error.reason, str(error))
        except TimeoutError:
            return self._failed(
                DatabaseFailure.TIMED_OUT,
                f"database {tools.shop.database.address}: no end of the look after {patience:g} s",
            )
        return ScrapeResult([*untold(samples, tools.pushed), *reasons(None)])

    def _failed(self, reason: DatabaseFailure, trouble: str) -> ScrapeResult:
        self._answers.clear()
        return ScrapeResult(list(reasons(reason)), error=trouble)

    async def _asked(self, database: ShopDatabase, clock: Clock) -> list[Sample]:
        """
        Return what all queries that suit the server have brought.

        They share one transaction. One that fails ends it: it is left out, and the rest goes on in another.
        """
        suiting: list[SqlQuery] | None = None
        left: list[SqlQuery] = []
        while suiting is None or left:
            asking: SqlQuery | None = None
            try:
                async with database.looking() as cursor:
                    server = await known(cursor)
                    if suiting is None:
                        self._tell(server)
                        suiting = suitable_queries(QUERIES, server.version, server.has)
                        left = [query for query in suiting if self._is_due(query, clock.monotonic())]
                    while left:
                        asking = left.pop(0)
                        self._answers[asking.name] = Answered(clock.monotonic(), await answer(cursor, asking))
                        self._told.update(self.name, asking.name)
                    asking = None
            except DatabaseError as error:
                if error.lost or asking is None:
                    raise
                self._answers[asking.name] = Answered(clock.monotonic())
                self._told.update(self.name, asking.name, str(error))
        return [sample for query in suiting for sample in self._answers[query.name].samples]

    def _is_due(self, query: SqlQuery, now: float) -> bool:
        answered = self._answers.get(query.name)
        return is_due(answered.at if answered else None, query.interval, self.interval, now)

    def _tell(self, server: Server) -> None:
        for what, trouble in missing(server).items():
            self._told.update(self.name, what, trouble)


def untold(samples: Sequence[Sample], pushed: MetricRegistry) -> Iterator[Sample]:
    """Return what the shop's own telemetry doesn't tell: it knows its pools better than the server does."""
    told = any(family.name == POOL for family, _, _ in pushed.series())
    return (sample for sample in samples if not (told and sample.family.name == POOL))


def missing(server: Server) -> dict[str, str]:
    """Say what can't be seen on a server and what would show it; nothing, where it can."""
    sessions = f"what other roles' sessions do is hidden: GRANT pg_monitor TO {server.role} shows it"
    statements = f"the costliest statements can't be told: {server.statements} shows them"
    version = f"PostgreSQL {server.version} is older than {OLDEST}: some numbers will be missing"
    return {
        "sessions": "" if server.sees_all else sessions,
        "statements": statements if server.statements else "",
        "version": "" if server.version >= OLDEST else version,
    }


async def known(cursor: AsyncCursor[TupleRow]) -> Server:
    """Ask a server what it is."""
    await cursor.execute(SERVER)
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101  # exactly one, whether the extension is there or not
    version, standby, role, sees_all, waiting, schema, may_use, may_call, new_enough, _ = row
    if schema is None:
        statements = "CREATE EXTENSION pg_stat_statements"
    elif not may_use:
        statements = f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    elif not may_call:
        statements = f"GRANT EXECUTE ON FUNCTION {schema}.pg_stat_statements TO {role}"
    else:
        statements = "" if new_enough else "ALTER EXTENSION pg_stat_statements UPDATE"
    has = {
        "standby" if standby else "primary": True,
        "waiting": waiting,
        "pg_stat_statements": not statements,
    }
    return Server(version, frozenset(word for word, there in has.items() if there), role, sees_all, statements)


async def answer(cursor: AsyncCursor[TupleRow], query: SqlQuery) -> tuple[Sample, ...]:
    """Ask one query."""
    await cursor.execute(query.sql)
    columns = [column.name for column in cursor.description or ()]
    families = dict(zip(query.columns, query.families, strict=True))
    return tuple(row_samples(families, columns, await cursor.fetchall()))


def reasons(failed: DatabaseFailure | None) -> Iterator[Sample]:
    """Say for each reason whether it is the one, so that an alert can tell them apart and sees each end."""
    return (FAILED.sample(reason is failed, reason=reason.value) for reason in DatabaseFailure)
