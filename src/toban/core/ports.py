"""Protocols that join packages: one uses them, another implements them, and `daemon` connects the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from toban.core.labels import Labels
from toban.core.log_line import LogLine
from toban.core.matchers import Matcher
from toban.core.query_result import BatchResult, QueryResult
from toban.core.samples import Amount, Batch, MetricFamily, SeriesBlock


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC: for what is stored and shown."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps: for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SampleSink(Protocol):
    """Accepts samples."""

    async def append(self, batches: Sequence[Batch]) -> None:
        """
        Append the batches of one collection, all or none; return when they are durable.

        Raises ``StoreError`` when they can't be made durable now, although they may be readable. Raises
        ``SeriesLimitError`` when there would be too many series: then nothing is appended.
        """
        ...


class SampleLog(Protocol):
    """Appended batches in order, for one reader that forwards them. For use in threads."""

    @property
    def dropped(self) -> int:
        """How many samples were dropped before they were forwarded."""
        ...

    def pending(self, samples: int) -> Sequence[tuple[int, Batch]]:
        """
        Return the oldest batches that were not forwarded, with their positions: about ``samples``, at least one batch.

        Raises ``StoreError``.
        """
        ...

    def commit(self, position: int) -> None:
        """
        Record that all batches up to a position were forwarded.

        It takes effect at once. Raises ``StoreError`` when it can't be stored: after a crash some are forwarded again.
        """
        ...


class Recorder(Protocol):
    """
    Records values of metrics: in memory (`core.metric_registry`), or as rows (`state.durable_counters`).

    The caller limits which values a label may have.
    """

    def add(self, family: MetricFamily, amount: Amount = 1, /, **labels: str) -> None:
        """Add to a counter."""
        ...

    def set(self, family: MetricFamily, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, family: MetricFamily, value: Amount, /, **labels: str) -> None:
        """Observe a value in a histogram."""
        ...


class LineSink(Protocol):
    """Accepts log lines, and redacts them before anything else sees them."""

    def write(self, lines: Sequence[LogLine]) -> None:
        """Store them soon. This never waits and never fails: lines that can't be stored are counted."""
        ...

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        """
        Store lines, and the cursors of their source, in one transaction; when it returns, they are durable.

        ``source`` is that of all lines, or a list with that of each: `files:/app/logs/error.log`. A line that two
        sources bring (two files, a file and Fly's stream) is stored once. Raises ``StoreError`` when nothing of it
        was stored, and waits while more lines are on their way than memory may hold.
        """
        ...


class PaymentDeclines(Protocol):
    """Records payments that failed without a row in the shop's tables."""

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        """
        Record that a payment of an order (its code) failed, as its provider reports; a repeated report counts once.

        ``error`` is the provider's text; it is reduced to a class from a fixed list. Raises ``StateError``.
        """
        ...


class SeriesSource(Protocol):
    """Selects stored samples. Synchronous: it is called in the query thread."""

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        """
        Return the samples of all series that match, ``start`` and ``end`` included (milliseconds).

        A series is in exactly one block; the order of blocks and series is undefined.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        ...

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> Sequence[Labels]:
        """Return the labels of what ``select`` would return, perhaps of a few series more at the ends of the range."""
        ...

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest sample of all series that match is, None where there is none."""
        ...

    def families(self) -> Mapping[str, MetricFamily]:
        """Return the metadata of each metric, by name."""
        ...


class InstantQueryEngine(Protocol):
    """Runs instant queries, off the event loop."""

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """
        Return the result of a query at one time (milliseconds).

        ``time_limit`` can only shorten the engine's own. Raises ``QueryError`` or ``StoreError``.
        """
        ...


class QueryEngine(InstantQueryEngine, Protocol):
    """Runs instant and range queries."""

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        ...


class EmbeddedQueryEngine(QueryEngine, Protocol):
    """The engine over toban's own metrics."""

    def earliest_reads(self, query: str, start: int, end: int) -> Sequence[tuple[Sequence[Matcher], int]]:
        """Return the matchers of each selector of a query, and the earliest time that it reads (milliseconds)."""
        ...


class RuleEngine(InstantQueryEngine, Protocol):
    """Runs the queries of rules and health checks, several at once."""

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """
        Run the first queries at a time (milliseconds), as many as begin within a short time; at least one.

        It raises no errors of queries: each is the outcome of its query.
        """
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison in a query, with its sides as text."""

    left: str
    operator: str
    right: str


class RuleQuery(Protocol):
    """The query of a rule, in the language of the engine that evaluates it. Equal queries have equal texts."""

    @property
    def text(self) -> str:
        """The query as it is written."""
        ...

    @property
    def window(self) -> timedelta:
        """The shortest range that it reads; zero where it reads none."""
        ...

    def reads(self) -> Sequence[str]:
        """Return what it reads: metrics (``up`` with its job), or selectors of log lines."""
        ...

    def comparisons(self) -> Sequence[Comparison]:
        """Return its comparisons that ``and``, ``or`` and ``unless`` combine."""
        ...

    def selections(self) -> Sequence[str]:
        """Return queries whose results have a series for each series, or stream of log lines, that it reads."""
        ...

    def log_queries(self) -> Sequence[str]:
        """Return queries for the log lines that it counts; none where it reads metrics."""
        ...

    def warnings(self) -> Sequence[str]:
        """Return what is probably not meant, whatever is stored."""
        ...


class HealthState(StrEnum):
    """A state of health; neither what is not configured nor what has no data yet is healthy."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    NOT_CONFIGURED = "not configured"
    NO_DATA = "no data yet"


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """The health of a part of toban itself, and a sentence that describes it."""

    ok: bool
    message: str
    configured: bool = True

    @property
    def state(self) -> HealthState:
        """Its state; what is not configured is neither healthy nor unhealthy."""
        if self.ok and not self.configured:
            return HealthState.NOT_CONFIGURED
        return HealthState.HEALTHY if self.ok else HealthState.UNHEALTHY


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """
    What a store of toban's keeps, and for how long.

    ``oldest`` and ``newest`` are times (milliseconds), None where there is nothing; ``size`` and ``limit`` are bytes;
    ``content`` says how much of what there is; ``notes`` are what an operator must know.
    """

    oldest: int | None
    newest: int | None
    retention: timedelta
    size: int
    limit: int
    content: str
    notes: Sequence[str] = ()


class RetainedStore(Protocol):
    """One of toban's own stores. Its methods raise ``StoreError`` when the disk fails."""

    @property
    def name(self) -> str:
        """Its name: `tsdb`."""
        ...

    async def apply_retention(self) -> None:
        """Remove now what is older than the retention, and the oldest of what is too much."""
        ...

    async def retention_report(self) -> RetentionReport:
        """Return what it keeps."""
        ...


class Service(Protocol):
    """Runs until it is cancelled."""

    @property
    def name(self) -> str:
        """Its name in logs and on ``/-/healthy``."""
        ...

    async def run(self) -> None:
        """Run until cancelled; return or raise only when it can't continue."""
        ...

    def health(self) -> HealthStatus:
        """Return its health, from memory: this never waits."""
        ...
