"""Line sinks: the newest lines in memory, and the fake of tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes import ListLineSink
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import LineSink
from toban.instruments.cardinality import CardinalityLimits
from toban.logs.recent_lines import LINES, RecentLines

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINE = LogLine(NOW, LogLevel.ERROR, "payment failed", context="Payments", service="api", facts={"order": "ABC"})

Sink = tuple[LineSink, Callable[[], Sequence[LogLine]]]


@pytest.fixture(params=["recent lines", "list"])
def sink(request: pytest.FixtureRequest) -> Sink:
    """Return a sink, and what returns its lines, oldest first."""
    if request.param == "list":
        listing = ListLineSink()
        return listing, lambda: listing.lines
    meters = MetricRegistry()
    recent = RecentLines(meters, CardinalityLimits(meters))
    return recent, lambda: recent.newest()[::-1]


def test_lines_are_stored_in_the_order_of_writing(sink: Sink):
    """
    Not in that of their times; writing nothing is no error.
    """
    write, lines = sink
    written = [LINE, replace(LINE, at=NOW - timedelta(hours=1), message="late"), replace(LINE, level=LogLevel.DEBUG)]
    write.write([])
    write.write(written[:2])
    write.write(written[2:])
    assert list(lines()) == written


def test_lines_are_stored_redacted(sink: Sink):
    """
    In each of their texts, by pattern and by key.
    """
    write, lines = sink
    secret = "postgresql://toban:hunter2@db:5432/shop"
    facts = {"password": "hunter2", "body": {"token": "hunter2"}, "url": secret}
    write.write([replace(LINE, message=f"connecting to {secret}", context=secret, trace=f"at {secret}", facts=facts)])
    (stored,) = lines()
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
def test_writing_never_fails(sink: Sink, line: LogLine):
    """
    Whoever writes a line can do nothing about it; later ones are stored.
    """
    write, lines = sink
    write.write([line, LINE])
    stored = lines()
    assert stored[-1] == LINE
    assert len(stored) == 2


def test_lines_that_are_no_longer_stored_are_counted():
    meters = MetricRegistry()
    recent = RecentLines(meters, CardinalityLimits(meters), most=2)
    recent.write([LINE] * 5)
    assert len(recent.newest()) == 2
    assert meters.value(LINES, level="error", context="Payments", service="api") == 5
