"""The seams: where one package meets another without knowing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from toban.core.labels import Labels
from toban.core.log_line import LogLine
from toban.core.matchers import Matcher
from toban.core.query_result import QueryResult
from toban.core.samples import Amount, Batch, MetricFamily, SeriesBlock


class Clock(Protocol):
    """Tells the time, and waits."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC: for what is stored and shown."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps: for lengths."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SampleSink(Protocol):
    """Takes numbers."""

    async def append(self, batches: Sequence[Batch]) -> None:
        """
        Keep what one look brought, all or nothing; return when it will survive a crash.

        Raises ``StoreError`` when it can't be made durable now; it may be readable all the same. Raises
        ``SeriesLimitError`` when it would be too many series: then nothing is kept.
        """
        ...


class SampleLog(Protocol):
    """Every batch that was appended, in the order in which it came, for one reader who passes it on. For threads."""

    @property
    def dropped(self) -> int:
        """How many samples were let go of before they were passed on."""
        ...

    def pending(self, samples: int) -> Sequence[tuple[int, Batch]]:
        """
        Return the oldest batches that were not passed on, with their turns: some ``samples``, and at least one batch.

        Raises ``StoreError``.
        """
        ...

    def commit(self, turn: int) -> None:
        """
        Note that all batches up to a turn were passed on.

        It counts at once. Raises ``StoreError`` when it can't be written down: after a crash some come once more.
        """
        ...


class Recorder(Protocol):
    """
    Is told what happened, number by number: in memory (`core.meters`), or as rows that survive (`state.tallies`).

    What it is told becomes ``family`` with these labels; which values a label may take is the teller's to bound.
    """

    def add(self, family: MetricFamily, amount: Amount = 1, /, **labels: str) -> None:
        """Count something that happened."""
        ...

    def set(self, family: MetricFamily, value: float, /, **labels: str) -> None:
        """Note how something stands."""
        ...

    def observe(self, family: MetricFamily, value: Amount, /, **labels: str) -> None:
        """Count a value in a histogram."""
        ...


class LineSink(Protocol):
    """Takes log lines."""

    def write(self, lines: Sequence[LogLine]) -> None:
        """Keep them, redacted. This never waits and never fails: what can't be kept is counted."""
        ...


class PaymentDeclines(Protocol):
    """Is told of payments that failed without leaving a row in the shop's tables."""

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        """
        Note that an attempt to pay for an order (its code) failed, by a provider's word. Told twice, it counts once.

        ``error`` is in the provider's words, and ends up as a class from a fixed list. Raises ``StateError``.
        """
        ...


class SeriesSource(Protocol):
    """Finds numbers again. Synchronous: it is called in the query thread."""

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        """
        Return the samples of all series that meet the conditions, ``start`` and ``end`` included (milliseconds).

        A series stands in exactly one group; groups and series come in no promised order.
        Raises ``StoreError``, and ``SampleLimitError`` before more than ``most`` samples are in memory.
        """
        ...

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> Sequence[Labels]:
        """Return the labels alone of what ``select`` would find, perhaps of a little more at the edges of time."""
        ...

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest sample was of all series that meet the conditions, nothing where none is."""
        ...

    def families(self) -> Mapping[str, MetricFamily]:
        """Return what is known of each metric, by name."""
        ...


class QueryEngine(Protocol):
    """Answers questions about numbers, off the event loop."""

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """
        Return what the query comes to at one time (milliseconds).

        ``patience`` shortens the engine's own time limit. Raises ``QueryError`` or ``StoreError``.
        """
        ...

    async def range(
        self, query: str, start: int, end: int, step: int, *, patience: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        ...


class HealthState(StrEnum):
    """How something is. That nobody asked for it, and that nobody knows yet, is not the same as healthy."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    NOT_CONFIGURED = "not configured"
    NO_DATA = "no data yet"


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """How a part of toban itself is: healthy or not, and a sentence that says so."""

    ok: bool
    message: str
    configured: bool = True

    @property
    def state(self) -> HealthState:
        """Its state: what nobody has configured is neither healthy nor unhealthy."""
        if self.ok and not self.configured:
            return HealthState.NOT_CONFIGURED
        return HealthState.HEALTHY if self.ok else HealthState.UNHEALTHY


class Service(Protocol):
    """Something that goes on until it is cancelled."""

    @property
    def name(self) -> str:
        """The word for it in logs and on ``/-/healthy``."""
        ...

    async def run(self) -> None:
        """Work until cancelled; return or raise only when it can't go on."""
        ...

    def health(self) -> HealthStatus:
        """Tell how it is, from memory: this never waits."""
        ...
