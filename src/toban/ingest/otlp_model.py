"""What is pushed, whatever encoding it came in."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from toban.core.errors import TobanError

T = TypeVar("T")

Value = str | int | float | bool | list[Any] | dict[str, Any] | None
"""What an attribute may hold."""

LATEST: Final = 2**63
"""Nanoseconds that no time reaches."""

DEEPEST: Final = 20
"""Levels of lists in lists that are read; there is nothing below."""


class DecodeError(TobanError):
    """A body is not what its type says."""


class MalformedError(TobanError):
    """One span, point or record can't be read; the others can."""


ACCEPTED: Final = "accepted"
MALFORMED: Final = "malformed"
UNSUPPORTED: Final = "unsupported"
TEMPORALITY: Final = "temporality"
NEGATIVE: Final = "negative"
COLLISION: Final = "collision"
LIMIT: Final = "limit"
"""What becomes of a span, point or record: accepted, or the reason why it is rejected."""

Outcome = Counter[str]
"""How many spans, points or records were accepted, and how many were rejected, by reason."""


class OtlpSignal(StrEnum):
    """What a body holds."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class ReporterRole(StrEnum):
    """What a process that sends telemetry is to the shop."""

    SERVER = "server"
    WORKER = "worker"
    STOREFRONT = "storefront"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ScopeGroup(Generic[T]):
    """
    What one part of one process sent: the process's attributes, the part's name, and the things as they came.

    ``read`` makes the noun of one of them; it raises ``MalformedError``.
    """

    resource: Mapping[str, Value]
    scope: str
    items: Sequence[Any]
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span."""

    name: str
    attributes: Mapping[str, Value]


class Span(ABC):
    """
    Something that took time. What is rarely needed is read when it is asked for.

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
        """How long it took."""
        return (self.end - self.start) / 1e9

    @property
    @abstractmethod
    def trace(self) -> bytes:
        """The trace it belongs to."""

    @property
    @abstractmethod
    def id(self) -> bytes:
        """Its own name within the trace."""

    @property
    @abstractmethod
    def parent(self) -> bytes:
        """The span that it is a part of, empty for the first of all."""

    @abstractmethod
    def attributes(self) -> dict[str, Value]:
        """Return what it says of itself."""

    @abstractmethod
    def events(self) -> list[SpanEvent]:
        """Return what happened meanwhile (OpenTelemetry calls them events)."""


SERVER: Final = 2
"""The kind of a span that answers somebody's request."""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """
    One number of a metric, or one histogram: ``counts`` has one more than ``bounds``, each bucket by itself.

    ``value`` is a histogram's sum; there is none where its process keeps none, and none where it says that nothing was
    recorded: the series has ended, and the point is not ``recorded``.
    """

    attributes: Mapping[str, Value]
    value: float | None
    bounds: Sequence[float] = ()
    counts: Sequence[float] = ()
    recorded: bool = True


class MetricShape(StrEnum):
    """What sort of metric it is."""

    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric of a process.

    ``points`` are read as they are taken: nothing stands for one that can't be read. ``rejected`` are those that are
    not read at all.
    """

    name: str
    unit: str
    about: str
    shape: MetricShape
    points: Iterable[MetricPoint | None] = ()
    monotonic: bool = False
    delta: bool = False
    rejected: Mapping[str, int] = field(default_factory=dict)


def _enum(prefix: str, *words: str) -> Mapping[Any, int]:
    """Return the numbers of an enumeration by all that stands for them: number, number as a text, word, or nothing."""
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
"""The flag of a point that says that there is none."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """
    One log record. ``at`` is in nanoseconds, 0 if it doesn't say.

    ``severity`` is OpenTelemetry's number, 0 if it doesn't say; ``severity_text`` is what the source calls it.
    """

    at: int
    severity: int
    severity_text: str
    body: str
    attributes: Mapping[str, Value]
    trace: bytes
