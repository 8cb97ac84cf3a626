"""Single numbers put together to batches."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from toban.core.labels import Labels
from toban.core.ports import Clock
from toban.core.samples import ABSENT, Batch, Family, Layout
from toban.remote.wire import Sample

WIDE: Final = 128
"""How many series stand together at most."""

THIN: Final = 8
"""A batch that is filled to less than one of so many is written without the gaps."""

PARTS: Final = 32
"""How many selections of one shelf are kept at hand."""

UNUSED: Final = 7200.0
"""Seconds after which series that nobody sends any more lose their places."""


@dataclass(slots=True, eq=False)
class Shelf:
    """Some series of one source, each in its place for as long as it is sent."""

    series: list[Labels] = field(default_factory=list)
    layout: Layout | None = None
    parts: dict[tuple[int, ...], Layout] = field(default_factory=dict)
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class Put:
    """Samples as batches; which of their series are new, and which samples found no place."""

    batches: list[Batch]
    new: list[Labels]
    without: list[Sample]


class Places:
    """
    Knows where each series stands, so that the same series make the same batches again and again.

    A sender cuts what it sends wherever it likes: without places each request would be a layout of its own. One target
    (``job`` and ``instance``) has up to ``limit`` places.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._many = Counter[tuple[str, str]]()
        self._places: dict[Labels, tuple[Shelf, int]] = {}
        self._open: dict[tuple[str, str], Shelf] = {}
        self._tidied = clock.monotonic()

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._places

    def put(self, samples: Iterable[Sample], families: Mapping[str, Family]) -> Put:
        """Return samples as batches. Of two for one series at one time the later counts."""
        self._tidy()
        rows: dict[tuple[int, int], tuple[Shelf, dict[int, float]]] = {}
        new, without = list[Labels](), list[Sample]()
        for sample in samples:
            place = self._places.get(sample.labels)
            if place is None:
                if self._many[_source(sample.labels)] >= self._limit:
                    without.append(sample)
                    continue
                place = self._given(sample.labels)
                new.append(sample.labels)
            shelf, where = place
            row = rows.setdefault((id(shelf), sample.at), (shelf, {}))
            row[1][where] = sample.value
        batches = [self._batch(shelf, at, row, families) for (_, at), (shelf, row) in rows.items()]
        return Put(batches, new, without)

    def take_back(self, new: Iterable[Labels]) -> None:
        """Take the places of new series away again, newest first."""
        for labels in reversed(list(new)):
            shelf, where = self._places.pop(labels)
            self._many[_source(labels)] -= 1
            del shelf.series[where:]
            shelf.layout = None
            shelf.parts.clear()

    def known_anew(self) -> None:
        """Let the next batches tell what is known of their metrics."""
        for shelf, _ in self._places.values():
            shelf.layout = None

    def _given(self, labels: Labels) -> tuple[Shelf, int]:
        source = _source(labels)
        self._many[source] += 1
        shelf = self._open.get(source)
        if shelf is None or len(shelf.series) >= WIDE:
            shelf = self._open[source] = Shelf()
        shelf.series.append(labels)
        shelf.layout = None
        place = self._places[labels] = shelf, len(shelf.series) - 1
        return place

    def _batch(self, shelf: Shelf, at: int, row: Mapping[int, float], families: Mapping[str, Family]) -> Batch:
        shelf.used = self._clock.monotonic()
        if len(row) * THIN < len(shelf.series):
            chosen = tuple(row)
            layout = shelf.parts.get(chosen)
            if layout is None:
                if len(shelf.parts) >= PARTS:
                    shelf.parts.clear()
                layout = shelf.parts[chosen] = _layout([shelf.series[place] for place in chosen], families)
            return Batch(layout, at, np.array(list(row.values()), np.float64))
        if shelf.layout is None:
            shelf.layout = _layout(shelf.series, families)
        values = np.full(len(shelf.series), ABSENT)
        values[list(row)] = list(row.values())
        return Batch(shelf.layout, at, values)

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < UNUSED / 4:
            return
        self._tidied = now
        self._open = {source: shelf for source, shelf in self._open.items() if now - shelf.used < UNUSED}
        self._places = {labels: place for labels, place in self._places.items() if now - place[0].used < UNUSED}
        self._many = Counter(map(_source, self._places))


def _source(labels: Labels) -> tuple[str, str]:
    return labels.get("job", ""), labels.get("instance", "")


def _layout(series: Iterable[Labels], families: Mapping[str, Family]) -> Layout:
    series = list(series)
    names = dict.fromkeys(labels.name for labels in series)
    stems = (name.removesuffix(suffix) for name in names for suffix in ("", "_bucket", "_sum", "_count") if families)
    return Layout(series, dict.fromkeys(families[stem] for stem in stems if stem in families))
