"""
Numbers that are kept in memory and read by a collector.

Counters that survive a restart are ``exact``: sums of decimals, as on paper. What is read is made of what is kept, and
of nothing else, so that neither can lie a rounding above the other.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from toban.core.labels import NAME, Labels
from toban.core.samples import ABSENT, Amount, Batch, Layout, MetricFamily, MetricType

Key = tuple[MetricFamily, tuple[tuple[str, str], ...]]


SET_BACK: Final = 3_600_000
"""Milliseconds by which a clock is set back at most: further, and what was told before was told by a wrong clock."""


class ScalarMetric:
    """One series of a counter or a gauge."""

    __slots__ = ("counted", "value")

    def __init__(self, nought: Amount = 0.0) -> None:
        self.value = nought
        self.counted = False
        """Whether it was counted here from nought on, rather than told by somebody who had counted before."""

    def add(self, amount: Amount = 1) -> None:
        """Count something that happened."""
        self.value = plus(self.value, amount)
        self.counted = True

    def set(self, value: float) -> None:
        """Note how something stands."""
        self.value = float(value)

    def parts(self, family: MetricFamily) -> Iterator[tuple[str, str]]:
        """Return suffix and bucket bound of each of its series."""
        yield "", ""

    def values(self) -> list[Amount]:
        """Return the number of each of its series, in the order of `parts`."""
        return [self.value]

    def restore(self, values: Sequence[Amount]) -> None:
        """Take back what `values` said."""
        (self.value,) = values


class Histogram:
    """The series of one histogram: how many values lay below each bound, their sum and their count."""

    __slots__ = ("bounds", "counted", "counts", "total")

    def __init__(self, bounds: Sequence[float], nought: Amount = 0.0) -> None:
        self.bounds = bounds
        self.counts = [nought] * (len(bounds) + 1)
        """How many lay in each bucket alone; the last is for what is above all bounds."""
        self.total = nought
        self.counted = False

    def observe(self, value: Amount) -> None:
        """Count one value; what equals a bound lies below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total = plus(self.total, value)
        self.counted = True

    def parts(self, family: MetricFamily) -> Iterator[tuple[str, str]]:
        """Return suffix and bucket bound of each of its series."""
        yield from (("_bucket", bound_text(bound)) for bound in self.bounds)
        yield from (("_bucket", "+Inf"), ("_sum", ""), ("_count", ""))

    def values(self) -> list[Amount]:
        """Return the number of each of its series, in the order of `parts`: buckets add up, as Prometheus has them."""
        below: Amount = 0
        found: list[Amount] = []
        for count in self.counts:
            below = plus(below, count)
            found.append(below)
        return [*found, self.total, below]

    def restore(self, values: Sequence[Amount]) -> None:
        """Take back what `values` said."""
        *below, self.total, _ = values
        self.counts = [plus(here, -before) for before, here in zip([0, *below], below, strict=False)]


def plus(one: Amount, other: Amount) -> Amount:
    """Add two amounts: as on paper, where one is a decimal; a float is then what it is written as."""
    if isinstance(one, Decimal):
        return one + (Decimal(repr(other)) if isinstance(other, float) else other)
    return plus(other, one) if isinstance(other, Decimal) else one + other


def bound_text(bound: float) -> str:
    """Write a bucket's bound as Prometheus' Go client does."""
    short = format(bound, "g")
    return short if float(short) == bound else repr(bound)


class MetricRegistry:
    """
    Numbers by family and labels: a `Recorder` in memory.

    A series that begins to be counted here is written as nought just before its first value, so that ``rate`` and
    ``increase`` see its first event: for them a series that is born at 1 never grew.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._nought: Amount = Decimal(0) if exact else 0.0
        self._cells: dict[Key, ScalarMetric | Histogram] = {}
        self._layouts: dict[tuple[tuple[str, str], ...], tuple[int, Layout]] = {}
        self._changes = 0
        self._read: set[Key] = set()
        self._looked: int | None = None

    def add(self, family: MetricFamily, amount: Amount = 1, /, **labels: str) -> None:
        """Count something that happened."""
        self.scalar(family, **labels).add(amount)

    def set(self, family: MetricFamily, value: float, /, **labels: str) -> None:
        """Note how something stands."""
        self.scalar(family, **labels).set(value)

    def observe(self, family: MetricFamily, value: Amount, /, **labels: str) -> None:
        """Count a value in a histogram."""
        self.histogram(family, **labels).observe(value)

    def scalar(self, family: MetricFamily, /, **labels: str) -> ScalarMetric:
        """Return the series itself, for whoever counts thousands of things a second."""
        found = self._cell(family, labels)
        if not isinstance(found, ScalarMetric):
            raise TypeError(f"{family.name} is a histogram")
        return found

    def histogram(self, family: MetricFamily, /, **labels: str) -> Histogram:
        """Return the histogram itself, for whoever counts thousands of things a second."""
        found = self._cell(family, labels)
        if not isinstance(found, Histogram):
            raise TypeError(f"{family.name} is no histogram")
        return found

    def value(self, family: MetricFamily, /, **labels: str) -> float:
        """Return where a number stands (a histogram's: how many values it counted), nought if it never moved."""
        found = self._cells.get(_key(family, labels))
        return float(found.values()[-1]) if found else 0.0

    def remove(self, family: MetricFamily, /, **labels: str) -> None:
        """Let go of a series: it ends."""
        if self._cells.pop(key := _key(family, labels), None):
            self._changes += 1
            self._read.discard(key)

    def restore(self, family: MetricFamily, values: Sequence[Amount], /, **labels: str) -> None:
        """Take back a series with the numbers that `series` told: it is known already, and was nought long ago."""
        self._cell(family, labels).restore(values)
        self._read.add(_key(family, labels))

    def series(self) -> Iterator[tuple[MetricFamily, dict[str, str], list[Amount]]]:
        """Return each number or histogram: its family, its labels, and its values in the order of its parts."""
        for (family, labels), cell in list(self._cells.items()):
            yield family, dict(labels), cell.values()

    def read(self, at: int, target: Mapping[str, str], since: int | None = None) -> list[Batch]:
        """
        Return all numbers as a batch, and before it one of noughts for what was not counted before.

        ``at`` is in milliseconds, and so is ``since``, when the noughts were true: at the last reading unless said.
        ``target`` is what every series is labelled with that has no such label of its own. The layout is used again
        while nothing changes.

        Where the clock was set back, up to an hour, counters have nothing to say until it has passed the last reading:
        what they have come to meanwhile would stand before that, and they would fall.
        """
        if since is None:
            # At the first reading a moment before it: what an earlier process counted may be hardly older.
            since = at - 1 if self._looked is None else self._looked
        was_told = at <= since <= at + SET_BACK
        self._looked = since if was_told else at
        cells = list(self._cells.items())
        if not cells:
            return []
        key = tuple(target.items())
        changes, layout = self._layouts.get(key, (-1, None))
        if layout is None or changes != self._changes:
            layout = _layout(cells, target)
            self._layouts[key] = self._changes, layout
        values = np.array([value for _, cell in cells for value in cell.values()], np.float64)
        if was_told:
            counted = [family.type is not MetricType.GAUGE for (family, _), cell in cells for _ in cell.values()]
            values[np.array(counted)] = ABSENT
            return [Batch(layout, at, values)]
        return [*self.zero_samples(since, target), Batch(layout, at, values)]

    def zero_samples(self, at: int, target: Mapping[str, str]) -> list[Batch]:
        """Return a batch of noughts for what was not counted before and was not read yet; it is read by this."""
        new = [(key, cell) for key, cell in self._cells.items() if cell.counted and key not in self._read]
        self._read.update(self._cells)
        born = [(key, cell) for key, cell in new if key[0].type is not MetricType.GAUGE]
        if not born:
            return []
        noughts = _layout(born, target)
        return [Batch(noughts, at, np.zeros(len(noughts)))]

    def _cell(self, family: MetricFamily, labels: Mapping[str, str]) -> ScalarMetric | Histogram:
        key = _key(family, labels)
        found = self._cells.get(key)
        if found is None:
            histogram = family.type is MetricType.HISTOGRAM
            found = Histogram(family.buckets, self._nought) if histogram else ScalarMetric(self._nought)
            self._cells[key] = found
            self._changes += 1
        return found


def _key(family: MetricFamily, labels: Mapping[str, str]) -> Key:
    return family, tuple(sorted(labels.items()))


def _layout(cells: Sequence[tuple[Key, ScalarMetric | Histogram]], target: Mapping[str, str]) -> Layout:
    series = [
        Labels({**target, **dict(labels), NAME: family.name + suffix, "le": bound})
        for (family, labels), cell in cells
        for suffix, bound in cell.parts(family)
    ]
    return Layout(series, dict.fromkeys(family for (family, _), _ in cells))
