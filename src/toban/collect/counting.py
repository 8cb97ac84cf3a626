"""Counting what happens in the shop, up to now: orders, attempts to pay, jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.collect import book as books
from toban.collect import history, orders
from toban.collect.book import Attempt, Position
from toban.collect.history import Book, Event, More, Slice, Steady
from toban.collect.jobs import jobs_in
from toban.collect.queries import is_due, spared
from toban.collect.tables import Asking, Money, Paid, Shape
from toban.collect.tools import Tools
from toban.core.samples import Batch
from toban.instruments.budgets import OVER
from toban.shop.database import Database
from toban.state.door import State

ORDERS: Final = Book("vendure_db", orders.ORDERS, timedelta(hours=1))
PAYMENTS: Final = Book("vendure_db_payments", orders.PAYMENTS, timedelta(hours=1))
JOBS: Final = jobs_in("vendure_db")

JOBS_HISTORY: Final = timedelta(days=1)
"""How far back jobs are read at a first start: the table holds the newest few only."""

MOST: Final = 2500
"""How many times one look tells at most: more would hold up the store."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was read before."""

    position: Position
    seen: Mapping[str, datetime]
    attempts: Mapping[str, Attempt]


Read = Callable[[Known, datetime], Awaitable[Slice]]


@dataclass(frozen=True, slots=True)
class Stream:
    """One thing that is counted: what it is called, how far back it begins, and how it is read."""

    book: Book
    history: timedelta
    read: Read


class Counting:
    """Counts streams slice by slice, for a while at a time, each up to now; the next look goes on from there."""

    def __init__(self) -> None:
        self._steady = Steady()
        self._asked: dict[str, tuple[float, timedelta]] = {}
        self._behind: set[str] = set()

    async def count(
        self, streams: Sequence[Stream], state: State, tools: Tools, target: dict[str, str], beat: timedelta
    ) -> tuple[list[Batch], timedelta]:
        """
        Count what has happened, for a third of the interval at most; return the totals and how far it is behind.

        What is behind has no totals of now: they would say that nothing has happened since. What isn't due has.
        Raises ``DatabaseError`` or ``StateError``.
        """
        began, now = tools.clock.monotonic(), tools.clock.now()
        batches, behind = list[Batch](), timedelta(0)
        waiting = []
        for stream in streams:
            if self._is_due(stream, began, beat):
                waiting.append(stream)
            else:
                book = stream.book
                batches += await state.transaction(lambda at, book=book: history.standing(at, book, now, target))  # type: ignore[misc]  # mypy can't infer a lambda with a default
        while waiting:
            stream = waiting.pop(0)
            asked = tools.clock.monotonic()
            told, until = await self._slice(stream, state, tools, target, now)
            batches += told
            spent = tools.clock.monotonic() - asked
            self._asked[stream.book.name] = asked, spared(timedelta(0), spent)
            self._behind.discard(stream.book.name)
            if until < now:
                if len(batches) > MOST or tools.clock.monotonic() - began > beat.total_seconds() / 3:
                    self._behind.add(stream.book.name)
                    behind = max(behind, now - until)
                else:
                    waiting.append(stream)
            await asyncio.sleep(0)
        return self._steady.steadied(batches), behind

    def _is_due(self, stream: Stream, now: float, beat: timedelta) -> bool:
        asked, rest = self._asked.get(stream.book.name, (None, timedelta(0)))
        return stream.book.name in self._behind or is_due(asked, rest, beat, now)

    async def _slice(
        self, stream: Stream, state: State, tools: Tools, target: dict[str, str], now: datetime
    ) -> tuple[Sequence[Batch], datetime]:
        """Count one slice: read what is known, then the shop, then raise the totals in one transaction."""
        began, book = now - stream.history, stream.book

        def known(connection: Connection) -> Known:
            position = books.position(connection, book.name, began)
            return Known(position, books.seen(connection, book.name), books.attempts(connection))

        found = await stream.read(await state.transaction(known), now)
        more: More | None = None
        if isinstance(found, Paid):
            more = consequences(found, now)
        told = await state.transaction(
            lambda connection: history.count(connection, book, found, began, now, target, more)
        )
        for label, many in told.over:
            tools.meters.add(OVER, many, label=label)
        return told.batches, told.until


def of_tables(database: Database, shape: Shape, money: Money | None, back: timedelta) -> list[Stream]:
    """Return what can be counted in this shop's tables; orders are while it isn't known in what unit money is kept."""

    async def placed(known: Known, now: datetime) -> Slice:
        assert money is not None  # noqa: S101  # or it is not among the streams
        async with database.looking() as cursor:
            return await Asking(cursor, shape).orders(ORDERS, known.position, known.seen, now, money)

    async def paid(known: Known, now: datetime) -> Slice:
        async with database.looking() as cursor:
            return await Asking(cursor, shape).payments(PAYMENTS, known.position, known.seen, now, known.attempts)

    async def ended(known: Known, now: datetime) -> Slice:
        async with database.looking() as cursor:
            return await Asking(cursor, shape).jobs(JOBS, known.position, known.seen, now)

    streams = []
    if money and {"order", "order_channels_channel", "channel", "customer", "history_entry"} <= shape.has:
        streams.append(Stream(ORDERS, back, placed))
    if {"order", "payment"} <= shape.has:
        streams.append(Stream(PAYMENTS, back, paid))
    if "job_record" in shape.has:
        streams.append(Stream(JOBS, min(back, JOBS_HISTORY), ended))
    return streams


def consequences(found: Paid, now: datetime) -> More:
    """
    Return what follows from attempts that failed: the orders that fail with them.

    An order is watched from its newest attempt on until it is placed or has failed.
    """

    def more(connection: Connection, new: Sequence[Event]) -> Sequence[Event]:
        for payment in new:
            if isinstance(payment, orders.Payment) and payment.order:
                books.attempted(connection, Attempt(payment.order, payment.method, payment.at))
        failures, ended = orders.decided(books.attempts(connection).values(), found.ends, found.until)
        books.failed(connection, [failure.id for failure in failures])
        books.settled(connection, ended, found.until - books.FAILED_KEPT)
        return failures

    return more
