"""
A registry of metrics in memory, which a collector reads.

Counters that survive a restart are ``exact``: sums of decimals, without rounding. The values that are read are computed
from the values that are saved, so that the two never differ by rounding.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Final

import numpy as np

from toban.core.labels import NAME, Labels
from toban.core.samples import ABSENT, Amount, Batch, Layout, MetricFamily, MetricType

Key = tuple[MetricFamily, tuple[tuple[str, str], ...]]

MAX_CLOCK_SET_BACK: Final = 3_600_000
"""Milliseconds by which a clock is set back at most: if it is further back, it was wrong before."""


class ScalarMetric:
    """One series of a counter or a gauge."""

    __slots__ = ("counted", "value")

    def __init__(self, zero: Amount = 0.0) -> None:
        self.value = zero
        self.counted = False
        """Whether it was counted here from zero on, rather than set or restored."""

    def add(self, amount: Amount = 1) -> None:
        """Add to a counter."""
        self.value = plus(self.value, amount)
        self.counted = True

    def set(self, value: float) -> None:
        """Set a gauge."""
        self.value = float(value)

    def merge(self, other: "ScalarMetric") -> None:
        """Add what another counter has counted."""
        self.add(other.value)

    def parts(self) -> Iterator[tuple[str, str]]:
        """Yield the suffix and the bucket's bound of each of its series."""
        yield "", ""

    def values(self) -> list[Amount]:
        """Return the value of each of its series, in the order of `parts`."""
        return [self.value]

    def restore(self, values: Sequence[Amount]) -> None:
        """Set the values that `values` returned."""
        (self.value,) = values


class Histogram:
    """The series of one histogram: the count of each bucket, the sum and the count of all values."""

    __slots__ = ("bounds", "counted", "counts", "total")

    def __init__(self, bounds: Sequence[float], zero: Amount = 0.0) -> None:
        self.bounds = bounds
        self.counts = [zero] * (len(bounds) + 1)
        """The count of each bucket, not cumulative; the last bucket is the one above all bounds."""
        self.total = zero
        self.counted = False

    def observe(self, value: Amount) -> None:
        """Count one value; one that equals a bound is in the bucket of that bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total = plus(self.total, value)
        self.counted = True

    def merge(self, other: "Histogram") -> None:
        """Add what another histogram of the same buckets has counted."""
        self.counts = [plus(one, more) for one, more in zip(self.counts, other.counts, strict=True)]
        self.total = plus(self.total, other.total)
        self.counted = True

    def parts(self) -> Iterator[tuple[str, str]]:
        """Yield the suffix and the bucket's bound of each of its series."""
        yield from (("_bucket", bound_text(bound)) for bound in self.bounds)
        yield from (("_bucket", "+Inf"), ("_sum", ""), ("_count", ""))

    def values(self) -> list[Amount]:
        """Return the value of each of its series, in the order of `parts`: buckets are cumulative, as Prometheus'."""
        cumulative = list(accumulate(self.counts, plus))
        return [*cumulative, self.total, cumulative[-1]]

    def restore(self, values: Sequence[Amount]) -> None:
        """Set the values that `values` returned."""
        *cumulative, self.total, _ = values
        self.counts = [plus(here, -before) for before, here in zip([0, *cumulative], cumulative, strict=False)]


def plus(one: Amount, other: Amount) -> Amount:
    """Add two amounts: exactly where one is a decimal; a float then counts as its shortest decimal text."""
    if isinstance(one, Decimal):
        return one + (Decimal(repr(other)) if isinstance(other, float) else other)
    return plus(other, one) if isinstance(other, Decimal) else one + other


def bound_text(bound: float) -> str:
    """Return a bucket's bound as Prometheus' Go client writes it."""
    short = format(bound, "g")
    return short if float(short) == bound else repr(bound)


class MetricRegistry:
    """
    Metrics by family and labels: a `Recorder` in memory.

    A counter that is new gets a sample of zero just before its first value, so that ``rate`` and ``increase`` see its
    first event: for them a series that starts at 1 never grew.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._zero: Amount = Decimal(0) if exact else 0.0
        self._metrics: dict[Key, ScalarMetric | Histogram] = {}
        self._layouts: dict[tuple[tuple[str, str], ...], tuple[int, Layout]] = {}
        self._changes = 0
        self._read: set[Key] = set()
        self._read_at: int | None = None

    def add(self, family: MetricFamily, amount: Amount = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self.scalar(family, **labels).add(amount)

    def set(self, family: MetricFamily, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        self.scalar(family, **labels).set(value)

    def observe(self, family: MetricFamily, value: Amount, /, **labels: str) -> None:
        """Count a value in a histogram."""
        self.histogram(family, **labels).observe(value)

    def scalar(self, family: MetricFamily, /, **labels: str) -> ScalarMetric:
        """Return a counter or gauge itself, for code that counts thousands of events a second."""
        found = self._metric(family, labels)
        if not isinstance(found, ScalarMetric):
            raise TypeError(f"{family.name} is a histogram")
        return found

    def histogram(self, family: MetricFamily, /, **labels: str) -> Histogram:
        """Return a histogram itself, for code that counts thousands of events a second."""
        found = self._metric(family, labels)
        if not isinstance(found, Histogram):
            raise TypeError(f"{family.name} is not a histogram")
        return found

    def value(self, family: MetricFamily, /, **labels: str) -> float:
        """Return the value of a counter or gauge, or the count of a histogram; 0 if there is none."""
        found = self._metrics.get(_key(family, labels))
        return float(found.values()[-1]) if found else 0.0

    def remove(self, family: MetricFamily, /, **labels: str) -> None:
        """Remove a metric: its series end."""
        if self._metrics.pop(key := _key(family, labels), None):
            self._changes += 1
            self._read.discard(key)

    def merge(self, other: "MetricRegistry") -> None:
        """Add the counters and histograms of another registry: what a thread has counted for itself."""
        for (family, labels), metric in other._metrics.items():  # noqa: SLF001  # its like
            if isinstance(metric, Histogram):
                self.histogram(family, **dict(labels)).merge(metric)
            else:
                self.scalar(family, **dict(labels)).merge(metric)

    def restore(self, family: MetricFamily, values: Sequence[Amount], /, **labels: str) -> None:
        """Set the values that `series` returned. It is not new: there is no sample of zero before them."""
        self._metric(family, labels).restore(values)
        self._read.add(_key(family, labels))

    def series(self) -> Iterator[tuple[MetricFamily, dict[str, str], list[Amount]]]:
        """Yield the family, the labels and the values of each metric, the values in the order of its parts."""
        for (family, labels), metric in list(self._metrics.items()):
            yield family, dict(labels), metric.values()

    def read(self, at: int, target: Mapping[str, str], since: int | None = None) -> list[Batch]:
        """
        Return a batch of all values, and before it one of zeros for the counters that are new.

        ``at`` is in milliseconds; so is ``since``, the time of the zeros, by default that of the last read.
        ``target`` are the labels of every series that does not have them itself. The layout is reused while nothing
        changes.

        After the clock was set back, by up to an hour, counters have no samples until it has passed the last read:
        their higher values would be stored before the lower ones, and the counters would seem to fall.
        """
        if since is None:
            # The first read has no last one; an earlier process may have counted until just before.
            since = at - 1 if self._read_at is None else self._read_at
        set_back = at <= since <= at + MAX_CLOCK_SET_BACK
        self._read_at = since if set_back else at
        metrics = list(self._metrics.items())
        if not metrics:
            return []
        key = tuple(target.items())
        changes, layout = self._layouts.get(key, (-1, None))
        if layout is None or changes != self._changes:
            layout = _layout(metrics, target)
            self._layouts[key] = self._changes, layout
        values = np.array([value for _, metric in metrics for value in metric.values()], np.float64)
        if set_back:
            counted = [family.type is not MetricType.GAUGE for (family, _), metric in metrics for _ in metric.values()]
            values[np.array(counted)] = ABSENT
            return [Batch(layout, at, values)]
        return [*self.zero_samples(since, target), Batch(layout, at, values)]

    def zero_samples(self, at: int, target: Mapping[str, str]) -> list[Batch]:
        """Return a batch of zeros for the counters that are new, and count all metrics as read."""
        new = [
            (key, metric)
            for key, metric in self._metrics.items()
            if metric.counted and key not in self._read and key[0].type is not MetricType.GAUGE
        ]
        self._read.update(self._metrics)
        if not new:
            return []
        layout = _layout(new, target)
        return [Batch(layout, at, np.zeros(len(layout)))]

    def _metric(self, family: MetricFamily, labels: Mapping[str, str]) -> ScalarMetric | Histogram:
        key = _key(family, labels)
        found = self._metrics.get(key)
        if found is None:
            family.check_labels(labels)
            histogram = family.type is MetricType.HISTOGRAM
            found = Histogram(family.buckets, self._zero) if histogram else ScalarMetric(self._zero)
            self._metrics[key] = found
            self._changes += 1
        return found


def _key(family: MetricFamily, labels: Mapping[str, str]) -> Key:
    return family, tuple(sorted(labels.items()))


def _layout(metrics: Sequence[tuple[Key, ScalarMetric | Histogram]], target: Mapping[str, str]) -> Layout:
    series = [
        Labels({**target, **dict(labels), NAME: family.name + suffix, "le": bound})
        for (family, labels), metric in metrics
        for suffix, bound in metric.parts()
    ]
    return Layout(series, dict.fromkeys(family for (family, _), _ in metrics))
