"""Queries of orders, payments and jobs in the shop's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from psycopg import AsyncCursor
from psycopg.rows import TupleRow

from toban.collect import sql_metrics
from toban.collect.backfill import Slice, StreamDefinition, reread_from, slice_end
from toban.collect.collectors.vendure_db import order_events
from toban.collect.collectors.vendure_db.order_events import FailedPayment, PlacedOrder
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.job_metrics import EndedJob
from toban.collect.repository import ReadPosition
from toban.instruments.business_metrics import GENERAL, Order
from toban.instruments.error_classes import payment_error
from toban.shop.grants import COLUMNS_QUERY, NEEDED, Tables, custom_column, hidden, missing, parse_tables

SQL: Final = {
    query.name: query.sql for query in sql_metrics.parse_queries(Path(__file__).with_suffix(".sql").read_text("utf-8"))
}

MAX_ROWS: Final = 2000
"""Rows that are read at once."""

MAX_STEPS: Final = 1000
"""Steps of time that are read at once."""

NUMERIC_TYPES: Final = frozenset({"smallint", "integer", "bigint"})


@dataclass(frozen=True, slots=True)
class ShopSchema:
    """
    The tables of this shop's database, what toban may read of them, and the time zones of their times.

    ``shop_zone`` is that of Vendure's processes, ``database_zone`` that of their sessions.
    """

    tables: Tables
    role: str
    shop_zone: str
    database_zone: str
    customer_type: str

    @property
    def readable(self) -> set[str]:
        """The tables that can be read."""
        return self.tables.keys() - self.hidden.keys()

    @property
    def hidden(self) -> Mapping[str, Sequence[str]]:
        """The columns that may not be read, by table."""
        return hidden(self.tables, self.customer_type)

    @property
    def missing(self) -> list[str]:
        """The grants that are missing."""
        return missing(self.tables, self.role, self.customer_type)

    @property
    def id_type(self) -> str:
        """The type of ids."""
        return self.tables["order"]["id"].type

    @property
    def has_numeric_ids(self) -> bool:
        """Whether ids are ascending numbers."""
        return self.tables["payment"]["id"].type in NUMERIC_TYPES

    @property
    def has_customer_type(self) -> bool:
        """Whether customers have the custom field with their type."""
        return custom_column(self.customer_type) in self.tables.get("customer", {})


@dataclass(frozen=True, slots=True)
class MoneyFormat:
    """How amounts are reported: how many minor units make a major one, and whether with tax."""

    unit: int
    with_tax: bool


@dataclass(frozen=True, slots=True)
class PaymentSlice(Slice):
    """Failed payments; ``placed`` has the time at which each order that was looked up was placed, if it was."""

    placed: Mapping[str, datetime | None] = field(default_factory=dict)


class ShopReader:
    """Queries the shop's tables, in one transaction."""

    def __init__(self, cursor: AsyncCursor[TupleRow], schema: ShopSchema) -> None:
        self._cursor = cursor
        self._schema = schema

    async def rows(self, name: str, **parameters: object) -> list[TupleRow]:
        """Return the rows of one query of `shop_queries.sql`."""
        schema = self._schema
        # A custom field's name has only letters, digits and _.
        column = f'customer."{custom_column(schema.customer_type)}"::text' if schema.has_customer_type else "NULL::text"
        query = SQL[name].replace("<customer type>", column)
        query = query.replace("<id>", schema.id_type) if "<id>" in query else query
        await self._cursor.execute(query, {**parameters, "shop": schema.shop_zone, "database": schema.database_zone})
        return await self._cursor.fetchall()

    async def orders(
        self,
        stream: StreamDefinition,
        position: ReadPosition,
        seen: Mapping[str, datetime],
        now: datetime,
        money: MoneyFormat,
    ) -> Slice:
        """Return the orders that were placed since the position."""
        until = slice_end(position.until, now, MAX_STEPS)
        since = reread_from(position, stream.lateness, now)
        bound = None if until == now else until
        rows = await self.rows("orders", since=since, until=bound, seen=list(seen), most=MAX_ROWS)
        discounts = await self._discounts([row[0] for row in rows], money)
        placed = [_placed_order(row, money, discounts.get(row[0], {})) for row in rows]
        return Slice(placed, until if len(rows) < MAX_ROWS else min(until, rows[-1][1]))

    async def _discounts(self, ids: Sequence[str], money: MoneyFormat) -> dict[str, dict[str, Decimal]]:
        """Return the discounts of some orders, by campaign."""
        if not ids or not {"order_promotions_promotion", "order_line", "shipping_line"} <= self._schema.readable:
            return {}
        campaigns = await self.rows("campaigns", ids=ids)
        discounted = sorted({order for order, _ in campaigns})
        lines = await self.rows("discounts", ids=discounted) if discounted else []
        return order_events.discounts(campaigns, lines, money.unit, gross=money.with_tax)

    async def payments(
        self,
        stream: StreamDefinition,
        position: ReadPosition,
        seen: Mapping[str, datetime],
        now: datetime,
        attempts: Mapping[str, FailedAttempt],
    ) -> PaymentSlice:
        """Return the payments that failed since the position, and which of the orders were placed."""
        until, top, floor = slice_end(position.until, now, MAX_STEPS), position.top, position.floor
        since = reread_from(position, stream.lateness, now)
        if self._schema.has_numeric_ids:
            bound = None if until == now else until
            ((count, top, newest),) = await self.rows("scanned", top=position.top, until=bound, most=MAX_ROWS)
            if count == MAX_ROWS:
                until = min(until, max(newest, position.until))
            rows = await self.rows("numbered", floor=floor, top=top, since=position.began, seen=list(seen))
            ((floor,),) = await self.rows("floor", floor=floor, top=top, before=min(until, now) - stream.lateness)
        else:
            rows = await self.rows("unnumbered", since=since, seen=list(seen), most=MAX_ROWS)
            if len(rows) == MAX_ROWS:
                until = min(until, max(rows[-1][1], position.until))
            # Rows beyond this slice are read again with the next one.
            rows = [row for row in rows if row[1] <= until or until == now]
        found = [_failed_payment(row) for row in rows]
        candidates = order_events.newest_attempts(attempts, found)
        codes = [attempt.order for attempt in candidates.values() if attempt.at + order_events.FAILS_AFTER <= until]
        placed: dict[str, datetime | None] = dict.fromkeys(codes)
        placed.update(await self.rows("placed", codes=codes) if codes else [])
        return PaymentSlice(found, until, top, floor, placed=placed)

    async def jobs(
        self, stream: StreamDefinition, position: ReadPosition, seen: Mapping[str, datetime], now: datetime
    ) -> Slice:
        """Return the jobs that ended since the position."""
        until, since = slice_end(position.until, now, MAX_STEPS), reread_from(position, stream.lateness, now)
        rows = await self.rows("jobs", since=since, seen=list(seen), most=MAX_ROWS)
        if len(rows) == MAX_ROWS:
            until = min(until, max(rows[-1][1], position.until))
        ended = [EndedJob(*row) for row in rows if row[1] <= until or until == now]
        return Slice(ended, until)


async def read_schema(cursor: AsyncCursor[TupleRow], zone: str, customer_type: str) -> ShopSchema:
    """Read the schema; it lists only the tables that exist."""
    await cursor.execute(COLUMNS_QUERY, {"tables": list(NEEDED)})
    found = parse_tables(await cursor.fetchall())
    await cursor.execute(SQL["zone"], {})
    ((role, database),) = await cursor.fetchall()
    return ShopSchema(found, role, zone, database, customer_type)


def _placed_order(row: Sequence[Any], money: MoneyFormat, discounts: Mapping[str, Decimal]) -> PlacedOrder:
    key, at, currency, net, gross, channel, state, customer_type = row
    total = Decimal(gross if money.with_tax else net) / money.unit
    return PlacedOrder(key, at, Order(total, state, currency, channel, customer_type or GENERAL), discounts)


def _failed_payment(row: Sequence[Any]) -> FailedPayment:
    key, at, order, method, state, message = row
    return FailedPayment(key, at, order or "", method, payment_error(state, message))
