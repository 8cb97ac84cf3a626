"""Counting what happens in the shop, up to now: orders, attempts to pay, jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from toban.collect import backfill, order_events
from toban.collect import repository as books
from toban.collect.backfill import CountedEvent, EventBook, More, Slice, StableLayouts
from toban.collect.job_metrics import jobs_book
from toban.collect.repository import FailedAttempt, ReadPosition
from toban.collect.shop_queries import MoneyFormat, PaymentSlice, ShopReader, ShopSchema
from toban.collect.sql_metrics import is_due, rest_after
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError, StateError, TobanError
from toban.core.samples import Batch, milliseconds, moment
from toban.instruments.cardinality import OVER
from toban.shop.database import DatabaseError, ShopDatabase
from toban.state.database import State

BOOKS: Final = "vendure_db"
"""How the names of the books of the shop's tables begin."""
ORDERS: Final = EventBook(BOOKS, order_events.ORDERS, timedelta(hours=1))
PAYMENTS: Final = EventBook(f"{BOOKS}_payments", order_events.PAYMENTS, timedelta(hours=1))
JOBS: Final = jobs_book(BOOKS)

JOBS_HISTORY: Final = timedelta(days=1)
"""How far back jobs are read at a first start: the table holds the newest few only."""

MOST: Final = 2500
"""How many times one look tells at most: more would hold up the store."""

LONGEST_REST: Final = timedelta(minutes=1)
"""A stream rests no longer, whatever its question costs: rules over three minutes want two totals at least."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """What was read before."""

    position: ReadPosition
    seen: Mapping[str, datetime]
    attempts: Mapping[str, FailedAttempt]


Read = Callable[[ReadState, datetime], Awaitable[Slice]]


@dataclass(frozen=True, slots=True)
class EventStream:
    """One thing that is counted: what it is called, how far back it begins, and how it is read."""

    ledger: EventBook
    backfill: timedelta
    read: Read


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """
    What a look counted: totals to be stored, and the newest of the streams that had nothing to tell.

    ``stored`` is to be called once the store has the totals: until then they are told again. ``behind`` is how far the
    counting lags. ``trouble`` is why a stream could not be read; the others were.
    """

    batches: Sequence[Batch]
    standing: Sequence[Batch]
    behind: timedelta
    stored: Callable[[], None]
    trouble: TobanError | None = None


class EventCounter:
    """Counts streams slice by slice, for a while at a time, each up to now; the next look goes on from there."""

    def __init__(self) -> None:
        self._steady = StableLayouts()
        self._rests: dict[str, tuple[float, timedelta]] = {}
        self._newest: dict[str, Batch] = {}
        self._stored: set[int] = set()

    async def count(
        self,
        streams: Sequence[EventStream],
        state: State,
        tools: CollectorTools,
        target: dict[str, str],
        beat: timedelta,
        now: datetime,
    ) -> StreamCounts:
        """
        Count what has happened up to now, for a third of the interval at most.

        Nothing is told of a time that a stream was not read up to: what is found later would fall below it. A stream
        whose question was slow rests, for so short a time that its series go on.
        """
        clock, began = tools.clock, tools.clock.monotonic()
        work = _Work(state, tools, target, moment(milliseconds(now)))
        waiting = [stream for stream in streams if self._is_due(stream, began, beat)]
        while waiting:
            stream = waiting.pop(0)
            asked = clock.monotonic()
            try:
                more = await self._slice(stream, work)
            except (CollectError, StateError) as error:
                work.trouble = work.trouble or error
                self._newest.pop(stream.ledger.name, None)
                if isinstance(error, DatabaseError) and error.lost:
                    break
                continue
            if not more:
                self._rests[stream.ledger.name] = asked, min(LONGEST_REST, rest_after(timedelta(0), work.cost))
            elif work.many() <= MOST and clock.monotonic() - began <= beat.total_seconds() / 3:
                waiting.append(stream)
            await asyncio.sleep(0)
        told = {name: self._steady.stabilize(batches) for name, batches in work.told.items()}
        self._newest.update((name, batches[-1]) for name, batches in told.items() if batches)
        standing = [batch for name, batch in self._newest.items() if not told.get(name)]
        behind = max(work.behind.values(), default=timedelta(0))
        stored = partial(self._stored.update, work.handed)
        return StreamCounts(
            [one for batches in told.values() for one in batches], standing, behind, stored, work.trouble
        )

    def _is_due(self, stream: EventStream, now: float, beat: timedelta) -> bool:
        asked, rest = self._rests.pop(stream.ledger.name, (None, timedelta(0)))
        if is_due(asked, rest, beat, now):
            return True
        assert asked is not None  # noqa: S101  # or it is due
        self._rests[stream.ledger.name] = asked, rest
        return False

    async def _slice(self, stream: EventStream, work: "_Work") -> bool:
        """
        Count one slice, and tell whether there is more: read what is known, then the shop, then raise the totals.

        What was counted before and is not in the store yet is told again: the look that brought it was cut off, or
        toban was killed.
        """
        now, book = work.now, stream.ledger
        began, stored = now - stream.backfill, frozenset(self._stored)

        def known(connection: Connection) -> tuple[ReadState, list[tuple[int, Sequence[Batch]]]]:
            pending = books.pending_samples(connection, book.name, stored, backfill.load_batches)
            position = backfill.position(connection, book.name, began, now)
            return ReadState(
                position, books.recently_counted(connection, book.name), books.open_attempts(connection)
            ), pending

        before, pending = await work.state.transaction(known)
        self._stored -= stored
        for number, kept in pending:
            if number not in work.handed:
                work.tell(book, kept, number)
        work.behind[book.name] = max(timedelta(0), now - before.position.until)
        if work.many() > MOST:
            return True
        asked = work.tools.clock.monotonic()
        found = await stream.read(before, now)
        work.cost = work.tools.clock.monotonic() - asked
        more: More | None = None
        if isinstance(found, PaymentSlice):
            more = failed_orders(found, now)
        told = await work.state.transaction(
            lambda connection: backfill.count(connection, book, found, began, now, work.target, more)
        )
        work.tell(book, told.batches, told.pending)
        for label, many in told.over:
            work.tools.meters.add(OVER, many, label=label)
        work.behind[book.name] = max(timedelta(0), now - told.position.until)
        return told.position.until < now and (told.new > 0 or told.position != before.position)


@dataclass(slots=True)
class _Work:
    """One look at its work: what it needs, and what it has come to."""

    state: State
    tools: CollectorTools
    target: dict[str, str]
    now: datetime
    told: dict[str, list[Batch]] = field(default_factory=dict)
    behind: dict[str, timedelta] = field(default_factory=dict)
    handed: set[int] = field(default_factory=set)
    cost: float = 0.0
    trouble: TobanError | None = None

    def tell(self, book: EventBook, batches: Sequence[Batch], pending: int | None) -> None:
        """Take totals that the store is to have, and the number under which they are kept until it has."""
        self.told.setdefault(book.name, []).extend(batches)
        if pending is not None:
            self.handed.add(pending)

    def many(self) -> int:
        """Return how many times were told."""
        return sum(map(len, self.told.values()))


def table_streams(
    database: ShopDatabase, shape: ShopSchema, money: MoneyFormat | None, back: timedelta
) -> list[EventStream]:
    """Return what can be counted in this shop's tables; orders are while it isn't known in what unit money is kept."""

    async def placed(known: ReadState, now: datetime) -> Slice:
        assert money is not None  # noqa: S101  # or it is not among the streams
        async with database.looking() as cursor:
            return await ShopReader(cursor, shape).orders(ORDERS, known.position, known.seen, now, money)

    async def paid(known: ReadState, now: datetime) -> Slice:
        async with database.looking() as cursor:
            return await ShopReader(cursor, shape).payments(PAYMENTS, known.position, known.seen, now, known.attempts)

    async def ended(known: ReadState, now: datetime) -> Slice:
        async with database.looking() as cursor:
            return await ShopReader(cursor, shape).jobs(JOBS, known.position, known.seen, now)

    streams = []
    if money and {"order", "order_channels_channel", "channel", "customer", "history_entry"} <= shape.has:
        streams.append(EventStream(ORDERS, back, placed))
    if {"order", "payment"} <= shape.has:
        streams.append(EventStream(PAYMENTS, back, paid))
    if "job_record" in shape.has:
        streams.append(EventStream(JOBS, min(back, JOBS_HISTORY), ended))
    return streams


def failed_orders(found: PaymentSlice, now: datetime) -> More:
    """
    Return what follows from attempts that failed: the orders that fail with them.

    An order is watched from its newest attempt on until it is placed or has failed.
    """

    def more(connection: Connection, new: Sequence[CountedEvent]) -> Sequence[CountedEvent]:
        for payment in new:
            if isinstance(payment, order_events.FailedPayment) and payment.order:
                books.record_attempt(connection, FailedAttempt(payment.order, payment.method, payment.at))
        failures, ended = order_events.decide_failures(
            books.open_attempts(connection).values(), found.ends, found.until
        )
        books.mark_failed(connection, [failure.id for failure in failures])
        books.remove_attempts(connection, ended, found.until - books.FAILED_KEPT)
        return failures

    return more
