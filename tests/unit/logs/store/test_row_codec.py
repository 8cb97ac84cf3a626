"""Rows: every text comes back as it was, and what is searched is what it looks like."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import LogLevel, LogLine, LogStream
from toban.logs.store.row_codec import decode_row, encode_row, searched_text

AT = 1_767_225_600_000
ANY = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\x1b\x1c\x1d\x1e\x1f\x01\x02\x03\x04\n\r\0a")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=6,
)


def line_of(message: str, trace: str = "", facts: object = ()) -> LogLine:
    return LogLine(datetime(2026, 1, 1, tzinfo=UTC), LogLevel.INFO, message, trace=trace, facts=dict(facts))


@given(ANY, ANY, st.dictionaries(ANY, JSON, max_size=3))
def test_any_line_comes_back(message, trace, facts):
    line = line_of(message, trace, facts)
    row = encode_row(line).encode()
    assert b"\n" not in row
    assert decode_row(row, AT, LogStream(), "") == line


@given(ANY, ANY)
def test_what_is_searched_is_message_and_stack_trace(message, trace):
    row = encode_row(line_of(message, trace)).encode()
    assert searched_text(row).decode() == (f"{message}\n{trace}" if trace else message)


def test_facts_are_searched_as_json():
    row = encode_row(line_of("m", "t", {"状態": "支払い待ち", "n": 1})).encode()
    assert searched_text(row).decode() == 'm\nt\n{"状態":"支払い待ち","n":1}'


@pytest.mark.parametrize("facts", [{"n": 2**70}, {"n": {1: 2}}, {"text": "\ud800"}, {"at": {1, 2}}])
def test_facts_beyond_json_are_kept_as_text(facts):
    assert decode_row(encode_row(line_of("m", "", facts)).encode(), AT, LogStream(), "").facts.keys() == facts.keys()


def test_a_lone_surrogate_is_replaced():
    line = decode_row(encode_row(line_of("a\ud800b", "\udfff", {"x": "\ud800"})).encode(), AT, LogStream(), "")
    assert (line.message, line.trace, line.facts) == ("a\ufffdb", "\ufffd", {"x": "\ufffd"})
