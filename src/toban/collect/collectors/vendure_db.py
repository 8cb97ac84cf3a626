"""The shop's tables."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import PrivateAttr

from toban.collect import job_metrics, repository
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.collectors.postgres import answer
from toban.collect.event_stream import BOOKS, EventCounter, table_streams
from toban.collect.log_once import LogOnce
from toban.collect.shop_queries import MoneyFormat, ShopReader, ShopSchema, read_schema
from toban.collect.sql_metrics import SqlQuery, is_due, parse_queries, rest_after
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.shop.connections import ShopConnections
from toban.shop.database import KNOWN_AFTER, DatabaseError, ShopDatabase
from toban.shop.graphql import GraphqlError, execute

BEHIND: Final = gauge("vendure_db_behind_seconds", "How far the counting of orders is behind the present.", "seconds")
QUERIES: Final = parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
FAMILIES: Final = tuple(dict.fromkeys([BEHIND, *(family for query in QUERIES for family in query.families)]))

PRECISION: Final = "query TobanPrecision { globalSettings { serverConfig { moneyStrategyPrecision } } }"
USUAL: Final = 2
"""The precision of Vendure's own money strategy."""

SHAPE_EVERY: Final = timedelta(minutes=5)
"""How often is asked what the database has: columns come with migrations."""

NEWEST: Final = " > (SELECT coalesce(max(id), 0) - 20000 FROM payment) AND"
"""What lets the newest payments through, more than a busy shop has in a day, by the index that there is."""

MANY: Final = 3
"""How many missing grants are told in one message."""

SET: Final = """
SELECT set_config('toban.zone', %s, true), set_config('TimeZone', %s, true), set_config('toban.unit', %s, true)
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question brought, when it was asked (monotonic seconds), and how long it rests."""

    at: float
    rests: timedelta
    samples: tuple[Sample, ...] = ()


class VendureDb(Collector):
    """
    Read the shop's tables: orders, revenue, payments that failed, carts, refunds, jobs, tasks, stock.

    It looks at `shop.database`, as a role that may read some columns only: `toban init` prints the grants. Orders,
    payments and jobs are counted one by one, exactly, through restarts of toban; what happened while toban was away is
    told at its own time. Vendure 3.4 to 3.7.
    """

    kind: Literal["vendure_db"] = "vendure_db"

    history: Duration = timedelta(days=90)
    """How far back orders are read at the first start."""

    sample_limit: int = 1_000_000
    """The most series one look may bring, each time of history counted anew."""

    _shape: tuple[float, ShopSchema] | None = PrivateAttr(default=None)
    _answers: dict[str, Answered] = PrivateAttr(default_factory=dict)
    _counting: EventCounter = PrivateAttr(default_factory=EventCounter)
    _told: LogOnce = PrivateAttr(default_factory=LogOnce)
    _precision: int | None = PrivateAttr(default=None)

    def address_in(self, shop: ShopConnections) -> str:
        """Return where the database is."""
        return shop.database.address if shop.database else ""

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Ask what is due, and count what has happened since the last look."""
        if tools.shop.database is None:
            raise CollectError(f"{self.name}: there is no shop.database to look at")
        patience = max(self.interval.total_seconds() * 0.9, KNOWN_AFTER)
        try:
            async with asyncio.timeout(patience):
                return await self._looked(tools, tools.shop.database)
        except DatabaseError:
            # A table may be gone, a column new: it is asked anew what there is.
            self._shape = None
            self._answers.clear()
            raise
        except TimeoutError as error:
            raise CollectError(
                f"database {tools.shop.database.address}: no end of the look after {patience:g} s"
            ) from error

    async def _looked(self, tools: CollectorTools, database: ShopDatabase) -> ScrapeResult:
        shape = await self._shaped(tools, database)
        if not shape.tables:
            return await self._without_tables(tools)
        self._told.update(self.name, "tables")
        money = await self._money(tools)
        samples = await self._asked(tools, database, shape, money)
        troubles = [trouble for trouble in (refused(shape),) if trouble]
        if tools.state is None:
            return ScrapeResult(samples, error="; ".join(troubles))
        streams = table_streams(database, shape, money, self.history)
        counted = await self._counting.count(
            streams, tools.state, tools, self._labels(tools), self.interval, tools.clock.now()
        )
        samples.append(BEHIND.sample(counted.behind.total_seconds()))
        if "job_record" in shape.has:
            here = {sample.labels["queue"] for sample in samples if sample.family == job_metrics.WAITING}
            samples += job_metrics.empty_queue_samples(
                job_metrics.counted_queues([*counted.standing, *counted.batches]) - here
            )
        if counted.trouble:
            troubles.append(f"{self.name}: what happened waits to be counted: {counted.trouble}")
            # A table may be gone, a column new: it is asked anew what there is.
            self._shape = None
        return ScrapeResult(
            samples, counted.batches, "; ".join(troubles), unchanged=counted.standing, stored=counted.stored
        )

    async def check(self, tools: CollectorTools) -> ScrapeResult:
        """Say what can be read, what can't and what would show it, and whether the time zone fits."""
        if tools.shop.database is None:
            raise CollectError(f"{self.name}: there is no shop.database to look at")
        shape = await self._shaped(tools, tools.shop.database)
        if not shape.tables:
            return ScrapeResult(notes=["this database holds no tables of Vendure: orders can't be counted"])
        notes = []
        if not shape.knows_types:
            notes.append(f"customers have no custom field {shape.customer_type}: all of them are `general`")
        if not shape.numbered:
            notes.append(
                "ids are no numbers, so payments are found by their time, which has no index:"
                " CREATE INDEX CONCURRENTLY toban_payment ON payment (\"createdAt\") WHERE state IN ('Declined',"
                " 'Error') spares the shop"
            )
        money = await self._money(tools)
        if money is None:
            notes.append("the Admin API does not tell the precision of money, and orders wait for it: shop.precision")
        if "order" in shape.has:
            async with tools.shop.database.looking() as cursor:
                ((ahead,),) = await ShopReader(cursor, shape).rows("newest")
            notes += [note for note in (zone_note(ahead, shape.shop),) if note]
        return ScrapeResult(
            await self._asked(tools, tools.shop.database, shape, money), error=refused(shape, all=True), notes=notes
        )

    async def _shaped(self, tools: CollectorTools, database: ShopDatabase) -> ShopSchema:
        now = tools.clock.monotonic()
        if self._shape and not self._shape[1].hidden and not is_due(self._shape[0], SHAPE_EVERY, self.interval, now):
            return self._shape[1]
        settings = tools.shop.settings
        async with database.looking() as cursor:
            shape = await read_schema(cursor, settings.timezone, settings.customer_type)
        self._shape = now, shape
        return shape

    async def _without_tables(self, tools: CollectorTools) -> ScrapeResult:
        """Say once that this is no shop's database; one whose tables were there is down."""
        self._told.update(self.name, "tables", "this database holds no tables of Vendure")
        self._answers.clear()
        # Events, jobs in Redis and Fly's machines have books too.
        if tools.state is not None and await tools.state.transaction(
            lambda connection: repository.was_read(connection, BOOKS)
        ):
            raise CollectError(f"{self.name}: the tables of Vendure are gone")
        return ScrapeResult()

    async def _money(self, tools: CollectorTools) -> MoneyFormat | None:
        """Return how amounts are told; nothing while the shop, which was to say so, doesn't."""
        settings = tools.shop.settings
        if settings.precision is not None:
            self._precision = settings.precision
        elif self._precision is None and settings.admin_api and settings.admin_api_key:
            headers = {"vendure-api-key": settings.admin_api_key.get_secret_value()}
            try:
                told = await execute(tools.http, settings.admin_api, PRECISION, headers=headers)
                self._precision = int(told.data["globalSettings"]["serverConfig"]["moneyStrategyPrecision"])
            except (GraphqlError, KeyError, TypeError, ValueError) as error:
                wait = f"orders wait to be counted: the Admin API does not tell the precision of money: {error}"
                self._told.update(self.name, "precision", f"{wait}; shop.precision would")
                return None
        self._told.update(self.name, "precision")
        return MoneyFormat(10 ** (USUAL if self._precision is None else self._precision), settings.tax == "with")

    def _labels(self, tools: CollectorTools) -> dict[str, str]:
        return {**self.target, "instance": self.instance or self.address_in(tools.shop)}

    async def _asked(
        self, tools: CollectorTools, database: ShopDatabase, shape: ShopSchema, money: MoneyFormat | None
    ) -> list[Sample]:
        """Return the newest answers of all questions that suit the shop, having asked those that are due."""
        has = shape.has | ({"money"} if money else set())
        suiting = [query for query in QUERIES if query.needs <= has]
        for query in suiting:
            if self._is_due(query, tools.clock.monotonic()):
                self._answers[query.name] = await self._answered(query, tools, database, shape, money)
        return [sample for query in suiting for sample in self._answers[query.name].samples]

    async def _answered(
        self,
        query: SqlQuery,
        tools: CollectorTools,
        database: ShopDatabase,
        shape: ShopSchema,
        money: MoneyFormat | None,
    ) -> Answered:
        """Ask one question; one that fails costs its own numbers only."""
        began, samples = tools.clock.monotonic(), tuple[Sample, ...]()
        try:
            async with database.looking() as cursor:
                await cursor.execute(SET, [shape.shop, shape.database, str(money.unit if money else 1)])
                samples = await answer(cursor, replace(query, sql=query.sql.replace(*newest_payments(query, shape))))
            self._told.update(self.name, query.name)
        except DatabaseError as error:
            if error.lost:
                raise
            self._told.update(self.name, query.name, str(error))
        return Answered(began, rest_after(query.interval, tools.clock.monotonic() - began), samples)

    def _is_due(self, query: SqlQuery, now: float) -> bool:
        last = self._answers.get(query.name)
        return last is None or is_due(last.at, last.rests, self.interval, now)


def newest_payments(query: SqlQuery, shape: ShopSchema) -> tuple[str, str]:
    """Return what stands in a query for the newest payments alone, and the condition that finds them by their id."""
    column = "p.id" if "payment p" in query.sql else "id"
    return "<newest payments>", column + NEWEST if shape.numbered else ""


def refused(shape: ShopSchema, *, all: bool = False) -> str:
    """Say which grants are missing; nothing, when none is."""
    grants = shape.missing
    if not grants:
        return ""
    tables = ", ".join(
        f"{table} ({', '.join(columns)})" if len(columns) < MANY else table for table, columns in _sorted(shape)
    )
    told = " ".join(grants if all else grants[:MANY])
    return f"may not read {tables}: {told}{' …' if not all and len(grants) > MANY else ''} (`toban init` prints all)"


def _sorted(shape: ShopSchema) -> Iterator[tuple[str, list[str]]]:
    return ((table, list(columns)) for table, columns in sorted(shape.hidden.items()))


def zone_note(ahead: float | None, zone: str) -> str:
    """
    Say what is wrong with the time zone, for an order that lies so many seconds ahead of now; nothing, when it fits.

    An order of the future shows it at once; that the newest is some hours old may as well be the night.
    """
    if ahead is None or ahead < 120:
        return ""
    return (
        f"the newest order lies {ahead / 3600:.1f} h in the future: the shop's processes seem to write times"
        f" {round(ahead / 3600)} h ahead of {zone}: set shop.timezone (the TZ of the shop's processes)"
    )
