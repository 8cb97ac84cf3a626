"""Any body of a push is lines or an error."""

from datetime import UTC, datetime, timedelta

import cramjam
import orjson
from hypothesis import given
from hypothesis import strategies as st

from toban.logs.push.json_lines import JsonLinesError, read_json_lines
from toban.logs.push.loki_protobuf import MESSAGES, read_protobuf
from toban.logs.push.loki_request import AcceptedTimes, PushError, read_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = AcceptedTimes(NOW - timedelta(days=30), NOW + timedelta(minutes=10))

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["stream", "values", "level", "message", "time", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
texts = st.text(max_size=20)
times = st.integers(-(2**63), 2**63 - 1).map(str) | st.just(str(round(NOW.timestamp()) * 10**9)) | texts
entries = st.tuples(times, texts | anything, st.dictionaries(texts, texts | anything, max_size=3)) | anything
streams = st.fixed_dictionaries(
    {"stream": st.dictionaries(texts, texts, max_size=3) | anything, "values": st.lists(entries, max_size=3) | anything}
)


@given(st.binary(max_size=60) | (anything | st.fixed_dictionaries({"streams": st.lists(streams)})).map(orjson.dumps))
def test_json(body: bytes):
    try:
        found = read_json(body, TIMES)
    except PushError as error:
        assert str(error)
    else:
        assert bool(found.error()) == bool(found.rejected)


@given(
    st.binary(max_size=60).map(lambda body: bytes(cramjam.snappy.compress_raw(body)))
    | st.binary(max_size=60)
    | st.builds(
        lambda labels, entry: bytes(
            cramjam.snappy.compress_raw(
                MESSAGES["PushRequest"](
                    streams=[MESSAGES["Stream"](labels=labels, entries=entry).SerializeToString()]
                ).SerializeToString()
            )
        ),
        texts.map(str.encode) | st.sampled_from([b'{a="b"}', b'{a="\xff"}']),
        st.lists(st.binary(max_size=20), max_size=3),
    )
)
def test_protobuf(body: bytes):
    try:
        read_protobuf(body, 2**20, TIMES)
    except PushError as error:
        assert str(error)


@given(st.binary(max_size=80) | anything.map(orjson.dumps) | st.lists(anything, max_size=3).map(orjson.dumps))
def test_json_lines(body: bytes):
    try:
        found = read_json_lines(body, NOW)
    except JsonLinesError as error:
        assert str(error)
    else:
        assert bool(found.errors) == bool(found.rejected)
