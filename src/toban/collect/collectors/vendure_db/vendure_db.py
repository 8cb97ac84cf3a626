"""The collector `vendure_db`: orders, payments, jobs and stock from Vendure's tables."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol

from toban.collect import job_metrics, repository
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.vendure_db.shop_queries import MoneyFormat, ShopReader, ShopSchema, read_schema
from toban.collect.collectors.vendure_db.table_streams import STREAMS, table_streams
from toban.collect.event_stream import EventCounter
from toban.collect.intervals import backed_off, is_due
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import SqlQuery, parse_queries, run_query
from toban.collect.tools import HasHttp, HasMeters, HasShopDatabase, HasShopSettings, HasState
from toban.core.config_types import Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.shop.database import KNOWN_AFTER, DatabaseError
from toban.shop.graphql import GraphqlError, execute

BEHIND: Final = gauge("vendure_db_behind_seconds", "How far the counting of orders is behind now.", "seconds")
QUERIES: Final = parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
FAMILIES: Final = tuple(dict.fromkeys([BEHIND, *(family for query in QUERIES for family in query.families)]))

PRECISION: Final = "query TobanPrecision { globalSettings { serverConfig { moneyStrategyPrecision } } }"
DEFAULT_PRECISION: Final = 2
"""The precision of Vendure's own money strategy."""

SCHEMA_INTERVAL: Final = timedelta(minutes=5)
"""Interval of reading the schema: columns come with migrations."""

NEWEST_PAYMENTS: Final = " > (SELECT coalesce(max(id), 0) - 20000 FROM payment) AND"
"""A condition for the newest payments, more than a busy shop has in a day, by the existing index."""

MAX_GRANTS: Final = 3
"""Missing grants that are named in one message."""

MAX_CLOCK_SKEW: Final = 120
"""Seconds that the newest order may lie ahead of now before the time zone counts as wrong."""

CONFIGURE: Final = """
SELECT set_config('toban.zone', %s, true), set_config('TimeZone', %s, true), set_config('toban.unit', %s, true)
"""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The samples of a query, when it ran (monotonic seconds), and its interval."""

    at: float
    interval: timedelta
    samples: tuple[Sample, ...] = ()


class Tools(HasHttp, HasMeters, HasShopDatabase, HasShopSettings, HasState, Protocol):
    """What the collector uses."""


class VendureDb(Collector):
    """
    Read the shop's tables: orders, revenue, failed payments, carts, refunds, jobs, tasks, stock.

    It connects to `shop.database`, with a role that may read some columns only: `toban init` prints the grants. Orders,
    payments and jobs are counted one by one, exactly, through restarts of toban; what happened while toban was down
    gets samples at its own time. Vendure 3.4 to 3.7.
    """

    kind: Literal["vendure_db"] = "vendure_db"

    shop_part: ClassVar[Literal["database"]] = "database"

    history: Duration = timedelta(days=90)
    """How far back orders are read at the first start."""

    sample_limit: int = 1_000_000
    """The most series that one collection may return, counted for each time of the history."""

    def open(self, tools: Tools) -> Scraper:
        """Keep the schema, the last result of each query, and the counting of events."""
        return VendureDbScraper(self, tools)


class VendureDbScraper(Scraper):
    """Runs the queries that are due, and counts what happened since the last collection."""

    def __init__(self, collector: VendureDb, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._http = tools.http
        self._database = tools.shop_database
        self._settings = tools.shop_settings
        self._state = tools.state
        self._counter = EventCounter(tools.state, tools.clock, tools.meters) if tools.state else None
        self._log = LogOnce(collector.name)
        self._schema: tuple[float, ShopSchema] | None = None
        self._results: dict[str, QueryResult] = {}
        self._precision = self._settings.precision

    async def collect(self) -> ScrapeResult:
        """Run the due queries, and count the events since the last collection."""
        timeout = max(self._collector.interval.total_seconds() * 0.9, KNOWN_AFTER)
        try:
            async with asyncio.timeout(timeout):
                return await self._collect()
        except DatabaseError:
            # A table may be gone, a column new: the schema is read anew.
            self._schema = None
            self._results.clear()
            raise
        except TimeoutError as error:
            message = f"database {self._database.address}: collection timed out after {timeout:g} s"
            raise CollectError(message) from error

    async def _collect(self) -> ScrapeResult:
        schema = await self._read_schema()
        if not schema.tables:
            return await self._without_tables()
        self._log.update("tables")
        money = await self._money_format()
        samples = await self._run_queries(schema, money)
        errors = [error for error in (missing_grants(schema),) if error]
        if self._state is None or self._counter is None:
            return ScrapeResult(samples, error="; ".join(errors))
        collector = self._collector
        counted = await self._counter.count(
            table_streams(self._database, self._state, schema, money, collector.history),
            collector.target,
            collector.interval,
            self._clock.now(),
        )
        samples.append(BEHIND.sample(counted.behind.total_seconds()))
        if "job_record" in schema.readable:
            present = {sample.labels["queue"] for sample in samples if sample.family == job_metrics.WAITING}
            known = job_metrics.counted_queues([*counted.unchanged, *counted.batches])
            samples += job_metrics.empty_queue_samples(known - present)
        if counted.error:
            errors.append(f"{collector.name}: events wait to be counted: {counted.error}")
            # A table may be gone, a column new: the schema is read anew.
            self._schema = None
        return ScrapeResult(
            samples, counted.batches, "; ".join(errors), unchanged=counted.unchanged, stored=counted.stored
        )

    async def check(self) -> ScrapeResult:
        """Report what can be read, what can't and what would allow it, and whether the time zone is right."""
        schema = await self._read_schema()
        if not schema.tables:
            return ScrapeResult(notes=["this database has no tables of Vendure: orders can't be counted"])
        notes = []
        if not schema.has_customer_type:
            notes.append(f"customers have no custom field {schema.customer_type}: all of them are `general`")
        if not schema.has_numeric_ids:
            notes.append(
                "ids are not numbers, so payments are found by their time, which has no index:"
                " CREATE INDEX CONCURRENTLY toban_payment ON payment (\"createdAt\") WHERE state IN ('Declined',"
                " 'Error') spares the shop"
            )
        money = await self._money_format()
        if money is None:
            notes.append(
                "the Admin API does not return the precision of money, and orders wait for it: set shop.precision"
            )
        if "order" in schema.readable:
            async with self._database.transaction() as cursor:
                ((ahead,),) = await ShopReader(cursor, schema).rows("newest")
            notes += [note for note in (time_zone_note(ahead, schema.shop_zone),) if note]
        samples = await self._run_queries(schema, money)
        return ScrapeResult(samples, error=missing_grants(schema, all=True), notes=notes)

    async def _read_schema(self) -> ShopSchema:
        now = self._clock.monotonic()
        if self._schema:
            at, schema = self._schema
            if not schema.hidden and not is_due(at, SCHEMA_INTERVAL, self._collector.interval, now):
                return schema
        async with self._database.transaction() as cursor:
            schema = await read_schema(cursor, self._settings.timezone, self._settings.customer_type)
        self._schema = now, schema
        return schema

    async def _without_tables(self) -> ScrapeResult:
        """Log once that this is no shop's database; one whose tables existed before is down."""
        self._log.update("tables", "this database has no tables of Vendure")
        self._results.clear()
        # Other collectors have streams too: only those of this one count.
        if self._state is not None and await self._state.transaction(
            lambda connection: repository.was_read(connection, STREAMS)
        ):
            raise CollectError(f"{self._collector.name}: the tables of Vendure are gone")
        return ScrapeResult()

    async def _money_format(self) -> MoneyFormat | None:
        """Return how amounts are stored; None while the Admin API, which is to say so, fails."""
        settings = self._settings
        if self._precision is None and settings.admin_api and settings.admin_api_key:
            headers = {"vendure-api-key": settings.admin_api_key.get_secret_value()}
            try:
                response = await execute(self._http, settings.admin_api, PRECISION, headers=headers)
                self._precision = int(response.data["globalSettings"]["serverConfig"]["moneyStrategyPrecision"])
            except (GraphqlError, KeyError, TypeError, ValueError) as error:
                self._log.update(
                    "precision",
                    "orders wait to be counted: the Admin API does not return the precision of money:"
                    f" {error}; set shop.precision",
                )
                return None
        self._log.update("precision")
        precision = DEFAULT_PRECISION if self._precision is None else self._precision
        return MoneyFormat(10**precision, settings.tax == "with")

    async def _run_queries(self, schema: ShopSchema, money: MoneyFormat | None) -> list[Sample]:
        """Run the due queries that suit the shop, and return the newest samples of all that do."""
        met = schema.readable | ({"money"} if money else set())
        suiting = [query for query in QUERIES if query.needs <= met]
        for query in suiting:
            last, now = self._results.get(query.name), self._clock.monotonic()
            if last is None or is_due(last.at, last.interval, self._collector.interval, now):
                self._results[query.name] = await self._run(query, schema, money)
        return [sample for query in suiting for sample in self._results[query.name].samples]

    async def _run(self, query: SqlQuery, schema: ShopSchema, money: MoneyFormat | None) -> QueryResult:
        """Run one query; one that fails loses only its own samples."""
        started, samples = self._clock.monotonic(), tuple[Sample, ...]()
        try:
            async with self._database.transaction() as cursor:
                unit = str(money.unit if money else 1)
                await cursor.execute(CONFIGURE, [schema.shop_zone, schema.database_zone, unit])
                sql = query.sql.replace("<newest payments>", newest_payments(query, schema))
                samples = await run_query(cursor, replace(query, sql=sql))
            self._log.update(query.name)
        except DatabaseError as error:
            if error.connection_lost:
                raise
            self._log.update(query.name, str(error))
        return QueryResult(started, backed_off(query.interval, self._clock.monotonic() - started), samples)


def newest_payments(query: SqlQuery, schema: ShopSchema) -> str:
    """Return a query's condition for the newest payments, by their id; empty where ids are not numbers."""
    column = "p.id" if "payment p" in query.sql else "id"
    return column + NEWEST_PAYMENTS if schema.has_numeric_ids else ""


def missing_grants(schema: ShopSchema, *, all: bool = False) -> str:
    """Return which grants are missing; empty, when none is."""
    grants = schema.missing
    if not grants:
        return ""
    tables = ", ".join(
        f"{table} ({', '.join(columns)})" if len(columns) < MAX_GRANTS else table for table, columns in _sorted(schema)
    )
    named = " ".join(grants if all else grants[:MAX_GRANTS])
    more = " …" if not all and len(grants) > MAX_GRANTS else ""
    return f"may not read {tables}: {named}{more} (`toban init` prints all)"


def _sorted(schema: ShopSchema) -> Iterator[tuple[str, list[str]]]:
    return ((table, list(columns)) for table, columns in sorted(schema.hidden.items()))


def time_zone_note(ahead: float | None, zone: str) -> str:
    """
    Return what is wrong with the time zone, for a newest order so many seconds ahead of now; empty, when it is right.

    An order in the future shows it at once; that the newest is some hours old may as well be the night.
    """
    if ahead is None or ahead < MAX_CLOCK_SKEW:
        return ""
    return (
        f"the newest order lies {ahead / 3600:.1f} h in the future: the shop's processes seem to write times"
        f" {round(ahead / 3600)} h ahead of {zone}: set shop.timezone (the TZ of the shop's processes)"
    )
