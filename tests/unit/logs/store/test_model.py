"""Whatever happens in whatever order, the store answers like a list of lines."""

import json
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from tests.unit.logs.store.conftest import DAY, EVER, START, lines_of
from tests.unit.logs.store.lines import make_small
from toban.core.log_line import LogLevel, LogLine
from toban.core.matchers import compile_regex
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction, LinePosition, LineSelection, StoredLine, TextFilter
from toban.logs.settings import LogSettings
from toban.logs.store import text_matcher
from toban.logs.store.row_codec import encode_row
from toban.logs.store.store import CORRUPTIONS, EmbeddedLineStore

PIECES = [
    "order", "Order", "ORDER", " ", "_", "7", "1234", "timeout", "desk", "Kiosk", "\n", "\r\n", "\t", "\x1c", "\x1d",
    "\x1e", "\x1f", "\x00", "*", ">", "|", ".", "(a)", "[b]", "\\", "注文", "注", "文書", "確定、", "カート", "é", "É",
    "straße", "\u212aelvin", "я", "Я", "😀😀", "\ud800", '"', "at Foo (x.ts:1)", "a", "b",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
PATTERNS = [
    "order", "Order.*at Foo", "^order", "order$", r"\Aorder", r"order\z", "(?m)^at", "(?m)$", r"\s", r"a\sb", r"\S+",
    r"[\s]7", r"[^\s]", r"\d+", r"[^a]", "a|b", "(?i)ORDER", "x*", "注文?", "[注確]文", r"\bdesk\b", r"\border\n",
    "a\nb", r"\x1e", "[[:space:]]", "[[:cntrl:]]", r"\pL+", r"\p{Han}", "(?s)a.b", "(?-s)a.b", "(order|timeout)7",
    "(?:a)(b)", "o{1,2}rder", r"\Qa.b\E", ".", "^$", "^.$", r"\(a\)", "[[]b]", "[]b]", r"[\]b]", "[^]]7", "time(out)?",
    "(?P<x>desk)", r"\.", "\x1d.", r"[^\S]7", r"\W", r"[\t-\r]", "K", "(?i)kiosk", "é", r"^order$",
]  # fmt: skip
FACTS = st.dictionaries(
    TEXT,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(-1e6, 1e6).map(lambda it: round(it, 2))
        | TEXT,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
SECONDS = st.sampled_from([0, 0, 1, 2, 2.001, 60]) | st.integers(0, 30) | st.sampled_from([-2e9, 2_335_219_199.999])
LINES = st.builds(
    LogLine,
    SECONDS.map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.sampled_from(LogLevel),
    TEXT,
    context=st.sampled_from(["", "OrderService", "注文\ud800"]),
    service=st.sampled_from(["api", "worker"]),
    trace=st.just("") | TEXT,
    trace_id=st.sampled_from(["", "a" * 32, "0" * 31 + "1", "A" * 32, "注文", "x\ud800"]),
    facts=st.just({}) | FACTS,
)
FILTERS = st.builds(
    TextFilter,
    st.lists(TEXT, max_size=2).map(tuple),
    is_negated=st.booleans(),
    ignore_case=st.booleans(),
) | st.builds(
    TextFilter,
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple),
    is_regex=st.just(True),
    is_negated=st.booleans(),
    ignore_case=st.booleans(),
)
POSITIONS = st.none() | st.builds(
    LinePosition, st.integers(0, 30).map(lambda it: START + it * 1000), st.integers(1, 60)
)
SELECTIONS = st.builds(
    LineSelection,
    st.sampled_from([-(2**53), START, START + 2000]),
    st.sampled_from([START + 2001, START + 20_000, 2**53]),
    st.sampled_from([lambda _: True, lambda it: it.level in {"error", "warn"}, lambda it: it.service == "api"]),
    st.lists(FILTERS, max_size=2).map(tuple),
    st.sampled_from(["", "", "a" * 32, "注文", "x\ud800"]),
    POSITIONS,
    POSITIONS,
)
STEPS = st.lists(
    st.lists(LINES, max_size=30)
    | st.sampled_from(["maintain", "hour", "day", "restart"])
    | st.tuples(SELECTIONS, st.sampled_from([1, 3, 100]), st.sampled_from(Direction)),
    max_size=14,
)


def clean(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(one) for one in value]
    if isinstance(value, dict):
        return {clean(key): cleaned(one) for key, one in value.items()}
    return value


def as_stored(line: LogLine) -> LogLine:
    """Return a line as it is read back: without lone surrogates."""
    texts = {name: clean(getattr(line, name)) for name in ("message", "context", "trace", "trace_id")}
    return replace(line, **texts, facts=cleaned(line.facts))


def text_of(line: LogLine) -> str:
    facts = json.dumps(line.facts, ensure_ascii=False, separators=(",", ":")) if line.facts else ""
    return "\n".join([line.message, *(part for part in (line.trace, facts) if part)])


def ascii_lower(text: str) -> str:
    return text.encode().lower().decode()


def has(line: LogLine, text: str, it: TextFilter) -> bool:
    searched, text = text_of(line), clean(text)
    if it.is_regex:
        flags = "(?i)" if it.ignore_case else ""
        return compile_regex(flags + text).search(searched) is not None
    if not it.ignore_case:
        return text in searched
    if ascii_lower(text) in ascii_lower(searched):
        return True
    # The case of letters beyond ASCII, as RE2 has it.
    has_case = any(one.lower() != one or one.upper() != one for one in text if one > "\x7f")
    return has_case and compile_regex(f"(?i){text_matcher.re2.escape(text)}").search(searched) is not None


def selected(stored: StoredLine, by: LineSelection) -> bool:
    line, position = stored.line, stored.position
    return (
        by.start <= position.at < by.end
        and by.selects(line.stream)
        and (not by.trace_id or clean(by.trace_id) == line.trace_id)
        and (by.before is None or position < by.before)
        and (by.after is None or position > by.after)
        and all(any(has(line, text, it) for text in it.texts) != it.is_negated for it in by.filters)
    )


def answers_like(model: list[StoredLine], store: EmbeddedLineStore, step: tuple[LineSelection, int, Direction]) -> None:
    selection, limit, direction = step
    matching = sorted((line for line in model if selected(line, selection)), key=lambda line: line.position)
    ordered = matching if direction is Direction.FORWARD else matching[::-1]
    assert lines_of(store.search(selection, limit, direction)) == ordered[:limit]

    pages, page, going_on = [], None, selection
    while page is None or page:
        page = lines_of(store.search(going_on, limit, direction))
        pages += page
        if page:
            last = page[-1].position
            going_on = replace(going_on, **{"after" if direction is Direction.FORWARD else "before": last})
    assert pages == ordered

    lines, sizes = Counter(), Counter()
    for part in store.count(selection, 1000):
        for it in part:
            lines[it.stream, it.at] += it.lines
            sizes[it.stream, it.at] += it.bytes
    keys = [(it.line.stream, it.position.at // 1000 * 1000) for it in matching]
    assert lines == Counter(keys)
    expected = Counter()
    for key, it in zip(keys, matching, strict=True):
        expected[key] += len(encode_row(it.line).encode())
    assert +sizes == +expected
    assert {it.line.stream for it in matching} <= set(store.streams(selection.start, selection.end))


def live(steps: list, most_in_memory: int) -> None:
    clock, meters, model, next_number = FakeClock(), MetricRegistry(), list[StoredLine](), 1
    left = steps[::-1]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        patch.setattr(text_matcher, "FEW_ROWS", most_in_memory)
        while True:
            with EmbeddedLineStore(Path(name), LogSettings(retention="2d"), clock, meters) as store:
                while left and (step := left.pop()) != "restart":
                    if step == "maintain":
                        now = milliseconds(clock.now())
                        store.maintain(now)
                        kept = {line.position.number for line in store.numbered(0, 100_000)}
                        model = [
                            line for line in model if line.position.number in kept or line.position.at >= now - 2 * DAY
                        ]
                    elif isinstance(step, str):
                        clock.advance({"hour": 3600, "day": 86400}[step])
                    elif isinstance(step, tuple):
                        answers_like(model, store, step)
                    else:
                        assert store.append(step, {"file": str(next_number)}) == next_number
                        stored = [as_stored(line) for line in step]
                        model += [
                            StoredLine(LinePosition(milliseconds(line.at), number), line)
                            for number, line in enumerate(stored, next_number)
                        ]
                        next_number += len(step)
                assert store.numbered(0, 100_000) == model
                assert store.report().lines == len(model)
                assert store.report().next_number == next_number
                for first in (1, 9, next_number - 1):
                    assert store.numbered(first, 5) == [it for it in model if it.position.number >= first][:5]
            if not left:
                break
    assert meters.value(CORRUPTIONS) == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(STEPS, st.sampled_from([0, 64]))
def test_the_store_is_a_list_of_lines(steps, few_rows):
    """
    After any appends, seals, deletions and restarts: searches by page, counts and reads by number.
    """
    live(steps, few_rows)


@pytest.mark.soak
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(STEPS, st.sampled_from([0, 64]))
def test_the_store_is_a_list_of_lines_soak(steps, few_rows):
    live(steps, few_rows)


@settings(max_examples=60)
@given(st.lists(LINES, min_size=1, max_size=40), st.lists(FILTERS, min_size=1, max_size=6), st.sampled_from([0, 64]))
def test_filters_match_as_on_each_line_alone(lines, filters, few_rows):
    """
    In blocks, whose signatures tell which chunks are read.
    """
    live_with_filters(lines, filters, few_rows)


@pytest.mark.soak
@settings(max_examples=5_000, suppress_health_check=list(HealthCheck))
@given(st.lists(LINES, min_size=1, max_size=40), st.lists(FILTERS, min_size=1, max_size=6), st.sampled_from([0, 64]))
def test_filters_match_as_on_each_line_alone_soak(lines, filters, few_rows):
    live_with_filters(lines, filters, few_rows)


def live_with_filters(lines: list[LogLine], filters: list[TextFilter], few_rows: int) -> None:
    searches = [(replace(EVER, filters=(one,)), 100, Direction.BACKWARD) for one in filters]
    live([lines, "day", "maintain", *searches], few_rows)
