"""What the shop's tables say of orders and payments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from toban.collect.orders import Payment, Placed
from toban.instruments.business import GENERAL, Order
from toban.instruments.errors import payment_error
from toban.shop.grants import custom_column

REQUIRED: Final = ("order", "order_channels_channel", "channel", "payment", "history_entry", "customer")
"""The tables without which orders can't be counted."""

LOOKED: Final = """
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()
"""

# The channel in which an order is sold is the one that isn't the default, when there is one. Its state at placement is
# what its history says; amounts are what they are now, which is the same until somebody cancels or modifies it.
ORDERS: Final = """
SELECT o.id::text, o."orderPlacedAt" AT TIME ZONE {zone}, o."currencyCode",
    o."subTotal" + o.shipping, o."subTotalWithTax" + o."shippingWithTax", coalesce(ch.code, 'default'),
    coalesce(h.state, o.state), {customer_type}, {discounts}
FROM "order" o
LEFT JOIN LATERAL (
    SELECT c.code FROM order_channels_channel oc JOIN channel c ON c.id = oc."channelId"
    WHERE oc."orderId" = o.id ORDER BY (c.code = '__default_channel__'), c.id LIMIT 1) ch ON true
LEFT JOIN LATERAL (
    SELECT e.data::json ->> 'to' AS state FROM history_entry e
    WHERE e."orderId" = o.id AND e.type = 'ORDER_STATE_TRANSITION'
      AND e.data::json ->> 'from' = 'ArrangingPayment' AND e.data::json ->> 'to' LIKE 'Payment%%'
    ORDER BY e."createdAt" LIMIT 1) h ON true
LEFT JOIN customer cu ON cu.id = o."customerId"
WHERE o."orderPlacedAt" > %(since)s::timestamptz AT TIME ZONE {zone}
  AND o."orderPlacedAt" <= %(until)s::timestamptz AT TIME ZONE {zone} AND o.type <> 'Seller'
ORDER BY 2
"""

DISCOUNTS: Final = """(
    SELECT json_object_agg(d.promotion, d.amount) FROM (
        SELECT split_part(a ->> 'adjustmentSource', ':', 2) AS promotion, -sum((a ->> 'amount')::numeric) AS amount
        FROM (SELECT adjustments FROM order_line WHERE "orderId" = o.id
              UNION ALL SELECT adjustments FROM shipping_line WHERE "orderId" = o.id) l,
            json_array_elements(l.adjustments::json) a
        WHERE a ->> 'adjustmentSource' LIKE 'PROMOTION:%%' GROUP BY 1) d)"""

# By their number where ids are numbers: a look at the newest few, whatever the table holds. Ids of the other sort have
# no order and createdAt has no index, so the whole table is looked through.
PAYMENTS: Final = """
SELECT p.id::text, p."createdAt" AT TIME ZONE current_setting('TimeZone'), o.code, p.method, p.state,
    coalesce(p."errorMessage", '')
FROM payment p JOIN "order" o ON o.id = p."orderId"
WHERE p.state IN ('Declined', 'Error')
  AND p."createdAt" > %(since)s::timestamptz AT TIME ZONE current_setting('TimeZone')
  AND p."createdAt" <= %(until)s::timestamptz AT TIME ZONE current_setting('TimeZone') {newest}
ORDER BY 2
"""

BEHIND: Final = 1000
"""How many payments before the newest one known are read again: they become visible out of order."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What this shop's database has, as far as its reader may see it: columns by table."""

    columns: Mapping[str, Mapping[str, str]]

    @property
    def numbered(self) -> bool:
        """Whether ids are numbers that count up."""
        return self.columns.get("payment", {}).get("id") in {"integer", "bigint"}

    @property
    def missing(self) -> list[str]:
        """The tables without which orders can't be counted, and that are not there or not to be seen."""
        return [table for table in REQUIRED if table not in self.columns]

    @property
    def is_vendure(self) -> bool:
        """Whether any of them is there: otherwise this is some other database."""
        return len(self.missing) < len(REQUIRED)


@dataclass(frozen=True, slots=True)
class Money:
    """How amounts are told: how many minor units make a major one, and whether with tax."""

    unit: int
    taxed: bool


async def shape_of(cursor: AsyncCursor[TupleRow]) -> Shape:
    """Ask what the database has."""
    await cursor.execute(LOOKED)
    columns: dict[str, dict[str, str]] = {}
    for table, column, sort in await cursor.fetchall():
        columns.setdefault(table, {})[column] = sort
    return Shape(columns)


def orders_query(shape: Shape, zone: str, field: str) -> Composed:
    """Return the question for the orders that were placed in a stretch of time."""
    column = custom_column(field)
    there = column in shape.columns.get("customer", {})
    promotions = {"order_line", "shipping_line"} <= shape.columns.keys()
    return SQL(ORDERS).format(
        zone=zone,
        customer_type=SQL("cu.{}::text").format(Identifier(column)) if there else SQL("NULL"),
        discounts=SQL(DISCOUNTS) if promotions else SQL("NULL"),
    )


def placed(row: Sequence[Any], money: Money) -> Placed:
    """Return one order from its row."""
    key, at, currency, net, gross, channel, state, customer_type, discounts = row
    total = float(gross if money.taxed else net) / money.unit
    taken = {name: float(amount) / money.unit for name, amount in (discounts or {}).items()}
    return Placed(key, at, Order(total, state, currency, channel, customer_type or GENERAL), taken)


async def payments(
    cursor: AsyncCursor[TupleRow], shape: Shape, since: datetime, until: datetime, newest: int
) -> tuple[list[Payment], int]:
    """Return the attempts to pay that failed in a stretch of time, and the number of the newest payment there is."""
    given = {"since": since, "until": until, "newest": newest - BEHIND}
    query = SQL(PAYMENTS).format(newest=SQL("AND p.id > %(newest)s" if shape.numbered else ""))
    await cursor.execute(query, given)
    found = [
        Payment(key, at, order, method, payment_error(state, message))
        for key, at, order, method, state, message in await cursor.fetchall()
    ]
    if shape.numbered:
        newest = await newest_payment(cursor, shape)
    return found, newest


async def newest_payment(cursor: AsyncCursor[TupleRow], shape: Shape) -> int:
    """Return the number of the newest payment, nought where they have none."""
    if not shape.numbered:
        return 0
    await cursor.execute("SELECT coalesce(max(id), 0) FROM payment")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def placed_among(cursor: AsyncCursor[TupleRow], zone: str, codes: Sequence[str]) -> dict[str, datetime]:
    """Return when those of some orders were placed that were."""
    if not codes:
        return {}
    query = SQL(
        'SELECT code, "orderPlacedAt" AT TIME ZONE {} FROM "order"'
        ' WHERE code = ANY(%(codes)s) AND "orderPlacedAt" IS NOT NULL'
    )
    await cursor.execute(query.format(zone), {"codes": list(codes)})
    return dict(await cursor.fetchall())
