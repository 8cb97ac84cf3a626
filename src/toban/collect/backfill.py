"""
What happened is counted once, and told at its own time: at a first start, after a downtime, and from then on alike.

Something is read in slices, from where it was read before. A slice is counted in one transaction with how far it was
read and what was seen in it, so that nothing is counted twice, in whatever order it became visible. What it comes to
is told as totals on a grid of times: `increase` shows what happened when it happened, and no spike where it was read.
"""

import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

import numpy as np
import orjson
import structlog
from sqlalchemy import Connection

from toban.collect import repository as books
from toban.collect.repository import ReadPosition
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Recorder
from toban.core.samples import Batch, Layout, MetricFamily, MetricType, milliseconds
from toban.instruments.cardinality import OVER, CardinalityLimits
from toban.state import durable_counters

log = structlog.get_logger("toban.collect")

FINE: Final = timedelta(minutes=1)
COARSE: Final = timedelta(minutes=5)
"""The steps in which what was missed is told: as fine as looks for the newest day, coarser before."""

NEWEST: Final = timedelta(days=1)

FOLD: Final = timedelta(hours=2)
"""What was seen is remembered so much longer than it is read again: local times come twice when clocks go back."""

LEAD: Final = timedelta(minutes=1)
"""What lies so little ahead of now waits until its time has come: clocks differ. Further ahead it counts at once."""

AHEAD: Final = timedelta(hours=1)
"""How far what was read may lie ahead of now, after the clock was set back."""


class CountedEvent(Protocol):
    """Something that happened, once."""

    @property
    def id(self) -> str:
        """What tells it from others of its book."""
        ...

    @property
    def at(self) -> datetime:
        """When it happened."""
        ...

    def count(self, recorder: Recorder, budgets: CardinalityLimits) -> None:
        """Count it."""
        ...


@dataclass(frozen=True, slots=True)
class EventBook:
    """What is counted together: its name, its numbers, and how far back is read again for what came late."""

    name: str
    families: tuple[MetricFamily, ...]
    margin: timedelta


@dataclass(frozen=True, slots=True)
class Slice:
    """What was read at once: what happened, and how far that goes."""

    events: Sequence[CountedEvent]
    until: datetime
    top: int = 0
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """
    What a slice came to: totals at times, how far it was read, and how many labels were over budget, by label.

    ``pending`` is the number under which the totals are kept until the store has them, nothing where there are none;
    ``new`` is how much happened that was not counted before.
    """

    batches: Sequence[Batch]
    position: ReadPosition
    over: Sequence[tuple[str, float]] = ()
    pending: int | None = None
    new: int = 0


More = Callable[[Connection, Sequence[CountedEvent]], Sequence[CountedEvent]]
"""Returns what else happened, given what is new."""


def sample_times(since: datetime, until: datetime, now: datetime) -> Iterator[datetime]:
    """Return the times at which what happened between two times is told; the last is ``until``."""
    at = since
    while at < until:
        at = min(at + (FINE if now - at <= NEWEST else COARSE), until)
        yield at


def slice_end(since: datetime, now: datetime, most: int) -> datetime:
    """Return how far one slice may go: so many steps, and not beyond now."""
    *_, last = islice(sample_times(since, now, now), most) if since < now else [now]
    return last


def reread_from(position: ReadPosition, margin: timedelta, now: datetime) -> datetime:
    """
    Return from when on is read: a little again of what was read before, but not from before the beginning.

    After the clock was set back, what was read may lie ahead of now. It is not read again from before what was seen is
    remembered, or it would count twice.
    """
    since = min(position.read or position.until, now) - margin
    return max(position.began, since, position.until - margin - FOLD)


def position(connection: Connection, book: str, began: datetime, now: datetime) -> ReadPosition:
    """
    Return how far a book was read.

    What was told lies before that; where the clock was set back a little, nothing is told until it has passed it. A
    position that lies far ahead was noted while the clock was wrong: it begins anew from now on.
    """
    found = books.position(connection, book, began)
    if found.until <= now + AHEAD:
        return found
    log.warning("the clock was set back", book=book, read_until=found.until.isoformat())
    anew = replace(found, began=now, until=now, read=None)
    books.save_position(connection, book, anew)
    return anew


def count(
    connection: Connection,
    book: EventBook,
    found: Slice,
    began: datetime,
    now: datetime,
    target: dict[str, str],
    more: More | None = None,
) -> Totals:
    """
    Count a slice, and return its totals.

    1. Leave out what was counted before (what is so old that it is no longer remembered was: another look was quicker),
       and what happened after this slice: its time will come.
    2. Count the rest step by step, in the order of time, and write down how the totals stand at each step.
    3. Keep the totals, how far was read, what was seen, and what is to be told until the store has it.

    Nothing is told of a time that was told before, so that no total ever falls. What comes late counts at the first
    step after that; where there is none in this slice, it stands in the totals, and the next slice tells it.
    """
    before = position(connection, book.name, began, now)
    read_until = min(found.until, now)
    read_until += timedelta(microseconds=-read_until.microsecond % 1000)  # state keeps milliseconds
    until = max(before.until, read_until)
    known = books.recently_counted(connection, book.name)
    forgotten = before.until - book.margin - FOLD
    new = {
        event.id: event
        for event in found.events
        if event.id not in known and event.at >= forgotten and not until < event.at <= now + LEAD
    }
    further = more(connection, list(new.values())) if more else ()
    waiting = deque(sorted([*new.values(), *further], key=lambda event: (event.at, event.id)))
    meters = durable_counters.load(connection, book.name, book.families)
    over = MetricRegistry()
    budgets = CardinalityLimits(over)
    budgets.learn(meters)
    batches: list[Batch] = []
    last = before.until
    for step in sample_times(before.until, until, now):
        while waiting and (waiting[0].at <= step or step == until):
            waiting.popleft().count(meters, budgets)
        at = milliseconds(step)
        batches += meters.read(at, target, min(milliseconds(last), at - 1))
        last = step
    for event in waiting:
        event.count(meters, budgets)
    if waiting:
        batches += meters.zero_samples(milliseconds(last), target)
    durable_counters.save(connection, book.name, meters)
    books.record_counted(
        connection,
        book.name,
        {event.id: event.at for event in new.values()},
        until - book.margin - FOLD,
    )
    read = read_until if now < until else before.read if until == before.until else None
    after = books.moved_position(before, until, found.top, found.floor, read)
    books.save_position(connection, book.name, after)
    pending = books.save_samples(connection, book.name, dump_batches(batches)) if batches else None
    told = [(labels["label"], float(values[0])) for family, labels, values in over.series() if family == OVER]
    return Totals(batches, after, told, pending, len(new))


def dump_batches(batches: Sequence[Batch]) -> str:
    """Return batches as they are kept: each layout once, compressed."""
    layouts = {id(batch.layout): batch.layout for batch in batches}
    places = {key: place for place, key in enumerate(layouts)}
    series = [[dict(labels) for labels in layout.series] for layout in layouts.values()]
    families = [[_family(family) for family in layout.families] for layout in layouts.values()]
    told = [[batch.at, places[id(batch.layout)], batch.values.tolist()] for batch in batches]
    kept = orjson.dumps({"series": series, "families": families, "batches": told})
    return b64encode(zlib.compress(kept, 1)).decode()


def load_batches(kept: str) -> list[Batch]:
    """Return the batches that `dump_batches` wrote."""
    found = orjson.loads(zlib.decompress(b64decode(kept)))
    layouts = [
        Layout(
            [Labels(labels) for labels in series],
            [MetricFamily(name, MetricType(sort), *rest) for name, sort, *rest in families],
        )
        for series, families in zip(found["series"], found["families"], strict=True)
    ]
    return [Batch(layouts[place], at, np.array(values, np.float64)) for at, place, values in found["batches"]]


def _family(family: MetricFamily) -> tuple[str, str, str, str]:
    return family.name, family.type.value, family.help, family.unit


class StableLayouts:
    """
    Gives batches the layout that they had before where it holds the same series: the store knows it by identity.

    Totals are loaded anew for each slice, in whatever order; their series hardly ever change.
    """

    def __init__(self, most: int = 20) -> None:
        self._known: dict[frozenset[Labels], Layout] = {}
        self._most = most

    def stabilize(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches over layouts that are known."""
        found: dict[int, tuple[Layout, list[int] | None]] = {}
        for batch in batches:
            if id(batch.layout) not in found:
                found[id(batch.layout)] = self._matched(batch.layout)
        return [_over(*found[id(batch.layout)], batch) for batch in batches]

    def _matched(self, layout: Layout) -> tuple[Layout, list[int] | None]:
        key = frozenset(layout.series)
        known = self._known.pop(key, layout)
        self._known[key] = known
        if len(self._known) > self._most:
            self._known.pop(next(iter(self._known)))
        if known.series == layout.series:
            return known, None
        places = {labels: place for place, labels in enumerate(layout.series)}
        return known, [places[labels] for labels in known.series]


def _over(layout: Layout, order: list[int] | None, batch: Batch) -> Batch:
    if layout is batch.layout:
        return batch
    return Batch(layout, batch.at, batch.values if order is None else np.ascontiguousarray(batch.values[order]))
