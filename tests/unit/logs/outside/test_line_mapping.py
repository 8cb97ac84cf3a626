"""A line that is sent to Loki and read from there is what it was."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import LogLevel, LogLine
from toban.logs.outside.line_mapping import OutsideLine, outside_line, restored_line

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9.\-]{0,8}", fullmatch=True)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.text('abc é\n{}["', max_size=5) | NUMBERS | st.booleans() | st.none()
"""Nested values are stored as texts."""

LINES = st.builds(
    LogLine,
    st.just(AT),
    st.sampled_from(LogLevel),
    st.text("ab\n {}", max_size=10),
    *[TEXTS] * 5,
    trace=st.text("ab\n", max_size=10),
    trace_id=st.sampled_from(["", "ab" * 16]),
    facts=st.dictionaries(NAMES | st.sampled_from(["level", "service", "message"]), VALUES, max_size=3),
)


@given(LINES, st.integers(0, 999_999))
def test_a_line_comes_back_as_it_was(line: LogLine, number: int):
    labels = {"shop": "mine"}
    sent = outside_line(line, round(AT.timestamp()) * 10**9 + number, labels)
    # Loki adds what it finds out itself.
    found = OutsideLine(
        sent.at,
        {**sent.stream, "service_name": "x", "__stream_shard__": "1"},
        sent.text,
        {**sent.metadata, "detected_level": "info"},
    )
    assert restored_line(found, labels) == line


@pytest.mark.parametrize(
    "text", ["00042", "1e5", "0x10", "12345678901234567890123", "{not json", "[1, 2]", "-", "tru", "1.50"]
)
def test_a_text_that_only_looks_like_json_stays_a_text(text: str):
    line = LogLine(AT, LogLevel.INFO, "x", facts={"code": text})
    assert restored_line(outside_line(line, 0, {}), {}).facts == {"code": text}


def test_a_line_of_another_program_keeps_what_it_says():
    found = OutsideLine(
        1_500_000, {"app": "nginx", "level": "WARNING"}, "GET /\nsecond", {"trace_id": "ab", "pod": "p1"}
    )
    line = restored_line(found, {})
    assert (line.level, line.message, line.trace, line.trace_id) == (LogLevel.WARN, "GET /", "second", "ab")
    assert line.facts == {"app": "nginx", "pod": "p1"}
    assert replace(line, at=AT) == replace(
        restored_line(replace(found, stream={**found.stream, "level": "warn"}), {}), at=AT
    )
