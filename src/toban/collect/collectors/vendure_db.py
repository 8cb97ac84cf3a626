"""The shop's tables."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from pydantic import PrivateAttr
from sqlalchemy import Connection

from toban.collect import book, orders, tables
from toban.collect.collector import Collector, Look
from toban.collect.collectors.postgres import answer
from toban.collect.queries import Query, is_due, read
from toban.collect.tables import Money, Shape
from toban.collect.told import Told
from toban.collect.tools import Tools
from toban.core.errors import CollectError
from toban.core.samples import Batch, Sample, gauge, milliseconds
from toban.core.section import Duration
from toban.instruments.budgets import Budgets
from toban.instruments.business import BusinessMetrics
from toban.instruments.families import (
    CAMPAIGN_DISCOUNT,
    CAMPAIGN_USAGE,
    ORDER_TOTAL,
    ORDERS_CREATED,
    ORDERS_FAILED,
    PAYMENTS_FAILED,
    REVENUE,
)
from toban.shop.database import Database, DatabaseError
from toban.shop.grants import custom_column
from toban.shop.graphql import ask
from toban.shop.lending import Shop
from toban.state import tallies

BOOK: Final = "vendure_db"
COUNTED: Final = (
    ORDERS_CREATED,
    ORDER_TOTAL,
    REVENUE,
    ORDERS_FAILED,
    PAYMENTS_FAILED,
    CAMPAIGN_USAGE,
    CAMPAIGN_DISCOUNT,
)
BEHIND: Final = gauge("vendure_db_behind_seconds", "How far the counting of orders is behind the present.", "seconds")
QUERIES: Final = read(Path(__file__).with_suffix(".sql").read_text("utf-8"))
FAMILIES: Final = tuple(family for query in QUERIES for family in query.families)

SLICE: Final = timedelta(hours=6)
"""How much time is read at once while catching up."""

MOST: Final = 4000
"""How many steps one look tells at most: more would hold up the store."""

PRECISION: Final = "{ globalSettings { serverConfig { moneyStrategyPrecision } } }"
USUAL: Final = 2
"""The precision of Vendure's own money strategy."""

SHARE: Final = 200
"""A question that took a second is asked again after so many at the earliest: half a percent of the server's time."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question brought, when it was asked (monotonic seconds), how long it took, and what was wrong."""

    at: float
    seconds: float
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """What happened in the shop in a stretch of time."""

    since: datetime
    until: datetime
    placed: list[orders.Placed]
    payments: list[orders.Payment]
    ends: dict[str, datetime]
    newest_payment: int


class VendureDb(Collector):
    """
    Read the shop's tables: orders, revenue, payments that failed, carts, refunds, jobs, tasks, stock.

    It looks at `shop.database`, as a role that may read some columns only: `toban init` prints the grants. Orders and
    payments are counted one by one, exactly, through restarts of toban; what was placed while toban was away is told at
    its own time. Vendure 3.4 to 3.7.
    """

    kind: Literal["vendure_db"] = "vendure_db"

    history: Duration = timedelta(days=90)
    """How far back orders are read at the first start."""

    _answers: dict[str, Answered] = PrivateAttr(default_factory=dict)
    _told: Told = PrivateAttr(default_factory=Told)
    _precision: int | None = PrivateAttr(default=None)

    def address_in(self, shop: Shop) -> str:
        """Return where the database is."""
        return shop.database.address if shop.database else ""

    async def collect(self, tools: Tools) -> Look:
        """Count what has happened since the last look, and ask what is due."""
        database = self._database(tools)
        async with database.looking() as cursor:
            shape = await tables.shape_of(cursor)
        if not shape.is_vendure:
            self._told.note(self.name, "tables", "this database holds no tables of Vendure that can be read")
            if await self._counted_before(tools):
                raise CollectError(f"{self.name}: Vendure's tables are gone, or may not be read any more")
            return Look()
        self._told.note(self.name, "tables")
        self._refuse(shape)
        money = await self._money(tools)
        samples = await self._asked(tools, database, shape, money)
        if tools.state is None:
            return Look(samples)
        behind, batches = await self._count(tools, database, shape, money)
        return Look([*samples, BEHIND.sample(behind.total_seconds())], batches)

    async def check(self, tools: Tools) -> Look:
        """Say what can be read, what can't, and whether the time zone fits."""
        database, zone = self._database(tools), tools.shop.settings.timezone
        async with database.looking() as cursor:
            shape = await tables.shape_of(cursor)
            if not shape.is_vendure:
                return Look(
                    notes=["this database holds no tables of Vendure that can be read: orders can't be counted"]
                )
            self._refuse(shape)
            await cursor.execute(
                'SELECT extract(epoch FROM max("orderPlacedAt") AT TIME ZONE %s - now()) FROM "order"', [zone]
            )
            row = await cursor.fetchone()
        notes = []
        field = tools.shop.settings.customer_type
        if custom_column(field) not in shape.columns["customer"]:
            notes.append(f"customers have no custom field {field} that can be read: all of them are `general`")
        if row and row[0] is not None and (ahead := float(row[0])) > 120:
            notes.append(
                f"the newest order lies {ahead / 3600:.1f} h in the future: the shop's processes seem to write times"
                f" {ahead / 3600:.0f} h ahead of {zone}: set shop.timezone (TZ of the shop's processes)"
            )
        money = await self._money(tools)
        return Look(await self._asked(tools, database, shape, money), notes=notes)

    def _database(self, tools: Tools) -> Database:
        if tools.shop.database is None:
            raise CollectError(f"{self.name}: there is no shop.database to look at")
        return tools.shop.database

    def _refuse(self, shape: Shape) -> None:
        if shape.missing:
            raise CollectError(
                f"{self.name}: may not read {', '.join(shape.missing)}: `toban init` prints the grants it needs"
            )

    async def _counted_before(self, tools: Tools) -> bool:
        if tools.state is None:
            return False
        return await tools.state.transaction(lambda connection: book.read(connection, BOOK)) is not None

    async def _money(self, tools: Tools) -> Money:
        settings = tools.shop.settings
        if settings.precision is not None:
            self._precision = settings.precision
        elif self._precision is None and settings.admin_api and settings.admin_api_key:
            headers = {"vendure-api-key": settings.admin_api_key.get_secret_value()}
            told = await ask(tools.http, settings.admin_api, PRECISION, headers=headers)
            self._precision = int(told.data["globalSettings"]["serverConfig"]["moneyStrategyPrecision"])
        precision = USUAL if self._precision is None else self._precision
        return Money(10**precision, settings.tax == "with")

    async def _count(
        self, tools: Tools, database: Database, shape: Shape, money: Money
    ) -> tuple[timedelta, list[Batch]]:
        """
        Count slice by slice up to now, for a third of the interval at most; the next look goes on from there.

        Return how far it is behind, and the numbers at each step.
        """
        began, batches = tools.clock.monotonic(), list[Batch]()
        while True:
            now = tools.clock.now()
            until, more = await self._slice(tools, database, shape, money, now)
            batches += more
            await asyncio.sleep(0)
            spent = tools.clock.monotonic() - began
            if until >= now or len(batches) > MOST or spent > self.every.total_seconds() / 3:
                return now - until, batches

    async def _slice(
        self, tools: Tools, database: Database, shape: Shape, money: Money, now: datetime
    ) -> tuple[datetime, list[Batch]]:
        """Count one slice: read what happened in it, then raise the counters and the cursor in one transaction."""
        assert tools.state is not None  # noqa: S101  # collect asks beforehand
        known, attempts = await tools.state.transaction(
            lambda connection: (book.read(connection, BOOK), book.attempts(connection))
        )
        async with database.looking() as cursor:
            if known is None:
                known = book.Read(now, now - self.history, await tables.newest_payment(cursor, shape))
            found = await self._read(cursor, tools, shape, money, known, attempts, now)

        def work(connection: Connection) -> list[Batch]:
            return self._raise(connection, known, found, tools, now)

        return found.until, await tools.state.transaction(work)

    async def _read(
        self,
        cursor: AsyncCursor[TupleRow],
        tools: Tools,
        shape: Shape,
        money: Money,
        known: book.Read,
        attempts: dict[str, book.Attempt],
        now: datetime,
    ) -> Slice:
        settings = tools.shop.settings
        until = min(now, known.until + SLICE)
        since, newest = known.until - orders.MARGIN, known.payment
        query = tables.orders_query(shape, settings.timezone, settings.customer_type)
        await cursor.execute(query, {"since": since, "until": until})
        placed = [tables.placed(row, money) for row in await cursor.fetchall()]
        payments: list[orders.Payment] = []
        if until > known.began:
            payments, newest = await tables.payments(cursor, shape, max(since, known.began), until, known.payment)
            if until < now:
                newest = known.payment  # the next slices still have to read what came since
        candidates = orders.newest_attempts(attempts, payments)
        ends = await tables.placed_among(cursor, settings.timezone, list(candidates))
        return Slice(known.until, until, placed, payments, ends, newest)

    def _raise(
        self, connection: Connection, known: book.Read, found: Slice, tools: Tools, now: datetime
    ) -> list[Batch]:
        """Raise the counters by what was not counted yet, and tell how they stood at each step of the slice."""
        before = book.read(connection, BOOK)
        if before is not None and before.until != known.until:
            return []  # another copy of toban was quicker
        meters, budgets = tallies.load(connection, BOOK, COUNTED), Budgets(tools.meters)
        budgets.learn(meters)
        business = BusinessMetrics(meters, budgets)
        counted = {sort: book.seen(connection, sort) for sort in ("order", "payment", "failure")}
        placed = [one for one in found.placed if one.id not in counted["order"]]
        payments = [one for one in found.payments if one.id not in counted["payment"]]
        for payment in payments:
            book.attempted(connection, book.Attempt(payment.order, payment.method, payment.at))
        failures, ended = orders.decided(book.attempts(connection).values(), found.ends, found.until)
        failures = [one for one in failures if one.order not in counted["failure"]]
        happened: list[orders.Event] = [*placed, *payments, *failures]
        events = sorted(happened, key=lambda event: event.at)
        batches, told, last = list[Batch](), 0, found.since
        for step in orders.steps(found.since, found.until, now):
            while told < len(events) and (events[told].at <= step or step == found.until):
                orders.tell(business, events[told])
                told += 1
            batches += meters.read(milliseconds(step), self._labels(tools), milliseconds(last))
            last = step
        tallies.save(connection, BOOK, meters)
        book.settled(connection, ended)
        oldest = found.until - 2 * orders.MARGIN
        book.remember(connection, "order", [(one.id, one.at) for one in placed], oldest)
        book.remember(connection, "payment", [(one.id, one.at) for one in payments], oldest)
        book.remember(connection, "failure", [(one.order, one.at) for one in failures], found.until - book.FAILED_KEPT)
        book.note(connection, BOOK, book.Read(known.began, found.until, found.newest_payment))
        return batches

    def _labels(self, tools: Tools) -> dict[str, str]:
        return {**self.target, "instance": self.instance or self.address_in(tools.shop)}

    async def _asked(self, tools: Tools, database: Database, shape: Shape, money: Money) -> list[Sample]:
        """Return the newest answers of all questions that suit the shop, having asked those that are due."""
        suiting = [query for query in QUERIES if query.needs <= shape.columns.keys()]
        for query in suiting:
            if self._is_due(query, tools.clock.monotonic()):
                began = tools.clock.monotonic()
                try:
                    async with database.looking() as cursor:
                        await cursor.execute(
                            "SELECT set_config('toban.zone', %s, true), set_config('toban.unit', %s, true)",
                            [tools.shop.settings.timezone, str(money.unit)],
                        )
                        samples = await answer(cursor, query)
                except DatabaseError as error:
                    if error.lost:
                        raise
                    samples = ()
                    self._told.note(self.name, query.name, str(error))
                else:
                    self._told.note(self.name, query.name)
                self._answers[query.name] = Answered(began, tools.clock.monotonic() - began, samples)
        return [sample for query in suiting for sample in self._answers[query.name].samples]

    def _is_due(self, query: Query, now: float) -> bool:
        last = self._answers.get(query.name)
        every = max(query.every, timedelta(seconds=last.seconds * SHARE)) if last else query.every
        return is_due(last.at if last else None, every, self.every, now)
