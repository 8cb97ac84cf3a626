"""Numbers: what is measured, and what one look brought."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import LABEL_NAME, METRIC_NAME, NAME, Labels

STALE: Final[float] = float(np.uint64(0x7FF0000000000002).view(np.float64))
"""Prometheus' marker for "this series ended here": a NaN told from others by its bits."""

ABSENT: Final[float] = float(np.uint64(0x7FF0000000000003).view(np.float64))
"""toban's own filler for "this series has no sample at this time": it never leaves the house."""


def is_stale(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where the staleness marker stands."""
    return np.equal(values.view(np.int64), 0x7FF0000000000002)


def is_absent(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where there is no sample at all."""
    return np.equal(values.view(np.int64), 0x7FF0000000000003)


Amount: TypeAlias = float | Decimal
"""What is added to a counter: money is a ``Decimal``, so that its sum is exact and never falls by a rounding."""


class MetricType(StrEnum):
    """What kind of number a family holds, in the words of the text format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """
    One metric: its name as it is written in a query, what sort of number it is, and what it means.

    A counter's name includes ``_total``. ``unit`` is a base unit (``seconds``, ``bytes``) or nothing.
    ``buckets`` are a histogram's upper bounds, without the infinite one; whoever only reads it need not know them.
    ``present`` says of one that isn't always there when it is: ``while …`` for what comes and goes, ``once …`` for what
    stays when it has come.
    """

    name: str
    type: MetricType
    help: str
    unit: str = ""
    buckets: tuple[float, ...] = field(default=(), compare=False)
    present: str = field(default="", compare=False)

    @property
    def is_transient(self) -> bool:
        """Whether it comes and goes: a rule that reads it must say what it is while it is away."""
        return self.present.startswith("while ")

    def sample(self, value: float, /, **labels: str) -> "Sample":
        """Return one number of this family, taken now."""
        return Sample(self, float(value), labels)


def gauge(name: str, help: str, unit: str = "") -> MetricFamily:
    """Declare a number that goes up and down."""
    return MetricFamily(name, MetricType.GAUGE, help, unit)


def counter(name: str, help: str, unit: str = "") -> MetricFamily:
    """Declare a number that only grows, and starts again at nought."""
    return MetricFamily(name, MetricType.COUNTER, help, unit)


def histogram(name: str, help: str, buckets: Iterable[float], unit: str = "") -> MetricFamily:
    """Declare how values are spread over buckets, by their upper bounds."""
    return MetricFamily(name, MetricType.HISTOGRAM, help, unit, tuple(buckets))


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One number that a collector reads.

    ``suffix`` is for the parts of a histogram or summary (``_bucket``, ``_sum``, ``_count``).
    Without ``at`` it was read at the time of the look.
    """

    family: MetricFamily
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    suffix: str = ""


class Layout:
    """
    The series of one source, in order: made once, and used again while nothing changes.

    Handing over the same layout object again is the fast path of the whole store: it is recognised by
    identity, so its labels are looked at once. ``families`` tells what the series mean.
    """

    __slots__ = ("__weakref__", "families", "series")

    def __init__(self, series: Iterable[Labels], families: Iterable[MetricFamily] = ()) -> None:
        self.series: tuple[Labels, ...] = tuple(series)
        self.families: tuple[MetricFamily, ...] = tuple(families)
        if len(set(self.series)) != len(self.series):
            seen: set[Labels] = set()
            twice = next(labels for labels in self.series if labels in seen or seen.add(labels))  # type: ignore[func-returns-value]  # add returns nothing, which is the point
            raise ValueError(f"{twice} is there twice")

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """
    One look's numbers as one array: ``values[i]`` belongs to ``layout.series[i]``.

    ``at`` is in milliseconds since the epoch. A series without a number this time is ``ABSENT``;
    a series that ended is ``STALE``.
    """

    layout: Layout
    at: int
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.layout),) or self.values.dtype != np.float64:
            raise ValueError(
                f"{len(self.layout)} series want as many float64, not {self.values.dtype}{self.values.shape}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SeriesBlock:
    """
    Some series over one array of times: what a store answers.

    ``times`` are strictly increasing milliseconds, ``values[i, j]`` is what ``series[i]`` had at ``times[j]``:
    a number, ``STALE`` or ``ABSENT``. Nobody writes into these arrays.
    """

    series: tuple[Labels, ...]
    times: NDArray[np.int64]
    values: NDArray[np.float64]


def milliseconds(at: datetime) -> int:
    """Return an aware time as milliseconds since the epoch."""
    return round(at.timestamp() * 1000)


def moment(at: int) -> datetime:
    """Return milliseconds since the epoch as an aware time."""
    return datetime.fromtimestamp(at / 1000, UTC)


def layout_of(samples: Sequence[Sample], extra: Mapping[str, str]) -> Layout:
    """
    Return the layout of a handful of samples, each given the ``extra`` labels.

    Raises ``ValueError`` or ``TypeError`` naming the metric when a name or a label can't be, or a series comes twice.
    """
    series = []
    for sample in samples:
        name = sample.family.name + sample.suffix
        if not METRIC_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metric name")
        for label, value in sample.labels.items():
            if not LABEL_NAME.fullmatch(label) or label.startswith("__"):
                raise ValueError(f"{name}: {label!r} is no label name")
            if not isinstance(value, str):
                raise TypeError(f"{name}: the label {label} is {value!r}, which is no text")
            if label in extra:
                raise ValueError(f"{name}: the label {label} is the target's own")
            value.encode()  # half a character can't be written down: that is a ValueError too
        series.append(Labels({**sample.labels, **extra, NAME: name}))
    return Layout(series, dict.fromkeys(sample.family for sample in samples))
