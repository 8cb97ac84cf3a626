"""The collector `postgres`: the shop's PostgreSQL server."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.intervals import is_due
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import SqlQuery, parse_queries, run_query, suitable_queries
from toban.collect.tools import HasClock, HasPushed, HasShopDatabase
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Sample, gauge
from toban.shop.database import KNOWN_AFTER, DatabaseError, DatabaseFailure

FAILED: Final = gauge(
    "postgres_connection_failed",
    "Why the database could not be read: 1 for the reason, 0 for all others.",
    labels=("reason",),
)
QUERIES: Final = parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
FAMILIES: Final = tuple(dict.fromkeys([FAILED, *(family for query in QUERIES for family in query.families)]))

POOL: Final = "postgres_connection_pool_size"
"""A metric that the shop's telemetry also reports, about its connection pools."""

OLDEST: Final = 14
"""The oldest major version that the queries are written for."""

# The extension may be in a schema of its own: this transaction's search_path includes it.
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
    """A server's major version, and which of the queries' requirements it meets."""

    version: int
    has: frozenset[str]
    role: str
    sees_all: bool
    statements: str = ""
    """The statement that would allow reading pg_stat_statements; empty where it can be read."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The samples of a query, and when it ran (monotonic seconds)."""

    at: float
    samples: tuple[Sample, ...] = ()


class Tools(HasClock, HasPushed, HasShopDatabase, Protocol):
    """What the collector uses."""


class Postgres(Collector):
    """
    Read the shop's PostgreSQL (14 or newer): connections, transactions, locks, tables, replication, statements.

    It connects to `shop.database`, best with a role of its own: `CREATE ROLE toban LOGIN PASSWORD '…'; GRANT pg_monitor
    TO toban;`. Without pg_monitor other roles' sessions are hidden; without the extension pg_stat_statements the
    costliest statements are unknown. Everything else works, and the log says what is missing.
    """

    kind: Literal["postgres"] = "postgres"

    shop_part: ClassVar[Literal["database"]] = "database"

    def open(self, tools: Tools) -> Scraper:
        """Keep the last result of each query."""
        return PostgresScraper(self, tools)


class PostgresScraper(Scraper):
    """Runs the queries that are due."""

    def __init__(self, collector: Postgres, tools: Tools) -> None:
        self._interval = collector.interval
        self._clock = tools.clock
        self._pushed = tools.pushed
        self._database = tools.shop_database
        self._results: dict[str, QueryResult] = {}
        self._log = LogOnce(collector.name)

    async def collect(self) -> ScrapeResult:
        """Run the queries that are due; return the newest samples of all."""
        timeout = max(self._interval.total_seconds() / 2, KNOWN_AFTER)
        try:
            async with asyncio.timeout(timeout):
                samples = await self._run_queries()
        except DatabaseError as error:
            return self._failed(error.reason, str(error))
        except TimeoutError:
            message = f"database {self._database.address}: collection timed out after {timeout:g} s"
            return self._failed(DatabaseFailure.TIMED_OUT, message)
        return ScrapeResult([*not_pushed(samples, self._pushed), *failure_samples(None)])

    def _failed(self, reason: DatabaseFailure, error: str) -> ScrapeResult:
        self._results.clear()
        return ScrapeResult(list(failure_samples(reason)), error=error)

    async def _run_queries(self) -> list[Sample]:
        """
        Run the due queries that suit the server, and return the newest samples of all that do.

        They share one transaction. One that fails ends it: it is left out, and the rest continues in another.
        """
        suiting: list[SqlQuery] | None = None
        due: list[SqlQuery] = []
        while suiting is None or due:
            running: SqlQuery | None = None
            try:
                async with self._database.transaction() as cursor:
                    server = await read_server(cursor)
                    if suiting is None:
                        for part, error in missing(server).items():
                            self._log.update(part, error)
                        suiting = suitable_queries(QUERIES, server.version, server.has)
                        due = [query for query in suiting if self._is_due(query)]
                    while due:
                        running = due.pop(0)
                        at = self._clock.monotonic()
                        self._results[running.name] = QueryResult(at, await run_query(cursor, running))
                        self._log.update(running.name)
                    running = None
            except DatabaseError as error:
                if error.connection_lost or running is None:
                    raise
                self._results[running.name] = QueryResult(self._clock.monotonic())
                self._log.update(running.name, str(error))
        return [sample for query in suiting for sample in self._results[query.name].samples]

    def _is_due(self, query: SqlQuery) -> bool:
        last = self._results.get(query.name)
        return is_due(last.at if last else None, query.interval, self._interval, self._clock.monotonic())


def not_pushed(samples: Sequence[Sample], pushed: MetricRegistry) -> Iterator[Sample]:
    """Yield the samples without those that the shop's telemetry reports: it knows its pools better than the server."""
    is_pushed = any(family.name == POOL for family, _, _ in pushed.series())
    return (sample for sample in samples if not (is_pushed and sample.family.name == POOL))


def missing(server: Server) -> dict[str, str]:
    """Return what can't be read of a server, and what would allow it; empty where it can."""
    sessions = f"other roles' sessions are hidden: GRANT pg_monitor TO {server.role} shows them"
    statements = f"the costliest statements can't be read: {server.statements} shows them"
    version = f"PostgreSQL {server.version} is older than {OLDEST}: some metrics will be missing"
    return {
        "sessions": "" if server.sees_all else sessions,
        "statements": statements if server.statements else "",
        "version": "" if server.version >= OLDEST else version,
    }


async def read_server(cursor: AsyncCursor[TupleRow]) -> Server:
    """Read the version and the capabilities of a server."""
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
    return Server(version, frozenset(name for name, met in has.items() if met), role, sees_all, statements)


def failure_samples(failed: DatabaseFailure | None) -> Iterator[Sample]:
    """Yield a sample for each reason, so that an alert can tell them apart and resolves."""
    return (FAILED.sample(reason is failed, reason=reason.value) for reason in DatabaseFailure)
