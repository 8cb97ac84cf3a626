"""The ingest endpoints."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta

import httpx2
import numpy as np
import orjson
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from tests.captured_telemetry import Ingest, body
from tests.telemetry import logs, request, traces
from toban.core import input_limits
from toban.core.errors import SeriesLimitError, StateError, StoreError
from toban.core.labels import Labels
from toban.core.samples import Batch, Layout, milliseconds
from toban.ingest.business_events import BusinessEventReceiver
from toban.ingest.metric_families import BODIES
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.remote_write_receiver import RECEIVED, RemoteWriteReceiver
from toban.remote.remote_write_model import HEADERS
from toban.remote.remote_write_protobuf import Encoder
from toban.tsdb.settings import TsdbSettings
from toban.web.auth import NetworkAccess
from toban.web.ingest import IngestApi
from toban.web.request_bodies import BUFFER_BYTES, BodyBuffer
from toban.web.settings import WebSettings

LIMIT = 100_000
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}


class NoState:
    """State that is in trouble."""

    async def transaction(self, work: object) -> object:
        raise StateError("state toban.db: database is locked")


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


class Sink:
    """A store that keeps what it is given in memory, up to so many series."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Labels, int], float] = {}
        self.error = ""
        self.most = 10

    async def append(self, batches: Sequence[Batch]) -> None:
        if self.error:
            raise StoreError(self.error)
        found = {
            (labels, batch.at): value
            for batch in batches
            for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True)
            if value == value
        }
        if len({labels for labels, _ in [*self.kept, *found]}) > self.most:
            raise SeriesLimitError("too many series")
        self.kept |= found


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def room() -> BodyBuffer:
    return BodyBuffer()


@pytest.fixture
async def client(request: pytest.FixtureRequest, ingest, sink, room) -> AsyncIterator[httpx2.AsyncClient]:
    marked = request.node.get_closest_marker("listening")
    settings = WebSettings(**marked.kwargs) if marked else WebSettings()
    events = BusinessEventReceiver(NoState(), ingest.clock, ingest.meters)
    written = RemoteWriteReceiver(sink, TsdbSettings(), ingest.clock, ingest.meters)
    app = Starlette(routes=IngestApi(ingest.receiver, events, written, LIMIT).routes())
    transport = httpx2.ASGITransport(NetworkAccess(app, settings, ingest.meters, room=room))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("packed", ["", "gzip", "deflate"])
@pytest.mark.parametrize("name", ["pay-declined.traces.pb", "pay-declined.traces.json"])
async def test_chunked_and_compressed_bodies_are_accepted(client, ingest, name, packed):
    """
    As JavaScript sends it: without Content-Length. The answer is in the request's encoding.
    """
    content = body(name)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(packed, bytes)
    headers = (JSON if name.endswith("json") else PROTOBUF) | ({"content-encoding": packed} if packed else {})
    response = await client.post("/v1/traces", content=pieces(pack(content)), headers=headers)

    assert response.status_code == 200
    assert response.content == (b"{}" if name.endswith("json") else b"")
    assert response.headers["content-type"] == headers["content-type"].partition(";")[0]
    assert ingest.values("vendure_api_requests_total")


async def test_an_empty_request_succeeds(client):
    """
    Some senders try the door before they have something to say.
    """
    assert (await client.post("/v1/traces", headers=PROTOBUF)).status_code == 200
    assert (await client.post("/v1/metrics", content=b"{}", headers=JSON)).status_code == 200
    empty = {"content-encoding": "gzip", **PROTOBUF}
    assert (await client.post("/v1/logs", content=gzip.compress(b""), headers=empty)).status_code == 200


async def test_an_unknown_content_type_is_rejected_with_415(client):
    """
    415, by body and by packing.
    """
    for headers in ({"content-type": "text/plain"}, {}, {**JSON, "content-encoding": "br"}):
        assert (await client.post("/v1/traces", content=b"{}", headers=headers)).status_code == 415


async def test_invalid_input_is_rejected(client, ingest):
    """
    400 with a reason: in gzip, after gzip, cut off.
    """
    packed = {**JSON, "content-encoding": "gzip"}
    for content, headers in (
        (b"{", JSON),
        (b"\xff\xff", PROTOBUF),
        (b"no gzip", packed),
        (gzip.compress(b"{}")[:-9], packed),
        (gzip.compress(b"{"), packed),
        (gzip.compress(b"{}") + b"more", packed),
    ):
        response = await client.post("/v1/traces", content=content, headers=headers)
        assert response.status_code == 400
        assert response.content
    assert not ingest.values()


@pytest.mark.parametrize("signal", list(OtlpSignal))
async def test_a_body_over_the_limit_is_rejected_early_with_413(client, signal):
    """
    413: by what it says of itself, by what comes, and by what comes of it. A bomb is let go at the limit.
    """
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 10_000

    def bomb() -> Iterator[bytes]:
        packing = zlib.compressobj(9, wbits=31)
        for _ in range(200):
            yield packing.compress(b" " * 10**6)
        yield packing.flush()

    door = f"/v1/{signal.value}"
    assert (await client.post(door, content=b" " * (LIMIT + 1), headers=JSON)).status_code == 413
    lying = {**JSON, "content-length": "9" * 30}
    assert (await client.post(door, content=b"{}", headers=lying)).status_code == 413
    assert (await client.post(door, content=endless(), headers=JSON)).status_code == 413
    assert read <= LIMIT / 10_000 + 2
    packed = {**JSON, "content-encoding": "gzip"}
    assert (await client.post(door, content=b"".join(bomb()), headers=packed)).status_code == 413
    twice = gzip.compress(b" " * (LIMIT - 10)) + gzip.compress(b" " * 20)
    assert (await client.post(door, content=twice, headers=packed)).status_code == 413
    assert (
        await client.post(door, content=gzip.compress(b"{}" + b" " * (LIMIT - 2)), headers=packed)
    ).status_code == 200


async def test_a_request_over_the_buffer_limit_is_rejected_with_503_and_retry_after(client, room, ingest):
    """
    503 with Retry-After; when others are done there is room again.
    """

    async def nothing() -> Message:
        raise AssertionError

    with room.body(nothing, {"headers": []}, BUFFER_BYTES) as other:
        other.take(BUFFER_BYTES - 10)
        response = await client.post("/v1/logs", content=logs((9, "x")), headers=JSON)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
    assert (await client.post("/v1/logs", content=logs((9, "x")), headers=JSON)).status_code == 200
    assert ingest.meters.value(BODIES, signal="logs", outcome="overloaded") == 1
    assert room.held == 0


async def test_concurrent_bodies_are_all_counted(client, ingest):
    """
    One after the other is read; none waits for ever.
    """
    bodies = [traces(request(trace=number)) for number in range(30)]
    responses = await asyncio.gather(*(client.post("/v1/traces", content=one, headers=JSON) for one in bodies))

    assert {answer.status_code for answer in responses} == {200}
    assert list(ingest.values("vendure_api_requests_total").values()) == [30]


@pytest.mark.listening(listen="0.0.0.0:9119", token="open sesame")
async def test_ingest_requires_the_token_on_public_addresses(client):
    """
    Also of those who push.
    """
    for door in ("/v1/traces", "/v1/metrics", "/v1/logs", "/api/events"):
        assert (await client.post(door, content=b"{}", headers=JSON)).status_code == 401
    shown = {**JSON, "authorization": "Bearer open sesame"}
    assert (await client.post("/v1/traces", content=b"{}", headers=shown)).status_code == 200


async def test_events_are_rejected_with_503_while_state_fails(client):
    """
    503: who pushed them still has them, and comes again. A mistake is told first.
    """
    event = {"type": "product_view", "product": "7"}
    response = await client.post("/api/events", content=orjson.dumps(event), headers=JSON)
    assert response.status_code == 503
    assert "retry-after" in response.headers

    response = await client.post("/api/events", content=b'{"type":"product_view"}\n{"type":', headers=JSON)
    assert response.status_code == 422
    assert [mistake["line"] for mistake in response.json()["errors"]] == [1, 2]
    assert response.json()["errors"][0]["field"] == "product"
    assert (await client.post("/api/events", content=b"{}", headers=PROTOBUF)).status_code == 415
    assert (await client.post("/api/events", content=b" " * (LIMIT + 1), headers=JSON)).status_code == 413


def numbers(at: int, *names: str) -> bytes:
    """Return a remote write request: each series' number is its place."""
    layout = Layout(Labels(__name__=name, job="theirs") for name in names)
    return Encoder({}).encode([Batch(layout, at, np.arange(len(names), dtype=np.float64))])[0]


async def test_remote_write_samples_are_appended(client, ingest, sink):
    """
    At their own times, whatever else is there.
    """
    now = milliseconds(ingest.clock.now())
    for at in (now, now - 60_000):
        response = await client.post("/api/v1/write", content=numbers(at, "a", "b"), headers=HEADERS)
        assert (response.status_code, response.content) == (204, b"")

    assert {(labels.name, at - now, value) for (labels, at), value in sink.kept.items()} == {
        *(("a", at, 0.0) for at in (0, -60_000)),
        *(("b", at, 1.0) for at in (0, -60_000)),
    }
    assert ingest.meters.value(RECEIVED, outcome="accepted") == 4


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"", {"content-type": "application/json"}, 415, "send application/x-protobuf"),
        (b"", {"content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415, "remote write 1.0"),
        (b"", {"content-encoding": "gzip"}, 415, "must be snappy"),
        (b"\xff" * 9, {}, 400, "corrupt input"),
        (bytes(LIMIT + 1), {}, 413, "send less"),
    ],
)
async def test_invalid_remote_write_requests_are_rejected(client, content, headers, status, says):
    """
    With what is wanted.
    """
    response = await client.post("/api/v1/write", content=content, headers=HEADERS | headers)
    assert response.status_code == status
    assert says in response.text


@pytest.mark.parametrize("away", [timedelta(days=-91), timedelta(hours=2)])
async def test_samples_out_of_the_time_range_are_rejected_alone(away, client, ingest, sink):
    """
    As in Prometheus: the sender hears of it and does not send them again.
    """
    now = ingest.clock.now()
    layout = Layout([Labels(__name__="a")])
    rows = [Batch(layout, milliseconds(at), np.array([1.0])) for at in (now, now + away)]
    response = await client.post("/api/v1/write", content=Encoder({}).encode(rows)[0], headers=HEADERS)

    assert (response.status_code, response.text) == (400, "1 samples: out of bounds\n")
    assert [at for _, at in sink.kept] == [milliseconds(now)]


async def test_series_over_the_limit_are_rejected_alone(client, ingest, sink):
    """
    A sender that grows without end does not silence itself.
    """
    now = milliseconds(ingest.clock.now())
    sink.most = 2
    assert (await client.post("/api/v1/write", content=numbers(now, "a", "b"), headers=HEADERS)).status_code == 204
    response = await client.post("/api/v1/write", content=numbers(now + 1, "a", "b", "c"), headers=HEADERS)

    assert (response.status_code, response.text) == (400, "1 samples: too many series\n")
    assert sorted((labels.name, at - now) for labels, at in sink.kept) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert ingest.meters.value(RECEIVED, outcome="rejected") == 1


async def test_remote_write_is_rejected_with_503_while_the_store_fails(client, ingest, sink):
    """
    The sender waits.
    """
    sink.error = "disk full"
    response = await client.post(
        "/api/v1/write", content=numbers(milliseconds(ingest.clock.now()), "a"), headers=HEADERS
    )
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert "disk full" in response.text


async def test_series_over_the_label_limits_are_rejected_alone(client, ingest, sink):
    """
    400, which says why: the sender does not send them again.
    """
    now = milliseconds(ingest.clock.now())
    wide = Labels({"__name__": "wide", **{f"l{n}": "x" for n in range(input_limits.LABELS)}})
    long = Labels(__name__="long", a="x" * (input_limits.LABEL_VALUE_LENGTH + 1))
    layout = Layout([Labels(__name__="a"), wide, long, Labels(__name__="b")])
    body = Encoder({}).encode([Batch(layout, now, np.arange(4.0))])[0]
    response = await client.post("/api/v1/write", content=body, headers=HEADERS)

    assert response.status_code == 400
    assert response.text.startswith("2 samples: label_limit exceeded (metric: wide, ")
    assert {(labels.name, value) for (labels, _), value in sink.kept.items()} == {("a", 0.0), ("b", 3.0)}
