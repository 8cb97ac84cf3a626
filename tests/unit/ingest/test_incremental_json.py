"""JSON parsed in chunks equals what orjson parses at once."""

import gc
import weakref
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.ingest import incremental_json

SMALL = 24
TEXTS = st.text(st.sampled_from('a"\\[]{},: \n\u3042'), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=60
)
OTLP = st.fixed_dictionaries(
    {
        "resourceSpans": st.lists(
            st.fixed_dictionaries(
                {
                    "resource": VALUES,
                    "scopeSpans": st.lists(
                        st.fixed_dictionaries({"scope": VALUES, "spans": st.lists(VALUES, max_size=4)}), max_size=3
                    ),
                }
            ),
            max_size=3,
        )
    }
)
DUMPS = (
    orjson.dumps,
    lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2),
    lambda value: orjson.dumps(value).replace(b",", b" ,\r\n").replace(b"]", b"\t]"),
)


def parsed_at_once(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return "no JSON"


def parsed_in_pieces(body: bytes) -> Any:
    steps = incremental_json.read_json(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        except orjson.JSONDecodeError:
            return "no JSON"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_json, "PIECE", SMALL)


@given(VALUES | OTLP, st.sampled_from(DUMPS))
def test_pieces_equal_the_whole(value, dumps):
    """
    With any content and spacing.
    """
    assert parsed_in_pieces(dumps(value)) == parsed_at_once(dumps(value))


@given(OTLP, st.data())
def test_invalid_json_is_rejected_in_pieces_too(value, data):
    """
    A body with a character removed or replaced is rejected or parsed exactly as by orjson.
    """
    body = bytearray(orjson.dumps(value))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.sampled_from([b"", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b"1", b"\xff"]))
    assert parsed_in_pieces(bytes(body)) == parsed_at_once(bytes(body))


@pytest.mark.parametrize("size", range(1, 9))
def test_backslashes_escape_across_pieces(size, monkeypatch):
    """
    A run of them may begin in one piece and end in the next, before a quote or not.
    """
    for many in range(12):
        monkeypatch.setattr(incremental_json, "PIECE", size)
        body = orjson.dumps({"a": [{"b": "\\" * many + '"]}' * many}, {"c": ["\\" * many]}]})
        assert parsed_in_pieces(body) == parsed_at_once(body)


def test_parsing_does_not_stop_garbage_collection():
    """
    Cyclic garbage that is created between requests is collected, and nothing is frozen.
    """

    class Cycle:
        def __init__(self):
            self.itself = self

    left = weakref.WeakSet()
    for _ in range(100):
        for _ in range(100):
            left.add(Cycle())
        with pytest.raises(StopIteration):
            next(incremental_json.read_json(b'{"a": [{}]}'))
    assert len(left) < 5_000
    assert gc.get_freeze_count() == 0
