"""The newest log lines are kept, redacted and searched."""

from datetime import UTC, datetime

from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.instruments.cardinality import CardinalityLimits
from toban.logs.recent_lines import LINES, RecentLines, as_json

AT = datetime(2026, 1, 1, tzinfo=UTC)


def line(message: str, level: LogLevel = LogLevel.INFO, **fields: object) -> LogLine:
    return LogLine(AT, level, message, **fields)


def recent(**bounds: int) -> tuple[RecentLines, MetricRegistry]:
    meters = MetricRegistry()
    return RecentLines(meters, CardinalityLimits(meters), **bounds), meters


def test_lines_are_returned_newest_first():
    """
    Up to the limit.
    """
    kept, _ = recent()
    kept.write([line("one"), line("two"), line("three")])

    assert [found.message for found in kept.newest(2)] == ["three", "two"]


def test_lines_are_selected_by_level_context_service_and_text():
    """
    A level selects itself and more severe ones; a text is found in any case.
    """
    kept, _ = recent()
    kept.write(
        [
            line("Job failed", LogLevel.WARN, context="JobQueue", service="worker"),
            line("job done", context="JobQueue", service="worker"),
            line("boom", LogLevel.ERROR, service="server"),
        ]
    )

    def messages(**filters: object) -> list[str]:
        return [found.message for found in kept.newest(**filters)]

    assert messages(level=LogLevel.WARN) == ["boom", "Job failed"]
    assert messages(context="JobQueue") == ["job done", "Job failed"]
    assert messages(service="server") == ["boom"]
    assert messages(text="JOB", level=LogLevel.WARN) == ["Job failed"]


def test_the_oldest_lines_are_dropped():
    """
    By number and by size; all were counted.
    """
    kept, meters = recent(most=3, size=2000)
    kept.write([line(str(number)) for number in range(10)])
    assert [found.message for found in kept.newest()] == ["9", "8", "7"]

    kept.write([line("x" * 1400)])
    assert [found.message[:1] for found in kept.newest()] == ["x"]
    assert meters.value(LINES, level="info", context="", service="") == 11


def test_secrets_are_redacted():
    """
    Neither in the message nor in facts, names included.
    """
    kept, meters = recent()
    key = "0add3adc2a67363bdb8373b9427bfefccd11daf5ed5ff1ecaf1b07879f69600a"
    kept.write(
        [line(f"hit [{key}]", context=key, trace=f"at {key}", facts={"token": "t0p", "x": key, "deep": {"y": key}})]
    )

    shown = str([as_json(found) for found in kept.newest()]) + str(list(meters.series()))
    assert key not in shown
    assert "t0p" not in shown


def test_a_long_message_is_cut():
    """
    One line can't displace all others.
    """
    kept, _ = recent()
    kept.write([line("x " * 100_000)])

    assert len(kept.newest()[0].message) < 20_000
