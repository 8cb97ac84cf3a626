"""The OTLP data model, independent of the encoding."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from toban.core.errors import TobanError

T = TypeVar("T")

Value = str | int | float | bool | list[Any] | dict[str, Any] | None
"""The value of an attribute."""

LATEST: Final = 2**63
"""Nanoseconds that no valid time reaches."""

MAX_DEPTH: Final = 20
"""Levels of nested values that are decoded; deeper ones are left out."""


class DecodeError(TobanError):
    """A body is not valid in its encoding."""


class MalformedError(TobanError):
    """One span, point or log record is invalid; the others are not affected."""


ACCEPTED: Final = "accepted"
MALFORMED: Final = "malformed"
UNSUPPORTED: Final = "unsupported"
TEMPORALITY: Final = "temporality"
NEGATIVE: Final = "negative"
COLLISION: Final = "collision"
LIMIT: Final = "limit"
"""Outcomes of a span, point or log record: accepted, or the reason why it is rejected."""

Outcome = Counter[str]
"""How many spans, points or log records were accepted, or rejected, by outcome."""


class OtlpSignal(StrEnum):
    """The signal of a request."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class ReporterRole(StrEnum):
    """The role in the shop of a process that pushes telemetry."""

    SERVER = "server"
    WORKER = "worker"
    STOREFRONT = "storefront"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Reporter:
    """The process that pushes: its service, its instance, and its role in the shop."""

    service: str
    instance: str
    role: ReporterRole
    environment: str = ""


@dataclass(frozen=True, slots=True)
class ScopeGroup(Generic[T]):
    """
    The items of one instrumentation scope of one resource, still encoded.

    ``read`` decodes one item; it raises ``MalformedError``.
    """

    resource: Mapping[str, Value]
    scope: str
    items: Sequence[Any]
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event of a span."""

    name: str
    attributes: Mapping[str, Value]


class Span(ABC):
    """
    A span; rarely needed fields are decoded on access.

    Times are nanoseconds since the epoch.
    """

    __slots__ = ("end", "failed", "kind", "name", "raw", "start")

    def __init__(self, raw: Any, name: str, kind: int, start: int, end: int, failed: bool) -> None:
        self.raw = raw
        self.name = name
        self.kind = kind
        self.start = start
        self.end = end
        self.failed = failed

    @property
    def seconds(self) -> float:
        """Its duration."""
        return (self.end - self.start) / 1e9

    @property
    @abstractmethod
    def trace(self) -> bytes:
        """Its trace id."""

    @property
    @abstractmethod
    def id(self) -> bytes:
        """Its span id."""

    @property
    @abstractmethod
    def parent(self) -> bytes:
        """The id of its parent span, empty for a root span."""

    @abstractmethod
    def attributes(self) -> dict[str, Value]:
        """Return its attributes."""

    @abstractmethod
    def events(self) -> list[SpanEvent]:
        """Return its events."""


SERVER: Final = 2
"""The kind of a span that serves a request."""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """
    One data point: a value, or a histogram, whose ``counts`` are not cumulative and one more than its ``bounds``.

    ``value`` is a histogram's sum; it is None when the process keeps none, and when the point has the flag that nothing
    was ``recorded``: then the series has ended.
    """

    attributes: Mapping[str, Value]
    value: float | None
    bounds: Sequence[float] = ()
    counts: Sequence[float] = ()
    recorded: bool = True


class MetricShape(StrEnum):
    """The type of a metric's data."""

    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric of a process.

    ``points`` are decoded during iteration: an invalid one is None. ``rejected`` counts points that are not decoded.
    """

    name: str
    unit: str
    description: str
    shape: MetricShape
    points: Iterable[MetricPoint | None] = ()
    monotonic: bool = False
    delta: bool = False
    rejected: Mapping[str, int] = field(default_factory=dict)


def _enum(prefix: str, *words: str) -> Mapping[Any, int]:
    """Return an enumeration's numbers by all their encodings: number, number as a text, name, or None."""
    numbers = {each: number for number, word in enumerate(words) for each in (number, str(number), prefix + word)}
    return {None: 0, **numbers}


KINDS: Final = _enum("SPAN_KIND_", "UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES: Final = _enum("STATUS_CODE_", "UNSET", "OK", "ERROR")
TEMPORALITIES: Final = _enum("AGGREGATION_TEMPORALITY_", "UNSPECIFIED", "DELTA", "CUMULATIVE")
SEVERITIES: Final = _enum(
    "SEVERITY_NUMBER_",
    "UNSPECIFIED",
    *(f"{word}{step}" for word in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL") for step in ("", 2, 3, 4)),
)
ERROR: Final = 2
DELTA: Final = 1
CUMULATIVE: Final = 2
NO_RECORDED_VALUE: Final = 1
"""The flag of a point without a recorded value."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """
    One log record. ``at`` is in nanoseconds, 0 if unknown.

    ``severity`` is OpenTelemetry's number, 0 if unknown; ``severity_text`` is the source's name of it.
    """

    at: int
    severity: int
    severity_text: str
    body: str
    attributes: Mapping[str, Value]
    trace: bytes
