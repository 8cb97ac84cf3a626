"""Large JSON read in pieces is what orjson makes of it in one go."""

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
                    "scopeSpans": st.lists(st.fixed_dictionaries({"scope": VALUES, "spans": st.lists(VALUES)})),
                }
            )
        )
    }
)
DUMPS = (
    orjson.dumps,
    lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2),
    lambda value: orjson.dumps(value).replace(b",", b" ,\r\n").replace(b"]", b"\t]"),
)


def whole(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return "no JSON"


def cut(body: bytes) -> Any:
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
def test_pieces_are_the_whole(value, dumps):
    """
    Whatever stands in it, and however it is spaced.
    """
    assert cut(dumps(value)) == whole(dumps(value))


@given(OTLP, st.data())
def test_what_is_no_json_is_none_in_pieces_either(value, data):
    """
    A body that lost a sign, or has another in its place, is refused or read as orjson refuses or reads it.
    """
    body = bytearray(orjson.dumps(value))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.sampled_from([b"", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b"1", b"\xff"]))
    assert cut(bytes(body)) == whole(bytes(body))


@pytest.mark.parametrize("size", range(1, 9))
def test_backslashes_escape_across_pieces(size, monkeypatch):
    """
    A run of them may begin in one part and end in the next, before a quote or not.
    """
    for many in range(12):
        monkeypatch.setattr(incremental_json, "PIECE", size)
        body = orjson.dumps({"a": [{"b": "\\" * many + '"]}' * many}, {"c": ["\\" * many]}]})
        assert cut(body) == whole(body)


def test_reading_leaves_the_collector_of_garbage_its_work():
    """
    Bodies in JSON took what was new from it for good: garbage with cycles, some kilobytes a request, stayed for ever.
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
