"""Samples and metric families, and the arrays in which samples are passed on."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import LABEL_NAME, METRIC_NAME, NAME, Labels

STALE: Final[float] = float(np.uint64(0x7FF0000000000002).view(np.float64))
"""Prometheus' staleness marker, "this series ended here": a NaN with bits of its own."""

ABSENT: Final[float] = float(np.uint64(0x7FF0000000000003).view(np.float64))
"""toban's own filler for "this series has no sample at this time"; it is never stored or sent."""

TARGET_LABELS: Final = ("job", "instance")
"""The labels that every series has."""


def is_stale(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the values are staleness markers."""
    return np.equal(values.view(np.int64), 0x7FF0000000000002)


def is_absent(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where there is no sample."""
    return np.equal(values.view(np.int64), 0x7FF0000000000003)


Amount: TypeAlias = float | Decimal
"""What is added to a counter: money is a ``Decimal``, so that its sum is exact and never falls by rounding."""


class MetricType(StrEnum):
    """The type of a metric family, as the text format calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    UNKNOWN = "unknown"


class UndeclaredLabelsWarning(UserWarning):
    """A series has labels that its metric family does not declare, or lacks one that it declares."""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """
    One metric: its name as it is written in a query, its type, its help text and its labels.

    A counter's name includes ``_total``. ``unit`` is a base unit (``seconds``, ``bytes``) or empty.
    ``buckets`` are a histogram's upper bounds, without the infinite one; they are empty in families that are only read.
    ``present`` says when a metric exists that does not always: ``while …`` if it comes and goes, ``once …`` if it stays
    from then on.
    Each series has all of ``labels`` and may have ``optional_labels``, beside ``job`` and ``instance``. ``labels`` is
    None where they are unknown: the metric is declared elsewhere, or named by a rule.
    """

    name: str
    type: MetricType
    help: str
    unit: str = ""
    buckets: tuple[float, ...] = field(default=(), compare=False)
    present: str = field(default="", compare=False)
    labels: tuple[str, ...] | None = field(default=None, compare=False)
    optional_labels: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_transient(self) -> bool:
        """Whether it comes and goes: a rule that reads it must define its value while it is absent."""
        return self.present.startswith("while ")

    def sample(self, value: float, /, **labels: str) -> "Sample":
        """Return a sample of this family, at the time of the collection."""
        return Sample(self, float(value), labels)

    def check_labels(self, labels: Collection[str]) -> None:
        """
        Warn with ``UndeclaredLabelsWarning`` when a new series has other labels than the declared ones.

        A warning: no sample is lost by a wrong declaration. In the tests it is an error.
        """
        if self.labels is None:
            return
        allowed = {*self.labels, *self.optional_labels, *TARGET_LABELS}
        wrong = [f"undeclared label {label}" for label in labels if label not in allowed]
        wrong += [f"missing label {label}" for label in self.labels if label not in labels]
        if wrong:
            warnings.warn(f"{self.name}: {', '.join(wrong)}", UndeclaredLabelsWarning, stacklevel=2)


def gauge(
    name: str, help: str, unit: str = "", *, labels: Iterable[str] = (), optional_labels: Iterable[str] = ()
) -> MetricFamily:
    """Declare a gauge: its value goes up and down."""
    return MetricFamily(
        name, MetricType.GAUGE, help, unit, labels=tuple(labels), optional_labels=tuple(optional_labels)
    )


def counter(
    name: str, help: str, unit: str = "", *, labels: Iterable[str] = (), optional_labels: Iterable[str] = ()
) -> MetricFamily:
    """Declare a counter: its value only grows, and starts again at zero."""
    return MetricFamily(
        name, MetricType.COUNTER, help, unit, labels=tuple(labels), optional_labels=tuple(optional_labels)
    )


def histogram(
    name: str, help: str, buckets: Iterable[float], unit: str = "", *, labels: Iterable[str] = ()
) -> MetricFamily:
    """Declare a histogram, by the upper bounds of its buckets."""
    return MetricFamily(name, MetricType.HISTOGRAM, help, unit, tuple(buckets), labels=tuple(labels))


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One value of one series.

    ``suffix`` is for the parts of a histogram or summary (``_bucket``, ``_sum``, ``_count``).
    ``at`` is None at the time of the collection.
    """

    family: MetricFamily
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    suffix: str = ""


class Layout:
    """
    The series of one source, in order: made once, and reused while nothing changes.

    Appending the same layout object again is the fast path of the store: it recognises a layout by identity, and reads
    its labels once. ``families`` are the metric families of the series.
    """

    __slots__ = ("__weakref__", "families", "series")

    def __init__(self, series: Iterable[Labels], families: Iterable[MetricFamily] = ()) -> None:
        self.series: tuple[Labels, ...] = tuple(series)
        self.families: tuple[MetricFamily, ...] = tuple(families)
        if len(set(self.series)) != len(self.series):
            duplicate, _ = Counter(self.series).most_common(1)[0]
            raise ValueError(f"duplicate series {duplicate}")

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """
    The samples of one collection as one array: ``values[i]`` belongs to ``layout.series[i]``.

    ``at`` is in milliseconds since the epoch. A series without a sample at this time is ``ABSENT``; one that ended is
    ``STALE``.
    """

    layout: Layout
    at: int
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.layout),) or self.values.dtype != np.float64:
            raise ValueError(
                f"{len(self.layout)} series need as many float64 values, not {self.values.dtype}{self.values.shape}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SeriesBlock:
    """
    Series over one array of times: the result of a read from a store.

    ``times`` are strictly increasing milliseconds; ``values[i, j]`` is the value of ``series[i]`` at ``times[j]``: a
    number, ``STALE`` or ``ABSENT``. The arrays are read-only.
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
    Return the layout of samples, each with the ``extra`` labels added.

    Raises ``ValueError`` or ``TypeError`` naming the metric when a name or a label is invalid or a series is duplicate.
    """
    series = []
    for sample in samples:
        name = sample.family.name + sample.suffix
        if not METRIC_NAME.fullmatch(name):
            raise ValueError(f"invalid metric name {name!r}")
        for label, value in sample.labels.items():
            if not LABEL_NAME.fullmatch(label) or label.startswith("__"):
                raise ValueError(f"{name}: invalid label name {label!r}")
            if not isinstance(value, str):
                raise TypeError(f"{name}: the value of the label {label} is {value!r}, not a text")
            if label in extra:
                raise ValueError(f"{name}: the label {label} is set by the target")
            value.encode()  # a lone surrogate can't be encoded: that is a ValueError too
        sample.family.check_labels(sample.labels)
        series.append(Labels({**sample.labels, **extra, NAME: name}))
    return Layout(series, dict.fromkeys(sample.family for sample in samples))
