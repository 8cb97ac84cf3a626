"""Counts streams of events up to now, slice by slice."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection

from toban.collect import backfill, repository
from toban.collect.backfill import Slice, StableLayouts, StreamDefinition
from toban.collect.intervals import backed_off, is_due
from toban.collect.repository import ReadPosition
from toban.core.errors import CollectError, StateError, TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import Batch, milliseconds, moment
from toban.instruments.cardinality import OVER
from toban.state.database import State

MAX_BATCHES: Final = 2500
"""Batches that one collection returns at most: more would block the store."""

MAX_BACKOFF: Final = timedelta(minutes=1)
"""The longest interval of a slow query: rules over three minutes need two totals at least."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """How far a stream was read, and the ids that were counted lately, with their times."""

    position: ReadPosition
    seen: Mapping[str, datetime]


Read = Callable[[ReadState, datetime], Awaitable[Slice]]


@dataclass(frozen=True, slots=True)
class EventStream:
    """One stream: its definition, how far back the first read begins, and the function that reads a slice."""

    definition: StreamDefinition
    backfill: timedelta
    read: Read


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """
    The result of one collection: totals to store, and the last totals of the streams that have no new ones.

    ``stored`` is to be called once the store has the totals: until then they are returned again. ``behind`` is how far
    the slowest stream is behind now. ``error`` is why a stream could not be read; the others were.
    """

    batches: Sequence[Batch]
    unchanged: Sequence[Batch]
    behind: timedelta
    stored: Callable[[], None]
    error: TobanError | None = None


class EventCounter:
    """Counts streams slice by slice, for part of an interval at a time; the next collection continues from there."""

    def __init__(self, state: State, clock: Clock, meters: MetricRegistry) -> None:
        self._state = state
        self._clock = clock
        self._meters = meters
        self._layouts = StableLayouts()
        self._backoff: dict[str, tuple[float, timedelta]] = {}
        self._newest: dict[str, Batch] = {}
        self._stored: set[int] = set()

    async def count(
        self, streams: Sequence[EventStream], target: dict[str, str], interval: timedelta, now: datetime
    ) -> StreamCounts:
        """
        Count what has happened up to now, for a third of the interval at most.

        No total is returned for a time that a stream was not read up to: what is found later would make it fall. A
        stream whose query was slow is skipped for a while, too short for its series to become stale.
        """
        began = self._clock.monotonic()
        work = _Work(target, moment(milliseconds(now)))
        waiting = [stream for stream in streams if self._is_due(stream, began, interval)]
        while waiting:
            stream = waiting.pop(0)
            name, started = stream.definition.name, self._clock.monotonic()
            try:
                more = await self._count_slice(stream, work)
            except (CollectError, StateError) as error:
                work.error = work.error or error
                self._newest.pop(name, None)
                if isinstance(error, CollectError) and error.connection_lost:
                    break
                continue
            if not more:
                self._backoff[name] = started, min(MAX_BACKOFF, backed_off(timedelta(0), work.query_seconds))
            elif work.count() <= MAX_BATCHES and self._clock.monotonic() - began <= interval.total_seconds() / 3:
                waiting.append(stream)
            await asyncio.sleep(0)
        counted = {name: self._layouts.stabilize(batches) for name, batches in work.batches.items()}
        self._newest.update((name, batches[-1]) for name, batches in counted.items() if batches)
        unchanged = [batch for name, batch in self._newest.items() if not counted.get(name)]
        behind = max(work.behind.values(), default=timedelta(0))
        stored = partial(self._stored.update, work.pending)
        batches = [batch for of_stream in counted.values() for batch in of_stream]
        return StreamCounts(batches, unchanged, behind, stored, work.error)

    def _is_due(self, stream: EventStream, now: float, interval: timedelta) -> bool:
        name = stream.definition.name
        last, backoff = self._backoff.get(name, (None, timedelta(0)))
        if not is_due(last, backoff, interval, now):
            return False
        self._backoff.pop(name, None)
        return True

    async def _count_slice(self, stream: EventStream, work: "_Work") -> bool:
        """
        Count one slice and return whether there is more: load what is known, read the shop, raise the totals.

        Totals that were counted before and are not in the store yet are returned again: the collection that counted
        them was cut off, or toban was killed.
        """
        now, definition = work.now, stream.definition
        began, stored = now - stream.backfill, frozenset(self._stored)

        def load(connection: Connection) -> tuple[ReadState, list[tuple[int, Sequence[Batch]]]]:
            pending = repository.pending_samples(connection, definition.name, stored, backfill.load_batches)
            position = backfill.position(connection, definition.name, began, now)
            return ReadState(position, repository.recently_counted(connection, definition.name)), pending

        before, pending = await self._state.transaction(load)
        self._stored -= stored
        for number, batches in pending:
            if number not in work.pending:
                work.add(definition, batches, number)
        work.behind[definition.name] = max(timedelta(0), now - before.position.until)
        if work.count() > MAX_BATCHES:
            return True
        started = self._clock.monotonic()
        found = await stream.read(before, now)
        work.query_seconds = self._clock.monotonic() - started
        totals = await self._state.transaction(
            lambda connection: backfill.count(connection, definition, found, began, now, work.target)
        )
        work.add(definition, totals.batches, totals.pending)
        for label, many in totals.over:
            self._meters.add(OVER, many, label=label)
        work.behind[definition.name] = max(timedelta(0), now - totals.position.until)
        return totals.position.until < now and (totals.new > 0 or totals.position != before.position)


@dataclass(slots=True)
class _Work:
    """One collection under way."""

    target: dict[str, str]
    now: datetime
    batches: dict[str, list[Batch]] = field(default_factory=dict)
    behind: dict[str, timedelta] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    query_seconds: float = 0.0
    error: TobanError | None = None

    def add(self, definition: StreamDefinition, batches: Sequence[Batch], pending: int | None) -> None:
        """Add totals that are to be stored, and the number under which state keeps them until they are."""
        self.batches.setdefault(definition.name, []).extend(batches)
        if pending is not None:
            self.pending.add(pending)

    def count(self) -> int:
        """Return how many batches there are."""
        return sum(map(len, self.batches.values()))
