"""Single numbers put together to batches."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.ports import Clock
from toban.core.samples import ABSENT, Batch, Layout, MetricFamily
from toban.remote.remote_write_model import RemoteSamples

Numbers = NDArray[np.int64]

WIDE: Final = 128
"""How many series stand together at most."""

THIN: Final = 8
"""A batch that is filled to less than one of so many is written without the gaps."""

PARTS: Final = 32
"""How many selections of one shelf are kept at hand."""

UNUSED: Final = 7200.0
"""Seconds after which series that nobody sends any more lose their places."""


@dataclass(slots=True, eq=False)
class SeriesSlots:
    """Some series of one source, each in its place for as long as it is sent."""

    series: list[Labels] = field(default_factory=list)
    layout: Layout | None = None
    parts: dict[tuple[int, ...], Layout] = field(default_factory=dict)
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """Samples as batches; which of their series are new, and which samples found no place."""

    batches: list[Batch]
    new: list[Labels]
    without: RemoteSamples


class SeriesPacker:
    """
    Knows where each series stands, so that the same series make the same batches again and again.

    A sender cuts what it sends wherever it likes: without places each request would be a layout of its own. One target
    (``job`` and ``instance``) has up to ``limit`` places.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._many = Counter[tuple[str, str]]()
        self._places: dict[Labels, tuple[SeriesSlots, int]] = {}
        self._open: dict[tuple[str, str], SeriesSlots] = {}
        self._tidied = clock.monotonic()

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._places

    def pack(self, samples: RemoteSamples, families: Mapping[str, MetricFamily]) -> PackedSamples:
        """Return samples as batches. Of two for one series at one time the later counts."""
        self._tidy()
        shelves, new = dict[SeriesSlots, int](), list[Labels]()
        rows = list[tuple[int, int]]()
        for labels in samples.series:
            place = self._places.get(labels)
            if place is None:
                if self._many[_source(labels)] >= self._limit:
                    rows.append((-1, -1))
                    continue
                place = self._given(labels)
                new.append(labels)
            rows.append((shelves.setdefault(place[0], len(shelves)), place[1]))
        table = np.array(rows, np.int64).reshape(-1, 2).T
        has = table[0, samples.series_of] >= 0
        batches = self._batches(list(shelves), table, samples.only(has), families)
        return PackedSamples(batches, new, samples.only(~has))

    def _batches(
        self,
        shelves: Sequence[SeriesSlots],
        table: Numbers,
        samples: RemoteSamples,
        families: Mapping[str, MetricFamily],
    ) -> list[Batch]:
        """Return samples as batches, of whose series the table tells shelf and place."""
        shelf, place = table[:, samples.series_of]
        # Of those at one place and time, which stand together then, the last.
        order = np.lexsort((place, samples.times, shelf))
        shelf, place, times, values = shelf[order], place[order], samples.times[order], samples.values[order]
        together = (np.diff(shelf) == 0) & (np.diff(times) == 0)
        last = np.append(~(together & (np.diff(place) == 0)), np.ones(min(1, len(order)), np.bool_))
        ends = np.flatnonzero(~together) + 1
        batches = []
        for first, end in zip([0, *ends.tolist()], [*ends.tolist(), len(order)], strict=True):
            here = np.flatnonzero(last[first:end]) + first
            if len(here):
                batches.append(
                    self._batch(shelves[shelf[first]], int(times[first]), place[here], values[here], families)
                )
        return batches

    def release(self, new: Iterable[Labels]) -> None:
        """Take the places of new series away again, newest first."""
        for labels in reversed(list(new)):
            shelf, where = self._places.pop(labels)
            self._many[_source(labels)] -= 1
            del shelf.series[where:]
            shelf.layout = None
            shelf.parts.clear()

    def resend_metadata(self) -> None:
        """Let the next batches tell what is known of their metrics."""
        for shelf, _ in self._places.values():
            shelf.layout = None

    def _given(self, labels: Labels) -> tuple[SeriesSlots, int]:
        source = _source(labels)
        self._many[source] += 1
        shelf = self._open.get(source)
        if shelf is None or len(shelf.series) >= WIDE:
            shelf = self._open[source] = SeriesSlots()
        shelf.series.append(labels)
        shelf.layout = None
        place = self._places[labels] = shelf, len(shelf.series) - 1
        return place

    def _batch(
        self,
        shelf: SeriesSlots,
        at: int,
        places: Numbers,
        values: NDArray[np.float64],
        families: Mapping[str, MetricFamily],
    ) -> Batch:
        shelf.used = self._clock.monotonic()
        if len(places) * THIN < len(shelf.series):
            chosen = tuple(places.tolist())
            layout = shelf.parts.get(chosen)
            if layout is None:
                if len(shelf.parts) >= PARTS:
                    shelf.parts.clear()
                layout = shelf.parts[chosen] = _layout([shelf.series[place] for place in chosen], families)
            return Batch(layout, at, values)
        if shelf.layout is None:
            shelf.layout = _layout(shelf.series, families)
        if len(places) == len(shelf.series):
            return Batch(shelf.layout, at, values)
        row = np.full(len(shelf.series), ABSENT)
        row[places] = values
        return Batch(shelf.layout, at, row)

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


def _layout(series: Iterable[Labels], families: Mapping[str, MetricFamily]) -> Layout:
    series = list(series)
    names = dict.fromkeys(labels.name for labels in series)
    stems = (name.removesuffix(suffix) for name in names for suffix in ("", "_bucket", "_sum", "_count") if families)
    return Layout(series, dict.fromkeys(families[stem] for stem in stems if stem in families))
