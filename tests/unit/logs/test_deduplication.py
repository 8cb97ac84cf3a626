"""A line that arrives by two ways is stored once."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import OTLP, LogLevel, LogLine
from toban.logs.deduplication import Deduplicator

AT = datetime(2026, 1, 1, tzinfo=UTC)


def line(message: str, at: int = 0, service: str = "", *, exact: bool = True) -> LogLine:
    return LogLine(AT + timedelta(milliseconds=at), LogLevel.INFO, message, service=service, is_time_exact=exact)


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


WAYS = {"files:app.json": 0, "files:combined.json": 0, OTLP: 300, "files:console.log": 20_000, "fly": 20_000}
"""How many milliseconds a time may be off by each way; those of the last two are not exact."""


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 5_000)), max_size=6),
    st.sets(st.sampled_from(list(WAYS)), min_size=1),
    st.randoms(use_true_random=False),
)
def test_a_line_of_one_service_is_kept_once_by_all_ways_together(written, ways, chance):
    """
    Each way brings all lines in their order, and is at another place than the others.
    """
    waiting = {
        way: [line(text, at + chance.randint(0, WAYS[way]), "shop", exact=WAYS[way] < 1_000) for text, at in written]
        for way in ways
    }
    deduplicator, kept = Deduplicator(), Counter[str]()
    while any(waiting.values()):
        way = chance.choice([way for way, lines in waiting.items() if lines])
        kept.update(it.message for it in new(deduplicator, way, [waiting[way].pop(0)]))
    assert kept == Counter(text for text, _ in written)


def test_without_exact_times_only_lines_of_one_service_and_of_different_ways_are_equal():
    """
    Two consoles that say the same in the same minute are two processes.
    """
    deduplicator = Deduplicator()
    assert new(deduplicator, "files:server.log", [line("refused", 0, "server", exact=False)])
    assert new(deduplicator, "files:worker.log", [line("refused", 0, "server", exact=False)])
    assert new(deduplicator, OTLP, [line("refused", 5_000, "worker")])
    assert new(deduplicator, OTLP, [line("refused", 61_000, "server")])
    assert len(new(deduplicator, OTLP, [line("refused", at, "server") for at in (6_000, 7_000, 8_000)])) == 1


def test_a_flood_of_equal_lines_is_compared_to_some_of_them_and_sources_are_bounded():
    deduplicator = Deduplicator(window=500)
    for number in range(2_000):
        assert new(deduplicator, f"files:{number}.log", [line("same", number, "shop", exact=False)])
    assert len(deduplicator._lines.equal(next(iter(deduplicator._lines._equal)))) <= 64
    assert len(deduplicator._sources) <= 1_000
