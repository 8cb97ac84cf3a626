"""Assembles what receives, keeps, searches and ships log lines."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.logs.custom_metrics import LineMetrics
from toban.logs.line_feed import LineFeed
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import LineStore
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.rule_engine import LIMITS, LogRuleEngine
from toban.logs.outside.assembly import OutsideTools
from toban.logs.pipeline import LogPipeline
from toban.logs.push.receiver import LogPushReceiver
from toban.logs.retention import LogRetention
from toban.logs.settings import LogSettings, RedactionSettings
from toban.logs.shipping import LineShipper
from toban.logs.sink import Sink, SinkTools
from toban.logs.store.store import EmbeddedLineStore
from toban.logs.tail.position import PREFIX
from toban.logs.tail.read_progress import ReadProgress
from toban.logs.tail.service import FileTail
from toban.logs.tiered_log_engine import TieredLogEngine


@dataclass(frozen=True, slots=True)
class Logs:
    """What stays open for log lines: the store, the way into it, and what searches it and follows it."""

    store: LineStore
    pipeline: LogPipeline
    engine: TieredLogEngine
    rules: LogRuleEngine
    feed: LineFeed
    receiver: LogPushReceiver
    outside: OutsideTools
    retention: LogRetention

    def configure(self, settings: LogSettings) -> None:
        """Redact, count, accept and search under other settings; those of the store change at a restart only."""
        redactor = _redactor(settings.redaction)
        self.engine.outside = self.outside.engine(settings.outside, redactor)
        self.pipeline.redactor = redactor
        self.pipeline.metrics.configure(settings.metrics)
        self.receiver.retention = settings.retention


@asynccontextmanager
async def open_logs(
    settings: LogSettings,
    folder: Path,
    http: httpx2.AsyncClient,
    pushed: MetricRegistry,
    clock: Clock,
    meters: MetricRegistry,
) -> AsyncIterator[Logs]:
    """Open the store in a folder; ``pushed`` counts the shop's lines. Raises ``StoreError``."""
    with EmbeddedLineStore(folder, settings, clock, meters) as store:
        feed = LineFeed()
        metrics = LineMetrics(settings.metrics, pushed, meters)
        redactor = _redactor(settings.redaction)
        pipeline = LogPipeline(store, redactor, metrics, feed.publish, pushed, clock, meters)
        outside = OutsideTools(http, clock, meters)
        async with LogqlEngine(store) as embedded, LogqlEngine(store, LIMITS, threads=1) as for_rules:
            engine = TieredLogEngine(embedded, outside.engine(settings.outside, redactor))
            receiver = LogPushReceiver(pipeline, settings.retention, clock)
            yield Logs(
                store,
                pipeline,
                engine,
                LogRuleEngine(for_rules),
                feed,
                receiver,
                outside,
                LogRetention(store, pipeline, settings),
            )


def _redactor(settings: RedactionSettings) -> LineRedactor:
    return LineRedactor(settings.keys, settings.patterns)


def open_tails(settings: LogSettings, logs: Logs, clock: Clock, meters: MetricRegistry) -> Sequence[FileTail]:
    """Return what reads log files, if there are any to read."""
    instance = os.environ.get("FLY_MACHINE_ID") or socket.gethostname()
    return [FileTail(settings.files, instance, logs.pipeline, logs.pipeline, clock, meters)] if settings.files else []


async def read_progress(settings: LogSettings, logs: Logs, clock: Clock) -> Callable[[os.stat_result], int]:
    """Return what tells how many bytes of a file will be read yet. Raises ``StoreError``."""
    cursors = await logs.pipeline.cursors(PREFIX)
    now = clock.now().timestamp()
    return (await asyncio.to_thread(ReadProgress, settings.files, cursors, now)).unread


def open_shippers(
    sinks: Iterable[Sink], logs: Logs, http: httpx2.AsyncClient, clock: Clock, meters: MetricRegistry
) -> Sequence[LineShipper]:
    """Return what ships lines to each sink."""
    tools = SinkTools(http, clock)
    return [LineShipper(sink, logs.store, logs.pipeline, tools, meters) for sink in sinks]
