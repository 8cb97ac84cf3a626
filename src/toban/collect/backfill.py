"""
Counts events once, each at its own time: after a first start, after a downtime, and from then on alike.

A source is read in slices, from where it was read before. A slice is counted in one transaction with the position and
the ids of its events, so that nothing is counted twice, in whatever order it became visible. The result are totals on
a grid of times: `increase` shows an event when it happened, and no spike at the time of reading.
"""

import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Protocol

import numpy as np
import orjson
import structlog
from sqlalchemy import Connection

from toban.collect import repository
from toban.collect.repository import ReadPosition
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Recorder
from toban.core.samples import Batch, Layout, MetricFamily, MetricType, milliseconds
from toban.instruments.cardinality import OVER, CardinalityLimits
from toban.state import durable_counters

log = structlog.get_logger("toban.collect")

FINE_STEP: Final = timedelta(minutes=1)
COARSE_STEP: Final = timedelta(minutes=5)
"""The steps of the grid of times: about as fine as collections for the newest day, coarser before."""

FINE_RANGE: Final = timedelta(days=1)

BORDER: Final = timedelta(minutes=15)
"""Hours and days begin at one of these in every time zone."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CLOCK_CHANGE: Final = timedelta(hours=2)
"""Ids are kept so much longer than events are read again: local times come twice when clocks go back."""

CLOCK_SKEW: Final = timedelta(minutes=1)
"""An event so little ahead of now waits until its time: clocks differ. Further ahead it counts at once."""

MAX_AHEAD: Final = timedelta(hours=1)
"""How far a position may lie ahead of now, after the clock was set back."""


class CountedEvent(Protocol):
    """One event."""

    @property
    def id(self) -> str:
        """Its id, unique in its stream."""
        ...

    @property
    def at(self) -> datetime:
        """When it happened."""
        ...

    def count(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        """Add it to the counters."""
        ...


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """A stream's name, the metrics it counts, and how late an event may become visible."""

    name: str
    families: tuple[MetricFamily, ...]
    lateness: timedelta


DeriveEvents = Callable[[Connection, Sequence[CountedEvent]], Sequence[CountedEvent]]
"""Returns the events that follow from new ones, in the transaction that counts them."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Events that were read at once, and the new position: see `ReadPosition` for ``top`` and ``floor``."""

    events: Sequence[CountedEvent]
    until: datetime
    top: int = 0
    floor: int = 0
    derive: DeriveEvents | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """
    The result of a slice: totals at times, the new position, and how many labels were over their limit, by label.

    ``pending`` is the number under which state keeps the totals until the store has them, None where there are none;
    ``new`` is how many events were not counted before.
    """

    batches: Sequence[Batch]
    position: ReadPosition
    over: Sequence[tuple[str, float]] = ()
    pending: int | None = None
    new: int = 0


def sample_times(since: datetime, until: datetime, now: datetime) -> Iterator[datetime]:
    """
    Yield the times of the samples between two times; the last is ``until``.

    There is one at each quarter of an hour: what happened in the last second of a day belongs to that day.
    """
    at = since
    while at < until:
        step = FINE_STEP if now - at <= FINE_RANGE else COARSE_STEP
        at = min(at + step, at + BORDER - (at - EPOCH) % BORDER, until)
        yield at


def slice_end(since: datetime, now: datetime, max_steps: int) -> datetime:
    """Return the end of a slice: so many steps on, and not beyond now."""
    *_, last = islice(sample_times(since, now, now), max_steps) if since < now else [now]
    return last


def reread_from(position: ReadPosition, lateness: timedelta, now: datetime) -> datetime:
    """
    Return the time to read from: a little before the position, but not before the beginning.

    After the clock was set back, the position may lie ahead of now. Nothing is read from before the time up to which
    ids are kept, or it would count twice.
    """
    since = min(position.read or position.until, now) - lateness
    return max(position.began, since, position.until - lateness - CLOCK_CHANGE)


def position(connection: Connection, stream: str, began: datetime, now: datetime) -> ReadPosition:
    """
    Return how far a stream was read.

    Where the clock was set back a little, no total is returned until it has passed the position. A position far ahead
    was stored while the clock was wrong: the stream begins anew from now on.
    """
    found = repository.position(connection, stream, began)
    if found.until <= now + MAX_AHEAD:
        return found
    log.warning("clock was set back", stream=stream, read_until=found.until.isoformat())
    restarted = replace(found, began=now, until=now, read=None)
    repository.save_position(connection, stream, restarted)
    return restarted


def count(
    connection: Connection,
    definition: StreamDefinition,
    found: Slice,
    began: datetime,
    now: datetime,
    target: dict[str, str],
) -> Totals:
    """
    Count a slice, and return its totals.

    1. Leave out what was counted before (also what is older than the kept ids: another process was faster), and what
       happened after this slice: a later one counts it.
    2. Count the rest step by step, in the order of time, and note the totals at each step.
    3. Store the totals, the position, the ids, and the samples that are pending until the store has them.

    No sample is older than one returned before, so that no total ever falls. A late event counts at the first step
    after that; where there is none in this slice, the totals include it, and the next slice returns them.
    """
    name, lateness = definition.name, definition.lateness
    before = position(connection, name, began, now)
    read_until = min(found.until, now)
    read_until += timedelta(microseconds=-read_until.microsecond % 1000)  # state keeps milliseconds
    until = max(before.until, read_until)
    known = repository.recently_counted(connection, name)
    forgotten = before.until - lateness - CLOCK_CHANGE
    new = {
        event.id: event
        for event in found.events
        if event.id not in known and event.at >= forgotten and not until < event.at <= now + CLOCK_SKEW
    }
    derived = found.derive(connection, list(new.values())) if found.derive else ()
    waiting = deque(sorted([*new.values(), *derived], key=lambda event: (event.at, event.id)))
    meters = durable_counters.load(connection, name, definition.families)
    over = MetricRegistry()
    limits = CardinalityLimits(over)
    limits.learn(meters)
    batches: list[Batch] = []
    last = before.until
    for step in sample_times(before.until, until, now):
        while waiting and (waiting[0].at <= step or step == until):
            waiting.popleft().count(meters, limits)
        at = milliseconds(step)
        batches += meters.read(at, target, min(milliseconds(last), at - 1))
        last = step
    for event in waiting:
        event.count(meters, limits)
    if waiting:
        batches += meters.zero_samples(milliseconds(last), target)
    durable_counters.save(connection, name, meters)
    ids = {event.id: event.at for event in new.values()}
    repository.record_counted(connection, name, ids, until - lateness - CLOCK_CHANGE)
    read = read_until if now < until else before.read if until == before.until else None
    after = repository.moved_position(before, until, found.top, found.floor, read)
    repository.save_position(connection, name, after)
    pending = repository.save_samples(connection, name, dump_batches(batches)) if batches else None
    over_limit = [(labels["label"], float(values[0])) for family, labels, values in over.series() if family == OVER]
    return Totals(batches, after, over_limit, pending, len(new))


def dump_batches(batches: Sequence[Batch]) -> str:
    """Return batches as text for state: each layout once, compressed."""
    layouts = {id(batch.layout): batch.layout for batch in batches}
    indexes = {key: index for index, key in enumerate(layouts)}
    series = [[dict(labels) for labels in layout.series] for layout in layouts.values()]
    families = [[_family(family) for family in layout.families] for layout in layouts.values()]
    values = [[batch.at, indexes[id(batch.layout)], batch.values.tolist()] for batch in batches]
    text = orjson.dumps({"series": series, "families": families, "batches": values})
    return b64encode(zlib.compress(text, 1)).decode()


def load_batches(text: str) -> list[Batch]:
    """Return the batches that `dump_batches` wrote."""
    found = orjson.loads(zlib.decompress(b64decode(text)))
    layouts = [
        Layout(
            [Labels(labels) for labels in series],
            [MetricFamily(name, MetricType(type_), *rest) for name, type_, *rest in families],
        )
        for series, families in zip(found["series"], found["families"], strict=True)
    ]
    return [Batch(layouts[index], at, np.array(values, np.float64)) for at, index, values in found["batches"]]


def _family(family: MetricFamily) -> tuple[str, str, str, str]:
    return family.name, family.type.value, family.help, family.unit


class StableLayouts:
    """
    Gives batches the layout object that their series had before: the store recognises layouts by identity.

    Totals are loaded anew for each slice, in whatever order; their series hardly ever change.
    """

    def __init__(self, capacity: int = 20) -> None:
        self._known: dict[frozenset[Labels], Layout] = {}
        self._capacity = capacity

    def stabilize(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches over known layouts."""
        found: dict[int, tuple[Layout, list[int] | None]] = {}
        for batch in batches:
            if id(batch.layout) not in found:
                found[id(batch.layout)] = self._known_layout(batch.layout)
        return [_reordered(*found[id(batch.layout)], batch) for batch in batches]

    def _known_layout(self, layout: Layout) -> tuple[Layout, list[int] | None]:
        """Return the known layout of the same series, and the order of its series in this one if it differs."""
        key = frozenset(layout.series)
        known = self._known.pop(key, layout)
        self._known[key] = known
        if len(self._known) > self._capacity:
            self._known.pop(next(iter(self._known)))
        if known.series == layout.series:
            return known, None
        indexes = {labels: index for index, labels in enumerate(layout.series)}
        return known, [indexes[labels] for labels in known.series]


def _reordered(layout: Layout, order: list[int] | None, batch: Batch) -> Batch:
    if layout is batch.layout:
        return batch
    return Batch(layout, batch.at, batch.values if order is None else np.ascontiguousarray(batch.values[order]))
