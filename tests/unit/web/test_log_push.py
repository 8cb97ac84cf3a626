"""Pushing log lines: Loki's API, and toban's own."""

import gzip
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import cramjam
import httpx2
import orjson
import pytest
from starlette.applications import Starlette

from tests.fakes import FakeClock
from toban.core.errors import StoreError
from toban.core.log_line import LogLevel, LogLine
from toban.logs.push.loki_protobuf import MESSAGES
from toban.logs.push.loki_request import MAX_BRACKETS, MAX_LABELS, MAX_LINE, MAX_LINES
from toban.logs.push.receiver import LogPushReceiver
from toban.web.auth import TrustedAccess
from toban.web.log_push import LogPushApi

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = str(round(NOW.timestamp()) * 10**9)
LATER = str(round(NOW.timestamp()) * 10**9 + 1_500_000)
LIMIT = 4 * 2**20
PUSH = "/loki/api/v1/push"

PROMTAIL = {
    "streams": [
        {
            "stream": {"job": "vendure", "host": "fly-1", "filename": "/app/logs/server.log", "level": "warn"},
            "values": [
                [AT, "cart is empty"],
                [LATER, '{"level":"error","message":"payment failed","context":"Payments","order":"A1"}'],
            ],
        }
    ]
}  # fmt: skip  # as it was recorded
"""What Promtail and Grafana Alloy send with a file of winston's lines."""

VECTOR = {
    "streams": [
        {
            "stream": {"service_name": "worker", "service": "worker", "environment": "prod", "team": "shop"},
            "values": [[AT, "job done", {"trace_id": "ab" * 16, "detected_level": "error", "queue": "email"}]],
        }
    ]
}
"""What Vector's sink `loki` sends with structured metadata."""


FLUENT_BIT = {
    "streams": [
        {
            "stream": {"job": "fluent-bit"},
            "values": [
                [AT, '{"log":"{\\"level\\":\\"error\\",\\"message\\":\\"payment failed\\"}\\n","stream":"stderr"}'],
                [AT, '{"log":"cart is empty","stream":"stdout"}'],
            ],
        }
    ]
}
"""What Fluent Bit's output `loki` sends of a container's log, as its documentation has it: lines within JSON."""


class Sink:
    """Stores what is appended; raises ``StoreError`` with ``error`` if there is one."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.sources: list[str] = []
        self.error = ""

    def write(self, lines: Sequence[LogLine]) -> None:
        raise AssertionError("a push must wait until its lines are durable")

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        if self.error:
            raise StoreError(self.error)
        self.lines += lines
        self.sources.append(source)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def client(sink: Sink) -> AsyncIterator[httpx2.AsyncClient]:
    receiver = LogPushReceiver(sink, timedelta(days=30), FakeClock(NOW))
    app = Starlette(routes=LogPushApi(receiver, LIMIT).routes())
    transport = httpx2.ASGITransport(TrustedAccess(app))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def push(client: httpx2.AsyncClient, content: object, **headers: str) -> httpx2.Response:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return await client.post(PUSH, content=body, headers={"content-type": "application/json", **headers})


async def push_protobuf(client: httpx2.AsyncClient, body: bytes, **headers: str) -> httpx2.Response:
    return await client.post(PUSH, content=body, headers={"content-type": "application/x-protobuf", **headers})


def protobuf(*streams: tuple[str, list[tuple[int, bytes, Mapping[str, str]]]]) -> bytes:
    """Return a request as Promtail sends it."""
    entry, label, time = MESSAGES["Entry"], MESSAGES["Label"], MESSAGES["Timestamp"]
    request = MESSAGES["PushRequest"](
        streams=[
            MESSAGES["Stream"](
                labels=labels.encode(),
                entries=[
                    entry(
                        timestamp=time(seconds=at // 10**9, nanos=at % 10**9),
                        line=text,
                        metadata=[
                            label(name=name.encode(), value=value.encode()).SerializeToString()
                            for name, value in metadata.items()
                        ],
                    ).SerializeToString()
                    for at, text, metadata in entries
                ],
            ).SerializeToString()
            for labels, entries in streams
        ]
    )
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def stream(*values: list[object], **labels: str) -> dict[str, object]:
    return {"streams": [{"stream": labels or {"app": "x"}, "values": list(values)}]}


async def test_lines_of_promtail_are_stored(client, sink):
    """
    A line of winston says what it is; labels say the rest.
    """
    response = await push(client, PROMTAIL)
    assert (response.status_code, response.content) == (204, b"")
    facts = {"filename": "/app/logs/server.log"}
    fields = {"service": "vendure", "instance": "fly-1"}
    assert sink.lines == [
        LogLine(NOW, LogLevel.WARN, "cart is empty", facts=facts, **fields),
        LogLine(
            NOW + timedelta(microseconds=1500),
            LogLevel.ERROR,
            "payment failed",
            context="Payments",
            facts={**facts, "order": "A1"},
            **fields,
        ),
    ]
    assert sink.sources == ["loki"]


async def test_lines_of_fluent_bit_are_read_within_their_json(client, sink):
    assert (await push(client, FLUENT_BIT, **{"user-agent": "Fluent-Bit"})).status_code == 204
    assert sink.lines == [
        LogLine(NOW, LogLevel.ERROR, "payment failed", service="fluent-bit", facts={"stream": "stderr"}),
        LogLine(NOW, LogLevel.INFO, "cart is empty", service="fluent-bit", facts={"stream": "stdout"}),
    ]


async def test_structured_metadata_becomes_facts_and_the_trace_id(client, sink):
    assert (await push(client, VECTOR)).status_code == 204
    assert sink.lines == [
        LogLine(
            NOW,
            LogLevel.ERROR,
            "job done",
            service="worker",
            environment="prod",
            trace_id="ab" * 16,
            facts={"queue": "email", "team": "shop"},
        )
    ]


async def test_json_may_be_compressed(client, sink):
    body = gzip.compress(orjson.dumps(VECTOR))
    assert (await push(client, body, **{"content-encoding": "gzip"})).status_code == 204
    assert len(sink.lines) == 1


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "snappy"}], ids=["plain", "snappy"])
async def test_protobuf_says_the_same_as_json(client, sink, headers):
    await push(client, VECTOR)
    entry = (int(AT), b"job done", VECTOR["streams"][0]["values"][0][2])
    labels = '{service_name="worker", service="worker", environment="prod", team="shop"}'
    assert (await push_protobuf(client, protobuf((labels, [entry])), **headers)).status_code == 204
    assert sink.lines[0] == sink.lines[1]


async def test_a_text_that_is_no_utf8_is_repaired(client, sink):
    body = protobuf(('{app="x"}', [(int(AT), b"caf\xe9", {})]))
    assert (await push_protobuf(client, body)).status_code == 204
    assert sink.lines[0].message == "caf\ufffd"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"{", "invalid JSON"),
        ([], "Streams: must be an array"),
        ({"streams": []}, "error at least one valid stream is required for ingestion"),
        ({"streams": [{}]}, "streams[0]: must have a `stream`"),
        ({"streams": [{"stream": {"a": 1}, "values": []}]}, "labels must have strings"),
        (stream([int(AT), "x"]), "streams[0].values[0]: the time must be a string of nanoseconds"),
        (stream(["9" * 20, "x"]), "the time must be a string of nanoseconds"),
        (stream(["soon", "x"]), "the time must be a string of nanoseconds"),
        (stream([AT, 1]), "the line must be a string"),
        (stream([AT]), "must be an array of a time, a line"),
        (stream([AT, "x", {"a": 1}]), "structured metadata must be an object with strings"),
        (b'{"streams":' + b"[" * (MAX_BRACKETS + 1), "send fewer"),
        (stream(*[[AT, ""]] * (MAX_LINES + 1)), "more than 50000 lines in one request: send fewer"),
    ],
)
async def test_an_invalid_request_stores_nothing(client, sink, content, error):
    response = await push(client, content)
    assert (response.status_code, response.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert error in response.text
    assert sink.lines == []


@pytest.mark.parametrize(
    ("values", "labels", "error"),
    [
        ([[AT, "x"]], {"a" * 2000: "b"}, "has label name too long"),
        ([[AT, "x"]], {"a": "b" * 3000}, "has label value too long"),
        ([[AT, "x"]], {str(it): "b" for it in range(MAX_LABELS + 1)}, "has 31 label names; limit 30"),
        ([["1", "x"]], {"a": "b"}, "has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable timestamp is: 2025"),
        ([[f"{int(AT) + 3600 * 10**9}", "x"]], {"a": "b"}, "has timestamp too new: 2026-01-01T13:00:00Z"),
        ([[AT, "x" * (MAX_LINE + 1)]], {"a": "b"}, "Max entry size '262144' bytes exceeded for stream '{a=\"b\"}'"),
        ([[AT, "x", {str(it): "y" for it in range(200)}]], {"a": "b"}, "too many structured metadata labels: '200'"),
    ],
)
async def test_lines_that_are_rejected_keep_no_others_out(client, sink, values, labels, error):
    content = {"streams": [*stream(*values, **labels)["streams"], *stream([AT, "good"])["streams"]]}
    response = await push(client, content)
    assert response.status_code == 400
    assert error in response.text
    assert "1 errors like: " in response.text
    assert [it.message for it in sink.lines] == ["good"]


async def test_a_stream_without_labels_is_rejected(client):
    response = await push(client, {"streams": [{"stream": {}, "values": [[AT, "x"]]}]})
    assert "error at least one label pair is required per stream" in response.text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\xff\xff\xff", "snappy: corrupt input"),
        (bytes(cramjam.snappy.compress_raw(b"\xff\xff")), "not a PushRequest in protobuf"),
        (protobuf(), "error at least one valid stream is required for ingestion"),
        (protobuf(("{a=", [])), "Error parsing labels '{a=' with error: parse error at line 1, col 4"),
        (protobuf(('{a=~"b"}', [])), "Error parsing labels"),
        (protobuf(('{a="b", a="c"}', [])), "has duplicate label name"),
        (bytes(cramjam.snappy.compress_raw(b"\0" * (LIMIT + 1))), "request body too large"),
        (bytes(cramjam.snappy.compress_raw(b"\x0a\x00" * 20_000)), "more than 10000 streams"),
        (protobuf(('{a="b"}', [(2**62 * 10**9, b"x", {})])), "has timestamp out of range"),
    ],
)
async def test_an_invalid_body_in_protobuf_is_rejected(client, sink, body, error):
    response = await push_protobuf(client, body)
    assert response.status_code == 400
    assert error in response.text
    assert sink.lines == []


async def test_too_many_entries_are_rejected_before_they_are_read(client):
    body = MESSAGES["PushRequest"](streams=[MESSAGES["Stream"](entries=[b""] * (MAX_LINES + 1)).SerializeToString()])
    response = await push_protobuf(client, bytes(cramjam.snappy.compress_raw(body.SerializeToString())))
    assert "more than 50000 lines in one request: send fewer" in response.text


async def test_a_store_in_trouble_is_retried(client, sink):
    sink.error = "disk full"
    for response in (await push(client, VECTOR), await client.post("/api/logs", json={"message": "x"})):
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert "disk full" in response.text


async def test_json_lines_are_stored(client, sink):
    """
    In the fields of winston, with or without a time; Vector writes an array.
    """
    lines = [
        {"timestamp": "2026-01-01T11:00:00Z", "level": "warn", "message": "slow", "service": "api", "ms": 12},
        {"message": "no time", "host": "web-1", "severity": "error"},
    ]
    bodies = [b"\n".join(map(orjson.dumps, lines)) + b"\n", gzip.compress(orjson.dumps(lines))]
    for body, headers in zip(bodies, ({}, {"content-encoding": "gzip"}), strict=True):
        response = await client.post(
            "/api/logs", content=body, headers={"content-type": "application/x-ndjson", **headers}
        )
        assert (response.status_code, response.json()) == (200, {"accepted": 2})
    assert sink.lines == 2 * [
        LogLine(NOW - timedelta(hours=1), LogLevel.WARN, "slow", service="api", facts={"ms": 12}),
        LogLine(NOW, LogLevel.ERROR, "no time", instance="web-1"),
    ]
    assert sink.sources == ["api", "api"]


async def test_json_lines_that_are_rejected_are_named(client, sink):
    body = b'{"message": "good"}\nbad\n\n{"no": "message"}\n"text"\n'
    response = await client.post("/api/logs", content=body, headers={"content-type": "application/x-ndjson"})
    assert response.status_code == 422
    assert response.json()["detail"] == "3 lines were rejected, 1 were stored"
    assert [it["line"] for it in response.json()["errors"]] == [2, 4, 5]
    assert [it.message for it in sink.lines] == ["good"]


async def test_json_lines_that_are_too_many_are_rejected(client):
    response = await client.post("/api/logs", content=b"\n" * 60_000, headers={"content-type": "application/x-ndjson"})
    assert response.status_code == 400
