"""Invalid bodies get an error response and affect nothing else."""

import random
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.captured_telemetry import Ingest, body, files
from tests.telemetry import logs, metrics, operation, request, traces
from toban.ingest.metric_families import BODIES
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import DUPLICATE_SECONDS

SMALL = [path.name for path in files() if path.stat().st_size < 30_000]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**64,
    10**400,
    1.5,
    "",
    "x",
    "9" * 5000,
    "\x00",
    [],
    {},
    [[]],
    {"a": 1},
    "ff" * 8,
]


async def push_and_read(name: str, content: bytes) -> None:
    """Push a body; check its response, and that all metrics can be read."""
    ingest = Ingest()
    response = await ingest.push(name, content)
    assert response.status in {200, 400}
    for _ in range(2):
        ingest.clock.advance(400)
        await ingest.receiver._expire()
        ingest.pushed.read(1, {})
        ingest.meters.read(1, {})


def corrupted(content: bytes, chance: random.Random) -> bytes:
    """Return a body with some bytes changed, removed, repeated or truncated."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(found) or 1)
        match chance.randrange(4):
            case 0:
                found[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del found[place : place + chance.randint(1, 20)]
            case 2:
                found[place:place] = found[place : place + chance.randint(1, 20)]
            case _:
                del found[-chance.randint(1, 50) :]
    return bytes(found)


def with_odd_values(content: bytes, chance: random.Random) -> bytes:
    """Return JSON of the same structure with some values of other types."""
    found = orjson.loads(content)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(inner, dict | list):
                visit(inner)

    visit(found)
    for _ in range(chance.randint(1, 6)):
        parent, key = chance.choice(places)
        odd = chance.choice(ODD)
        parent[key] = str(odd) if isinstance(odd, int) and abs(odd) >= 2**64 else odd
    return orjson.dumps(found)


def mutation(seed: int) -> tuple[str, bytes]:
    chance = random.Random(seed)
    name = chance.choice(SMALL)
    changes: list[Callable[[bytes, random.Random], bytes]] = [corrupted]
    if name.endswith(".json"):
        changes.append(with_odd_values)
    return name, chance.choice(changes)(body(name), chance)


@pytest.mark.parametrize("part", range(4))
async def test_mutated_bodies_are_accepted_or_rejected(part):
    """
    In part or as a whole; all metrics can be read and expired afterwards.
    """
    for seed in range(part * 250, part * 250 + 250):
        await push_and_read(*mutation(seed))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
async def test_20000_mutated_bodies_are_accepted_or_rejected(part):
    """
    The same with more seeds.
    """
    for seed in range(1000 + part * 1000, 2000 + part * 1000):
        await push_and_read(*mutation(seed))


NAMES = sorted({*re.findall(r'"(\w+)":', "".join(body(name).decode() for name in SMALL if name.endswith(".json")))})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=30,
)


@given(st.sampled_from(list(OtlpSignal)), st.lists(JSON, max_size=3))
async def test_any_json_is_accepted_or_rejected(signal, parts):
    """
    With anything in place of a list or an object.
    """
    name = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal.value]
    await push_and_read(f"x.{signal.value}.json", orjson.dumps({name: parts}))


@given(st.sampled_from(list(OtlpSignal)), st.sampled_from(["pb", "json"]), st.binary(max_size=200))
async def test_any_bytes_are_accepted_or_rejected(signal, encoding, content):
    """
    No exception is raised.
    """
    await push_and_read(f"x.{signal.value}.{encoding}", content)


async def test_a_malformed_span_does_not_affect_the_others():
    """
    The response has the number of rejected ones.
    """
    ingest = Ingest()
    found = orjson.loads(traces(request(), request(), operation()))
    scopes = found["resourceSpans"][0]["scopeSpans"]
    scopes[0]["spans"][0]["startTimeUnixNano"] = "soon"
    scopes[2]["spans"][0]["traceId"] = "no hex"
    response = await ingest.push("x.traces.json", orjson.dumps(found))

    assert response.status == 200
    assert orjson.loads(response.body) == {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "2 are malformed"}}
    assert ingest.values("vendure_api_requests_total") == {
        'vendure_api_requests_total{endpoint="/shop-api",method="POST",status="200"}': 1
    }


async def test_a_duplicate_body_is_counted_once():
    """
    An exporter that received no response sends it again; five minutes later it counts as a new one.
    """
    ingest = Ingest()
    bodies = {"x.traces.json": traces(request()), "x.metrics.json": metrics(), "x.logs.json": logs((9, "hello"))}
    for name, content in bodies.items():
        assert await ingest.push(name, content) == await ingest.push(name, content)
    assert len(ingest.lines.lines) == 1
    assert ingest.meters.value(BODIES, signal="logs", outcome="duplicate") == 1
    assert ingest.values("vendure_spans_total") == {'vendure_spans_total{role="server"}': 1}

    ingest.clock.advance(DUPLICATE_SECONDS + 1)
    await ingest.push("x.logs.json", bodies["x.logs.json"])
    assert len(ingest.lines.lines) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.traces.json", b""),
        ("x.traces.json", b"{"),
        ("x.traces.json", b"[]"),
        ("x.metrics.json", b'{"resourceMetrics":1}'),
        ("x.logs.pb", b"\xff"),
    ],
)
async def test_an_undecodable_body_is_rejected_in_its_own_encoding(name, content):
    """
    400 with google.rpc.Status: exporters do not retry it.
    """
    response = await Ingest().push(name, content)

    assert response.status == 400
    if name.endswith(".json"):
        assert orjson.loads(response.body)["code"] == 3
    else:
        assert response.body.startswith(b"\x08\x03\x12")
