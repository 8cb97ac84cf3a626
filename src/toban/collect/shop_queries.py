"""What the shop's tables say, and how far they were read by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from toban.collect import order_events, sql_metrics
from toban.collect.backfill import EventBook, Slice, reread_from, slice_end
from toban.collect.job_metrics import EndedJob
from toban.collect.order_events import FailedPayment, PlacedOrder
from toban.collect.repository import FailedAttempt, ReadPosition
from toban.instruments.business_metrics import GENERAL, Order
from toban.instruments.error_classes import payment_error
from toban.shop.grants import ASK, NEEDED, Tables, custom_column, hidden, missing, tables_of

SQL: Final = {
    query.name: query.sql
    for query in sql_metrics.parse_queries(Path(__file__).with_name("shop.sql").read_text("utf-8"))
}

ROWS: Final = 2000
"""How many rows are read at once."""

STEPS: Final = 1000
"""How many steps of time are read at once."""

NUMBERS: Final = frozenset({"smallint", "integer", "bigint"})


@dataclass(frozen=True, slots=True)
class ShopSchema:
    """
    What this shop's database has and toban may read, and in which time zones it keeps its times.

    ``shop`` is the zone of Vendure's processes, ``database`` that of their sessions.
    """

    tables: Tables
    role: str
    shop: str
    database: str
    customer_type: str

    @property
    def has(self) -> set[str]:
        """The tables that are there and can be read."""
        return self.tables.keys() - self.hidden.keys()

    @property
    def hidden(self) -> Mapping[str, Sequence[str]]:
        """The columns that are there and may not be read, by table."""
        return hidden(self.tables, self.customer_type)

    @property
    def missing(self) -> list[str]:
        """The grants that are missing."""
        return missing(self.tables, self.role, self.customer_type)

    @property
    def id(self) -> str:
        """The type of ids."""
        return self.tables["order"]["id"].type

    @property
    def numbered(self) -> bool:
        """Whether ids are numbers that count up."""
        return self.tables["payment"]["id"].type in NUMBERS

    @property
    def knows_types(self) -> bool:
        """Whether customers have the custom field that tells what sort they are."""
        return custom_column(self.customer_type) in self.tables.get("customer", {})


@dataclass(frozen=True, slots=True)
class MoneyFormat:
    """How amounts are told: how many minor units make a major one, and whether with tax."""

    unit: int
    taxed: bool


@dataclass(frozen=True, slots=True)
class PaymentSlice(Slice):
    """What was read of payments; ``ends`` tells of each order that was looked up when it was placed, if it was."""

    ends: Mapping[str, datetime | None] = field(default_factory=dict)


class ShopReader:
    """Asks the shop's tables, within one transaction."""

    def __init__(self, cursor: AsyncCursor[TupleRow], shape: ShopSchema) -> None:
        self._cursor = cursor
        self._shape = shape

    async def rows(self, name: str, **given: object) -> list[TupleRow]:
        """Return the answer to one question of `shop.sql`."""
        shape = self._shape
        # A custom field's name has letters, digits and _ alone.
        column = f'customer."{custom_column(shape.customer_type)}"::text' if shape.knows_types else "NULL::text"
        query = SQL[name].replace("<customer type>", column)
        query = query.replace("<id>", shape.id) if "<id>" in query else query
        await self._cursor.execute(query, {**given, "shop": shape.shop, "database": shape.database})
        return await self._cursor.fetchall()

    async def orders(
        self, book: EventBook, position: ReadPosition, seen: Mapping[str, datetime], now: datetime, money: MoneyFormat
    ) -> Slice:
        """Return the orders that were placed since what was read before."""
        until = slice_end(position.until, now, STEPS)
        since = reread_from(position, book.margin, now)
        bound = None if until == now else until
        rows = await self.rows("orders", since=since, until=bound, seen=list(seen), most=ROWS)
        taken = await self._taken([row[0] for row in rows], money)
        placed = [_placed(row, money, taken.get(row[0], {})) for row in rows]
        return Slice(placed, until if len(rows) < ROWS else min(until, rows[-1][1]))

    async def _taken(self, ids: Sequence[str], money: MoneyFormat) -> dict[str, dict[str, Decimal]]:
        """Return what campaigns took off some orders."""
        if not ids or not {"order_promotions_promotion", "order_line", "shipping_line"} <= self._shape.has:
            return {}
        campaigns = await self.rows("campaigns", ids=ids)
        with_some = sorted({order for order, _ in campaigns})
        lines = await self.rows("discounts", ids=with_some) if with_some else []
        return order_events.discounts(campaigns, lines, money.unit, gross=money.taxed)

    async def payments(
        self,
        book: EventBook,
        position: ReadPosition,
        seen: Mapping[str, datetime],
        now: datetime,
        attempts: Mapping[str, FailedAttempt],
    ) -> PaymentSlice:
        """Return the attempts to pay that failed since what was read before, and how the orders of all ended."""
        until, top, floor = slice_end(position.until, now, STEPS), position.top, position.floor
        since = reread_from(position, book.margin, now)
        if self._shape.numbered:
            bound = None if until == now else until
            ((many, top, newest),) = await self.rows("scanned", top=position.top, until=bound, most=ROWS)
            if many == ROWS:
                until = min(until, max(newest, position.until))
            rows = await self.rows("numbered", floor=floor, top=top, since=position.began, seen=list(seen))
            ((floor,),) = await self.rows("floor", floor=floor, top=top, before=min(until, now) - book.margin)
        else:
            rows = await self.rows("unnumbered", since=since, seen=list(seen), most=ROWS)
            if len(rows) == ROWS:
                until = min(until, max(rows[-1][1], position.until))
            # Those beyond this slice are read again with the next one.
            rows = [row for row in rows if row[1] <= until or until == now]
        found = [_payment(row) for row in rows]
        candidates = order_events.newest_attempts(attempts, found)
        codes = [one.order for one in candidates.values() if one.at + order_events.FAILS_AFTER <= until]
        ends: dict[str, datetime | None] = dict.fromkeys(codes)
        ends.update(await self.rows("ends", codes=codes) if codes else [])
        return PaymentSlice(found, until, top, floor, ends)

    async def jobs(self, book: EventBook, position: ReadPosition, seen: Mapping[str, datetime], now: datetime) -> Slice:
        """Return the jobs that ended since what was read before."""
        until, since = slice_end(position.until, now, STEPS), reread_from(position, book.margin, now)
        rows = await self.rows("jobs", since=since, seen=list(seen), most=ROWS)
        if len(rows) == ROWS:
            until = min(until, max(rows[-1][1], position.until))
        ended = [EndedJob(*row) for row in rows if row[1] <= until or until == now]
        return Slice(ended, until)


async def read_schema(cursor: AsyncCursor[TupleRow], zone: str, customer_type: str) -> ShopSchema:
    """Ask what the database has; a table of Vendure's that isn't there is not among its tables."""
    await cursor.execute(ASK, {"tables": list(NEEDED)})
    found = tables_of(await cursor.fetchall())
    await cursor.execute(SQL["zone"], {})
    ((role, database),) = await cursor.fetchall()
    return ShopSchema(found, role, zone, database, customer_type)


def _placed(row: Sequence[Any], money: MoneyFormat, taken: Mapping[str, Decimal]) -> PlacedOrder:
    key, at, currency, net, gross, channel, state, customer_type = row
    total = Decimal(gross if money.taxed else net) / money.unit
    return PlacedOrder(key, at, Order(total, state, currency, channel, customer_type or GENERAL), taken)


def _payment(row: Sequence[Any]) -> FailedPayment:
    key, at, order, method, state, message = row
    return FailedPayment(key, at, order or "", method, payment_error(state, message))
