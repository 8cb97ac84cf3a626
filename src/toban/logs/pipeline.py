"""The way of every log line: redacted, recognised where it comes twice, stored, counted, published."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Final

import structlog

from toban.core.errors import StoreError
from toban.core.failure_log import FailureLog
from toban.core.log_line import LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, Recorder
from toban.core.samples import counter, gauge, milliseconds
from toban.core.wakeup import Wakeup
from toban.instruments.cardinality import CardinalityLimits
from toban.logs.custom_metrics import Counted, LineMetrics
from toban.logs.deduplication import Deduplicator
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import LinePosition, LineStore, StoredLine
from toban.logs.log_metrics import count_lines
from toban.logs.recent_sources import Origin, RecentSources, restored

log = structlog.get_logger("toban.logs")

LINES: Final = counter(
    "toban_log_lines_total",
    "Log lines that arrived, by source and outcome: stored, duplicate, dropped for want of room, unreadable.",
    labels=("source", "outcome"),
)
WAITING: Final = gauge("toban_log_lines_waiting", "Log lines that wait to be stored.")

OWN: Final = "toban"
"""The source of lines that toban itself writes, and of those that nobody waits for."""

MAX_WAITING: Final = 16 * 2**20
"""Characters of lines that may wait to be stored."""

BATCH: Final = 2 * 2**20
"""Characters of lines that are stored in one transaction."""

INTERVAL: Final = 1.0
"""Seconds after which lines are stored that nobody waits for."""

MAINTENANCE_INTERVAL: Final = 60.0

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(minutes=10)
"""How far ahead of toban's clock a line's time may be: with another time it is stored under that of its arrival."""

LINE_SIZE: Final = 300
"""Characters that a line takes in memory besides its texts."""


@dataclass(slots=True)
class _Arrival:
    """Lines on their way, and who waits for them."""

    lines: Sequence[LogLine]
    source: str | list[str]
    size: int
    cursors: Mapping[str, str] = field(default_factory=dict)
    stored: asyncio.Future[None] | None = None


class LogPipeline:
    """
    Stores lines in the order of their arrival, some at a time, in a thread of its own.

    Whoever waits (``append``) hears when its lines are durable; ``write`` is for those that can't wait. While the store
    fails, lines that nobody waits for stay in memory, as far as there is room.
    """

    name = "logs"

    def __init__(
        self,
        store: LineStore,
        redactor: LineRedactor,
        metrics: LineMetrics,
        publish: Callable[[Sequence[StoredLine]], None],
        recorder: Recorder,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """``publish`` is called with lines when they are durable."""
        self.redactor = redactor
        self.metrics = metrics
        self.stored = 0
        """How many lines were stored since the start."""
        self._store = store
        self._publish = publish
        self._recorder = recorder
        self._limits = CardinalityLimits(meters)
        self._clock = clock
        self._meters = meters
        self._deduplicator: Deduplicator | None = None
        """Read from the store with the first lines, and again after it failed."""
        self._sources = RecentSources()
        self._next_number = 0
        self._arrived: deque[_Arrival] = deque()
        self._size, self._waiting = 0, 0
        self._room = asyncio.Condition()
        self._wakeup = Wakeup(clock)
        self._thread = ThreadPoolExecutor(1, "logs")
        self._failure = FailureLog(log, "log lines not stored", "log lines stored again")

    def write(self, lines: Sequence[LogLine]) -> None:
        """Store lines soon; those for which there is no room are dropped and counted."""
        size = _size_of(lines)
        if self._size + size > MAX_WAITING:
            self._meters.add(LINES, len(lines), source=OWN, outcome="dropped")
            return
        self._add(_Arrival(lines, OWN, size))
        if self._size > BATCH:
            self._wakeup.set()  # a burst would fill all room within the interval

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        """Store lines and cursors, and return when they are durable. Raises ``StoreError``."""
        if not lines and not cursors:
            return
        size = _size_of(lines)
        async with self._room:
            # What is larger than all room waits for an empty queue.
            await self._room.wait_for(lambda: not self._size or self._size + size <= MAX_WAITING)
            stored = asyncio.get_running_loop().create_future()
            self._add(_Arrival(lines, source, size, cursors or {}, stored))
        self._wakeup.set()
        await stored

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        """Return all cursors whose names begin with a prefix. Raises ``StoreError``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.cursors, prefix)

    async def forget_cursors(self, names: Sequence[str]) -> None:
        """Delete cursors. Raises ``StoreError``."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.forget_cursors, names)

    async def run(self) -> None:
        """Store lines until cancelled; then those that have arrived."""
        maintained = self._clock.monotonic()
        try:
            while True:
                is_urgent = self._size > BATCH or any(it.stored for it in self._arrived)
                await self._wakeup.wait(0 if is_urgent else INTERVAL)
                await self.once()
                if self._clock.monotonic() - maintained >= MAINTENANCE_INTERVAL:
                    maintained = self._clock.monotonic()
                    await self._maintain()
        finally:
            while self._arrived and not self._failure.error:
                await self.once()
            self._thread.shutdown(wait=False)

    async def once(self) -> None:
        """Store what has arrived, as much as fits into one transaction."""
        batch = self._take()
        if not batch:
            return
        loop = asyncio.get_running_loop()
        try:
            stored, outcomes, counted = await loop.run_in_executor(self._thread, self._process, batch)
        except StoreError as error:
            await self._give_back(batch, error)
            return
        except Exception as error:  # whatever a line holds, it must not end the process
            log.exception("log lines not stored: unexpected error")
            waiting = [arrival for arrival in batch if arrival.stored]
            dropped = [arrival for arrival in batch if not arrival.stored]
            self._meters.add(LINES, sum(len(it.lines) for it in dropped), source=OWN, outcome="unreadable")
            await self._release(dropped)
            await self._give_back(waiting, StoreError(f"unexpected error: {type(error).__name__}: {error}"))
            return
        self._failure.succeeded()
        await self._release(batch)
        for arrival in batch:
            if arrival.stored and not arrival.stored.done():
                arrival.stored.set_result(None)
        for (source, outcome), count in outcomes.items():
            self._meters.add(LINES, count, source=source, outcome=outcome)
        self.stored += len(stored)
        if stored:
            count_lines([it.line for it in stored], self._recorder, self._limits)
            self._publish(stored)
            await self.metrics.record(counted)

    def health(self) -> HealthStatus:
        """Return whether lines are stored."""
        if self._failure.error:
            return HealthStatus(False, f"log lines are not stored: {self._failure.error}")
        return HealthStatus(True, f"{len(self._arrived)} arrivals wait")

    def _add(self, arrival: _Arrival) -> None:
        self._arrived.append(arrival)
        self._size += arrival.size
        self._waiting += len(arrival.lines)
        self._meters.set(WAITING, self._waiting)

    def _take(self) -> list[_Arrival]:
        batch: list[_Arrival] = []
        size = 0
        while self._arrived and (not batch or size + self._arrived[0].size <= BATCH):
            batch.append(self._arrived.popleft())
            size += batch[-1].size
        return batch

    def _process(
        self, batch: Sequence[_Arrival]
    ) -> tuple[list[StoredLine], Counter[tuple[str, str]], Sequence[Counted]]:
        """
        Redact and store lines, and count the new ones for the metrics of `logs.metrics`. It runs in the thread.

        Returns the new lines, what became of all, and what was counted.
        """
        deduplicator = self._deduplicator
        if deduplicator is None:
            deduplicator = self._deduplicator = restored(self._store)
            self._next_number = self._store.report().next_number
        new: list[LogLine] = []
        origins: list[Origin] = []
        cursors: dict[str, str] = {}
        outcomes = Counter[tuple[str, str]]()
        for arrival in batch:
            cursors.update(arrival.cursors)
            sources = repeat(arrival.source) if isinstance(arrival.source, str) else arrival.source
            for line, source in zip(arrival.lines, sources, strict=False):
                redacted = self._redacted(line)
                outcome = "unreadable"
                if redacted:
                    is_new = deduplicator.is_new(source, redacted)
                    outcome = "stored" if is_new else "duplicate"
                    if is_new:
                        new.append(redacted)
                        origins.append((source, redacted.is_time_exact))
                outcomes[source.partition(":")[0], outcome] += 1
        cursors.update(self._sources.cursors(self._next_number, origins))
        first = self._store.append(new, cursors)
        self._next_number = first + len(new)
        stored = [
            StoredLine(LinePosition(milliseconds(line.at), number), line) for number, line in enumerate(new, first)
        ]
        return stored, +outcomes, self.metrics.count(stored)

    def _redacted(self, line: LogLine) -> LogLine | None:
        """Return a line without secrets; None for one that can't be searched for them: it is not stored."""
        now = self._clock.now()
        if not EARLIEST <= line.at <= now + AHEAD:
            line = replace(line, at=now, facts={**line.facts, "timestamp": line.at.isoformat()})
        try:
            return self.redactor.redacted(line)
        except Exception:  # a line from outside must not end what stores all others
            log.exception("log line not readable", service=line.service[:100], context=line.context[:100])
            return None

    async def _give_back(self, batch: Sequence[_Arrival], error: StoreError) -> None:
        """Let those know who wait, and keep the lines of the others for another try."""
        self._failure.failed(str(error))
        # What it has remembered was not stored; a line that comes twice is better than one that is lost.
        self._deduplicator = None
        for arrival in batch:
            if arrival.stored and not arrival.stored.done():
                arrival.stored.set_exception(StoreError(f"log lines can't be stored: {error}"))
        await self._release([it for it in batch if it.stored])
        self._arrived.extendleft(reversed([it for it in batch if not it.stored]))
        await self._clock.sleep(INTERVAL)

    async def _release(self, arrivals: Sequence[_Arrival]) -> None:
        self._size -= sum(it.size for it in arrivals)
        self._waiting -= sum(len(it.lines) for it in arrivals)
        self._meters.set(WAITING, self._waiting)
        async with self._room:
            self._room.notify_all()

    async def apply_retention(self) -> None:
        """Maintain the store now, and remove what is too old or too much. Raises ``StoreError``."""
        now = milliseconds(self._clock.now())
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.maintain, now)

    async def _maintain(self) -> None:
        now = milliseconds(self._clock.now())
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.maintain, now)
        except StoreError as error:
            self._failure.failed(str(error))


def _size_of(lines: Sequence[LogLine]) -> int:
    return sum(
        LINE_SIZE + len(line.message) + len(line.trace) + sum(len(str(value)) for value in line.facts.values())
        for line in lines
    )
