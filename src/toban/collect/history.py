"""
What happened is counted once, and told at its own time: at a first start, after a downtime, and from then on alike.

Something is read in slices, from where it was read before. A slice is counted in one transaction with how far it was
read and what was seen in it, so that nothing is counted twice, in whatever order it became visible. What it comes to
is told as totals on a grid of times: `increase` shows what happened when it happened, and no spike where it was read.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

import numpy as np
from sqlalchemy import Connection

from toban.collect import book as books
from toban.collect.book import Position
from toban.core.labels import Labels
from toban.core.meters import Meters
from toban.core.ports import Recorder
from toban.core.samples import Batch, Family, Layout, milliseconds
from toban.instruments.budgets import OVER, Budgets
from toban.state import tallies

FINE: Final = timedelta(minutes=1)
COARSE: Final = timedelta(minutes=5)
"""The steps in which what was missed is told: as fine as looks for the newest day, coarser before."""

NEWEST: Final = timedelta(days=1)

FOLD: Final = timedelta(hours=2)
"""What was seen is remembered so much longer than it is read again: local times come twice when clocks go back."""


class Event(Protocol):
    """Something that happened, once."""

    @property
    def id(self) -> str:
        """What tells it from others of its book."""
        ...

    @property
    def at(self) -> datetime:
        """When it happened."""
        ...

    def tell(self, recorder: Recorder, budgets: Budgets) -> None:
        """Count it."""
        ...


@dataclass(frozen=True, slots=True)
class Book:
    """What is counted together: its name, its numbers, and how far back is read again for what came late."""

    name: str
    families: tuple[Family, ...]
    margin: timedelta


@dataclass(frozen=True, slots=True)
class Slice:
    """What was read at once: what happened, and how far that goes."""

    events: Sequence[Event]
    until: datetime
    top: int = 0
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a slice came to: totals at times, how far they go, and how many labels were over budget, by label."""

    batches: Sequence[Batch]
    until: datetime
    over: Sequence[tuple[str, float]] = ()


More = Callable[[Connection, Sequence[Event]], Sequence[Event]]
"""Returns what else happened, given what is new."""


def steps(since: datetime, until: datetime, now: datetime) -> Iterator[datetime]:
    """Return the times at which what happened between two times is told; the last is ``until``."""
    at = since
    while at < until:
        at = min(at + (FINE if now - at <= NEWEST else COARSE), until)
        yield at


def reach(since: datetime, now: datetime, most: int) -> datetime:
    """Return how far one slice may go: so many steps, and not beyond now."""
    *_, last = islice(steps(since, now, now), most) if since < now else [now]
    return last


def again_from(position: Position, margin: timedelta) -> datetime:
    """Return from when on is read: a little again of what was read before, but not from before the beginning."""
    return max(position.began, position.until - margin)


def count(
    connection: Connection,
    book: Book,
    found: Slice,
    began: datetime,
    now: datetime,
    target: dict[str, str],
    more: More | None = None,
) -> Told:
    """
    Count a slice, and return its totals.

    1. Leave out what was counted before.
    2. Count the rest step by step, in the order of time, and write down how the totals stand at each step. What came
       late counts at the first.
    3. Keep the totals, how far was read, and what was seen.
    """
    position = books.position(connection, book.name, began)
    known = books.seen(connection, book.name)
    new = {event.id: event for event in found.events if event.id not in known}
    further = more(connection, list(new.values())) if more else ()
    waiting = deque(sorted([*new.values(), *further], key=lambda event: (event.at, event.id)))
    meters = tallies.load(connection, book.name, book.families)
    over = Meters()
    budgets = Budgets(over)
    budgets.learn(meters)
    until = max(position.until, min(found.until, now))
    times = list(steps(position.until, until, now)) or [until]
    batches: list[Batch] = []
    before = position.until
    for step in times:
        while waiting and (waiting[0].at <= step or step is times[-1]):
            waiting.popleft().tell(meters, budgets)
        at = milliseconds(step)
        batches += meters.read(at, target, min(milliseconds(before), at - 1))
        before = step
    tallies.save(connection, book.name, meters)
    books.remember(
        connection,
        book.name,
        {event.id: event.at for event in new.values()},
        until - book.margin - FOLD,
    )
    books.note(connection, book.name, books.moved(position, until, found.top, found.floor))
    told = [(labels["label"], values[0]) for family, labels, values in over.series() if family == OVER]
    return Told(batches, until, told)


def standing(connection: Connection, book: Book, now: datetime, target: dict[str, str]) -> list[Batch]:
    """Return how the totals stand, where nothing new is asked for."""
    return tallies.load(connection, book.name, book.families).read(milliseconds(now), target)


class Steady:
    """
    Gives batches the layout that they had before where it holds the same series: the store knows it by identity.

    Totals are loaded anew for each slice, in whatever order; their series hardly ever change.
    """

    def __init__(self, most: int = 20) -> None:
        self._known: dict[frozenset[Labels], Layout] = {}
        self._most = most

    def steadied(self, batches: Sequence[Batch]) -> list[Batch]:
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
