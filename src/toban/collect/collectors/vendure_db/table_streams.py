"""The event streams of Vendure's tables: orders, failed payments, ended jobs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from toban.collect.backfill import CountedEvent, Slice, StreamDefinition
from toban.collect.collectors.vendure_db import order_events, payment_attempts
from toban.collect.collectors.vendure_db.order_events import FailedPayment
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.collectors.vendure_db.shop_queries import MoneyFormat, PaymentSlice, ShopReader, ShopSchema
from toban.collect.event_stream import EventStream, ReadState
from toban.collect.job_metrics import jobs_stream
from toban.shop.database import ShopDatabase
from toban.state.database import State

STREAMS: Final = "vendure_db"
"""The prefix of the streams' names."""
ORDERS: Final = StreamDefinition(STREAMS, order_events.ORDERS, timedelta(hours=1))
PAYMENTS: Final = StreamDefinition(f"{STREAMS}_payments", order_events.PAYMENTS, timedelta(hours=1))
JOBS: Final = jobs_stream(STREAMS)

JOBS_BACKFILL: Final = timedelta(days=1)
"""How far back jobs are read at the first start: the table holds only the newest."""


def table_streams(
    database: ShopDatabase, state: State, schema: ShopSchema, money: MoneyFormat | None, history: timedelta
) -> list[EventStream]:
    """Return the streams that this shop's tables allow; orders only once the unit of money is known."""

    async def orders(known: ReadState, now: datetime) -> Slice:
        assert money is not None  # noqa: S101  # or it is not among the streams
        async with database.transaction() as cursor:
            return await ShopReader(cursor, schema).orders(ORDERS, known.position, known.seen, now, money)

    async def payments(known: ReadState, now: datetime) -> Slice:
        attempts = await state.transaction(payment_attempts.open_attempts)
        async with database.transaction() as cursor:
            found = await ShopReader(cursor, schema).payments(PAYMENTS, known.position, known.seen, now, attempts)
        return replace(found, derive=partial(failed_orders, found))

    async def jobs(known: ReadState, now: datetime) -> Slice:
        async with database.transaction() as cursor:
            return await ShopReader(cursor, schema).jobs(JOBS, known.position, known.seen, now)

    streams = []
    if money and {"order", "order_channels_channel", "channel", "customer", "history_entry"} <= schema.readable:
        streams.append(EventStream(ORDERS, history, orders))
    if {"order", "payment"} <= schema.readable:
        streams.append(EventStream(PAYMENTS, history, payments))
    if "job_record" in schema.readable:
        streams.append(EventStream(JOBS, min(history, JOBS_BACKFILL), jobs))
    return streams


def failed_orders(found: PaymentSlice, connection: Connection, new: Sequence[CountedEvent]) -> Sequence[CountedEvent]:
    """
    Return the orders that fail with the newly counted failed payments.

    An order is kept from its newest failed attempt on until it is placed or has failed.
    """
    for payment in new:
        if isinstance(payment, FailedPayment) and payment.order:
            payment_attempts.record_attempt(connection, FailedAttempt(payment.order, payment.method, payment.at))
    attempts = payment_attempts.open_attempts(connection).values()
    failures, placed = order_events.decide_failures(attempts, found.placed, found.until)
    payment_attempts.mark_failed(connection, [failure.id for failure in failures])
    payment_attempts.remove_attempts(connection, placed, found.until - payment_attempts.FAILED_KEPT)
    return failures
