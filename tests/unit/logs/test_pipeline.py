"""The way of log lines: redacted, stored once, counted, published; nothing that was acknowledged is lost."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.fakes import FakeClock
from toban.core.errors import StoreError
from toban.core.log_line import OTLP, LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.logs.custom_metric_settings import LineMetricSettings
from toban.logs.custom_metrics import LineMetrics
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import LinePosition, StoredLine, StoreReport
from toban.logs.log_metrics import DURATIONS, FAILED_JOBS, SECURITY_EVENTS
from toban.logs.log_metrics import LINES as LOG_LINES
from toban.logs.pipeline import BATCH, LINES, MAX_WAITING, WAITING, LogPipeline

AT = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryStore:
    """Keeps what is appended; fails while ``error`` is set."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.kept: dict[str, str] = {}
        self.error: str | Exception = ""

    def append(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> int:
        if self.error:
            raise self.error if isinstance(self.error, Exception) else StoreError(self.error)
        self.lines += lines
        self.kept |= cursors
        return len(self.lines) - len(lines) + 1

    def cursors(self, prefix: str) -> Mapping[str, str]:
        return {name: text for name, text in self.kept.items() if name.startswith(prefix)}

    def numbered(self, first: int, limit: int) -> Sequence[StoredLine]:
        found = [StoredLine(LinePosition(0, number), it) for number, it in enumerate(self.lines, 1)]
        return [it for it in found if it.position.number >= first][:limit]

    def report(self) -> StoreReport:
        return StoreReport(len(self.lines), 0, None, None, len(self.lines) + 1)

    def maintain(self, now: int) -> None:
        pass


def line(message: str, level: LogLevel = LogLevel.INFO, **fields) -> LogLine:
    return LogLine(AT, level, message, **fields)


class Running:
    """A running pipeline, and what it has published."""

    def __init__(self, *metrics: LineMetricSettings, store: MemoryStore | None = None) -> None:
        self.store, self.meters, self.clock = store or MemoryStore(), MetricRegistry(), FakeClock()
        self.published = []
        self.pipeline = LogPipeline(
            self.store,
            LineRedactor(),
            LineMetrics(metrics, self.meters, self.meters),
            self.published.extend,
            self.meters,
            self.clock,
            self.meters,
        )

    @property
    def messages(self) -> list[str]:
        return [it.message for it in self.store.lines]


@asynccontextmanager
async def running(*metrics: LineMetricSettings, store: MemoryStore | None = None):
    it = Running(*metrics, store=store)
    task = asyncio.create_task(it.pipeline.run())
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lines_are_stored_redacted_and_published_with_their_numbers():
    async with running() as it:
        await it.pipeline.append([line("user jane@example.com"), line("two")], "api", {"cursor": "7"})
        assert it.messages == ["user [REDACTED]", "two"]
        assert it.store.kept["cursor"] == "7"
    assert [(stored.position.number, stored.line.message) for stored in it.published] == [
        (1, "user [REDACTED]"),
        (2, "two"),
    ]
    assert it.meters.value(WAITING) == 0


async def test_a_line_that_two_sources_bring_is_stored_and_counted_once():
    async with running() as it:
        for source in ("file:/app/logs/combined.log", "fly"):
            await it.pipeline.append([line("paid", LogLevel.WARN, service="api")], source)
        assert it.messages == ["paid"]
    assert it.meters.value(LOG_LINES, level="warn", context="", service="api") == 1
    assert it.meters.value(LINES, source="file", outcome="stored") == 1
    assert it.meters.value(LINES, source="fly", outcome="duplicate") == 1


async def test_a_copy_that_comes_after_a_restart_is_known_and_an_equal_line_of_one_source_is_not_one():
    """
    A file that goes on where it was repeats no line; what another source brings was there before.
    """
    file, other, console = "files:app.json", "files:combined.json", "files:console.log"
    minute = replace(line("refused"), is_time_exact=False)
    async with running() as it:
        await it.pipeline.append([line("paid"), line("shipped"), minute], [file, other, console])
        await it.pipeline.append([line("paid")], file)
    store = it.store
    async with running(store=store) as it:
        await it.pipeline.append([line("paid"), line("shipped"), line("paid"), line("new")], OTLP)
        assert it.messages == ["paid", "shipped", "refused", "paid", "new"]
        await it.pipeline.append([line("paid"), minute], [file, console])
    assert it.messages[5:] == ["paid", "refused"]
    assert it.meters.value(LINES, source=OTLP, outcome="duplicate") == 3


async def test_sources_of_another_version_are_left_out():
    store = MemoryStore()
    store.kept = {"sources:1": "{", "sources:2": '{"first":"x"}', "sources:3": '{"first":1,"runs":[["a",true,1]]}'}
    async with running(store=store) as it:
        await it.pipeline.append([line("paid")], "api")
    assert it.messages == ["paid"]


async def test_a_metric_counts_a_line_once_and_only_when_it_is_stored():
    declined = LineMetricSettings(name="shop_declined_total", query="declined", labels=("service",))
    async with running(declined) as it:
        it.store.error = "disk full"
        with pytest.raises(StoreError):
            await it.pipeline.append([line("declined", service="api")], "api")
        assert it.meters.value(declined.family, service="api") == 0
        it.store.error = ""
        for source in ("api", "fly"):
            await it.pipeline.append([line("declined", service="api"), line("paid", service="api")], source)
        assert it.meters.value(declined.family, service="api") == 1


async def test_whoever_waits_hears_of_a_failure_and_other_lines_are_kept():
    async with running() as it:
        it.store.error = "disk full"
        it.pipeline.write([line("of toban itself")])
        with pytest.raises(StoreError, match="disk full"):
            await it.pipeline.append([line("sent")], "api", {"cursor": "1"})
        assert not it.pipeline.health().ok
        it.store.error = ""
        await it.pipeline.append([line("sent")], "api", {"cursor": "1"})
        assert it.messages == ["of toban itself", "sent"]
        assert it.pipeline.health().ok


async def test_an_unexpected_error_is_reported_and_the_next_lines_are_stored():
    async with running() as it:
        it.store.error = OverflowError("a number of 65 bits")
        it.pipeline.write([line("odd")])
        with pytest.raises(StoreError, match="OverflowError: a number of 65 bits"):
            await it.pipeline.append([line("sent")], "api")
        it.store.error = ""
        await it.pipeline.append([line("later")], "api")
        assert it.messages == ["later"]
    assert it.meters.value(LINES, source="toban", outcome="unreadable") == 1
    assert it.meters.value(WAITING) == 0


async def test_what_nobody_waits_for_is_dropped_and_counted_where_there_is_no_room():
    it = Running()
    large = [line("x" * (MAX_WAITING // 2))]
    it.pipeline.write(large)
    it.pipeline.write(large)
    assert it.meters.value(LINES, source="toban", outcome="dropped") == 1
    assert it.meters.value(WAITING) == 1


class StandingClock(FakeClock):
    """A clock on which no interval ends."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


async def test_a_burst_that_nobody_waits_for_is_stored_before_the_interval_ends():
    published, clock, meters = asyncio.Event(), StandingClock(), MetricRegistry()
    metrics = LineMetrics((), meters, meters)
    pipeline = LogPipeline(MemoryStore(), LineRedactor(), metrics, lambda _: published.set(), meters, clock, meters)
    task = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0)
    pipeline.write([line("x" * BATCH)])
    async with asyncio.timeout(10):
        await published.wait()
    assert pipeline.stored == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_has_arrived_is_stored_when_toban_ends():
    async with running() as it:
        await asyncio.sleep(0)
        it.pipeline.write([line("the last one")])
    assert it.messages == ["the last one"]


async def test_security_events_and_durations_are_metrics():
    async with running() as it:
        await it.pipeline.append(
            [
                line("Security Event", category="security", facts={"event": "login_failed", "severity": "high"}),
                line("Security Event", category="security", facts={"severity": "made up"}),
                line("Performance Log", category="performance", facts={"operation": "import", "duration": 1500}),
                line("Performance Log", category="performance", facts={"operation": "import", "duration": "long"}),
            ],
            "api",
        )
    assert it.meters.value(SECURITY_EVENTS, event="login_failed", severity="high") == 1
    assert it.meters.value(SECURITY_EVENTS, event="unknown", severity="medium") == 1
    durations = it.meters.histogram(DURATIONS, operation="import")
    assert dict(zip(durations.parts(), durations.values(), strict=True))["_sum", ""] == 1.5


async def test_failed_attempts_at_jobs_are_a_metric():
    """
    As Vendure's own queue and its BullMQ plugin write them.
    """
    async with running() as it:
        for message in (
            "Job 12 [send-email] failed (attempt 1 of 4)",
            "Job 12 [send-email] failed and will not retry.",
            "Job 3f2 [update-search-index] failed (attempt 2 of 3)",
            "Job 12 [send-email] completed",
        ):
            await it.pipeline.append([line(message, LogLevel.WARN)], "api")
        await it.pipeline.append([line("Job 12 [send-email] failed (attempt 1 of 4)")], "api")  # of somebody else
    assert it.meters.value(FAILED_JOBS, queue="send-email") == 2
    assert it.meters.value(FAILED_JOBS, queue="update-search-index") == 1
