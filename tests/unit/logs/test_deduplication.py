"""A line that arrives by two ways is stored once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import OTLP, LogLevel, LogLine
from toban.logs.deduplication import Deduplicator

AT = datetime(2026, 1, 1, tzinfo=UTC)


def line(message: str, at: int = 0) -> LogLine:
    return LogLine(AT + timedelta(milliseconds=at), LogLevel.INFO, message)


def new(deduplicator: Deduplicator, source: str, lines: list[LogLine]) -> list[LogLine]:
    return [it for it in lines if deduplicator.is_new(source, it)]


@given(st.lists(st.tuples(st.sampled_from(["a.log", "b.log", "fly"]), st.sampled_from("xyz"), st.integers(0, 3))))
def test_as_many_lines_are_kept_as_the_source_brings_that_has_most(arrivals):
    deduplicator = Deduplicator()
    kept = Counter[tuple[str, int]]()
    for source, message, at in arrivals:
        kept[message, at] += len(new(deduplicator, source, [line(message, at)]))
    brought = Counter((message, at, source) for source, message, at in arrivals)
    most = {
        key: max(brought[it] for it in group) for key, group in groupby(sorted(brought), key=lambda it: (it[0], it[1]))
    }
    assert +kept == most


def test_an_exporters_time_may_be_some_milliseconds_off_but_no_loggers():
    deduplicator = Deduplicator()
    assert new(deduplicator, "app.log", [line("paid", 100), line("paid", 104)])
    assert new(deduplicator, OTLP, [line("paid", 103), line("paid", 109)]) == []
    assert len(new(deduplicator, OTLP, [line("paid", 130)])) == 1
    assert len(new(deduplicator, "fly", [line("shipped", 100)])) == 1
    assert len(new(deduplicator, "app.log", [line("shipped", 101)])) == 1


def test_levels_are_different_lines_and_what_is_too_long_ago_is_forgotten():
    deduplicator = Deduplicator(window=2)
    warning = LogLine(AT, LogLevel.WARN, "a")
    assert new(deduplicator, "one", [line("a"), warning]) == [line("a"), warning]
    assert new(deduplicator, "two", [line("a")]) == []
    new(deduplicator, "one", [line("b"), line("c")])
    assert new(deduplicator, "two", [line("a")]) == [line("a")]
