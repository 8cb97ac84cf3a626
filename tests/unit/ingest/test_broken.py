"""Bodies that are wrong, a little or altogether, cost their sender an answer and nobody else anything."""

import random
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.captured import Intake, body, files
from tests.telemetry import logs, metrics, operation, request, traces
from toban.ingest.metric_families import BODIES
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import REMEMBERED

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


async def answered(name: str, content: bytes) -> None:
    """Push a body and see that it is answered as it must be, and that what is counted can be read."""
    intake = Intake()
    answer = await intake.push(name, content)
    assert answer.status in {200, 400}
    for _ in range(2):
        intake.clock.advance(400)
        await intake.taking._tidy()
        intake.pushed.read(1, {})
        intake.meters.read(1, {})


def bitten(content: bytes, chance: random.Random) -> bytes:
    """Return a body with some bytes changed, left out, doubled or cut off."""
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


def twisted(content: bytes, chance: random.Random) -> bytes:
    """Return JSON of the same form with some values that don't belong there."""
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
    changes: list[Callable[[bytes, random.Random], bytes]] = [bitten]
    if name.endswith(".json"):
        changes.append(twisted)
    return name, chance.choice(changes)(body(name), chance)


@pytest.mark.parametrize("part", range(4))
async def test_mutated_bodies_crash_nothing(part):
    """
    Each is taken in, in part, or refused; everything can be read and aged afterwards.
    """
    for seed in range(part * 250, part * 250 + 250):
        await answered(*mutation(seed))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
async def test_20000_mutated_bodies_crash_nothing(part):
    """
    The long form of the same.
    """
    for seed in range(1000 + part * 1000, 2000 + part * 1000):
        await answered(*mutation(seed))


NAMES = sorted({*re.findall(r'"(\w+)":', "".join(body(name).decode() for name in SMALL if name.endswith(".json")))})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=30,
)


@given(st.sampled_from(list(OtlpSignal)), st.lists(JSON, max_size=3))
async def test_any_json_is_answered(signal, parts):
    """
    Where a list or an object was expected, there may be anything.
    """
    name = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal.value]
    await answered(f"x.{signal.value}.json", orjson.dumps({name: parts}))


@given(st.sampled_from(list(OtlpSignal)), st.sampled_from(["pb", "json"]), st.binary(max_size=200))
async def test_any_bytes_are_answered(signal, encoding, content):
    """
    Garbage is refused, not guessed at.
    """
    await answered(f"x.{signal.value}.{encoding}", content)


async def test_one_span_that_can_not_be_read_leaves_the_others():
    """
    The answer says how many were left out.
    """
    intake = Intake()
    found = orjson.loads(traces(request(), request(), operation()))
    scopes = found["resourceSpans"][0]["scopeSpans"]
    scopes[0]["spans"][0]["startTimeUnixNano"] = "soon"
    scopes[2]["spans"][0]["traceId"] = "no hex"
    answer = await intake.push("x.traces.json", orjson.dumps(found))

    assert answer.status == 200
    assert orjson.loads(answer.body) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "2 could not be read"}
    }
    assert intake.numbers("vendure_api_requests_total") == {
        'vendure_api_requests_total{endpoint="/shop-api",method="POST",status="200"}': 1
    }


async def test_a_body_that_comes_twice_counts_once():
    """
    Its sender did not hear the answer and sent it again; five minutes later it would be another.
    """
    intake = Intake()
    bodies = {"x.traces.json": traces(request()), "x.metrics.json": metrics(), "x.logs.json": logs((9, "hello"))}
    for name, content in bodies.items():
        assert await intake.push(name, content) == await intake.push(name, content)
    assert len(intake.lines.lines) == 1
    assert intake.meters.value(BODIES, signal="logs", outcome="repeated") == 1
    assert intake.numbers("vendure_spans_total") == {'vendure_spans_total{role="server"}': 1}

    intake.clock.advance(REMEMBERED + 1)
    await intake.push("x.logs.json", bodies["x.logs.json"])
    assert len(intake.lines.lines) == 2


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
async def test_what_is_not_what_it_says_is_refused_in_its_own_encoding(name, content):
    """
    400 with google.rpc.Status, which a sender does not repeat.
    """
    answer = await Intake().push(name, content)

    assert answer.status == 400
    if name.endswith(".json"):
        assert orjson.loads(answer.body)["code"] == 3
    else:
        assert answer.body.startswith(b"\x08\x03\x12")
