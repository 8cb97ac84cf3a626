"""Line sinks: the pipeline into the store, and the fake of tests."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.fake_line_store import FakeLineStore
from tests.fakes import FakeClock, ListLineSink
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import LineSink
from toban.logs.custom_metrics import LineMetrics
from toban.logs.line_redaction import LineRedactor
from toban.logs.pipeline import LogPipeline

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINE = LogLine(NOW, LogLevel.ERROR, "payment failed", context="Payments", service="api", facts={"order": "ABC"})

Sink = tuple[LineSink, Callable[[], Awaitable[Sequence[LogLine]]]]


@pytest.fixture(params=["pipeline", "list"])
async def sink(request: pytest.FixtureRequest) -> Sink:
    """Return a sink, and what returns its lines, in the order of writing."""
    if request.param == "list":
        listing = ListLineSink()

        async def listed() -> Sequence[LogLine]:
            return listing.lines

        return listing, listed
    store, meters, clock = FakeLineStore(), MetricRegistry(), FakeClock(NOW)
    pipeline = LogPipeline(
        store, LineRedactor(), LineMetrics((), meters, meters), lambda _: None, meters, clock, meters
    )

    async def stored() -> Sequence[LogLine]:
        await pipeline.once()
        return [it.line for it in store.numbered(1, 1_000)]

    return pipeline, stored


async def test_lines_are_stored_in_the_order_of_writing(sink: Sink):
    """
    Not in that of their times; writing nothing is no error.
    """
    write, lines = sink
    written = [LINE, replace(LINE, at=NOW - timedelta(hours=1), message="late"), replace(LINE, level=LogLevel.DEBUG)]
    write.write([])
    write.write(written[:2])
    write.write(written[2:])
    assert list(await lines()) == written


async def test_lines_are_stored_redacted(sink: Sink):
    """
    In each of their texts, by pattern and by key.
    """
    write, lines = sink
    secret = "postgresql://toban:hunter2@db:5432/shop"
    facts = {"password": "hunter2", "body": {"token": "hunter2"}, "url": secret}
    write.write([replace(LINE, message=f"connecting to {secret}", context=secret, trace=f"at {secret}", facts=facts)])
    (stored,) = await lines()
    assert "hunter2" not in repr(stored)
    assert stored.message.startswith("connecting to postgresql://")


@pytest.mark.parametrize(
    "line",
    [
        replace(LINE, message="\ud800 \0"),
        replace(LINE, message="x" * 1_000_000, trace="y" * 1_000_000),
        replace(LINE, at=datetime.max.replace(tzinfo=UTC)),
        replace(LINE, facts={"": None, "nested": [{"deep": [1, 2.5, {"é": b"bytes"}]}], "\ud800": object()}),
        replace(LINE, service="", context="", message=""),
    ],
    ids=["lone surrogate", "large", "year 9999", "facts of any kind", "empty"],
)
async def test_writing_never_fails(sink: Sink, line: LogLine):
    """
    Whoever writes a line can do nothing about it; later ones are stored.
    """
    write, lines = sink
    write.write([line, LINE])
    stored = await lines()
    assert stored[-1] == LINE
    assert len(stored) == 2
