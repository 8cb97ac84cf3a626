"""Random requests to every endpoint: toban responds, stays small and fast, and restarts on what was stored."""

import copy
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import cramjam
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.attacks import QUIET, responds
from tests.program import Program, toban
from toban.core.labels import Labels
from toban.remote.remote_write_model import RemoteSample
from toban.remote.remote_write_protobuf import encode

MB = 1_000_000
GROWTH = 30 * MB
"""How many bytes toban may grow by."""

ODD: list[Any] = [
    *[None, True, False, 0, -1, 1, 0.1, 1e308, -1e-308, float("nan"), float("inf"), 2**63, -(2**63) - 1, 2**64, 10**30],
    *[
        "",
        " ",
        "\0",
        "\ud800",
        "\udfff\ud800",
        "é",
        "チーム",
        "𝄞",
        "\u202e",
        "\x1b[2J",
        "\r\n",
        "a\nb",
        '"',
        "\\",
        "{{",
        "{{.x}}",
    ],
    *["-0", "NaN", "+Inf", "1e999", "0x10", "1_000", "0123", "true", "null", "no"],
    *["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z"],
    *["1970-01-01", "-1", "99999999999999999999", "now", "5m", "1y", "100000d", "-5m"],
    *[
        "(" * 2_000,
        "a" * 10_000,
        "[a-z]*" * 300,
        "(a|b|ab)*c" * 100,
        "(x{1000}){1000}",
        "$1",
        "%[2]s",
        "../../etc/passwd",
    ],
    *[[], {}, [[]], [None], {"a": {}}, [{}] * 100, {"": ""}, {"__name__": "x"}, {"a.b": "c", "a_b": "d"}],
]
KNOWN: dict[str, list[bytes]] = {
    "silence": [
        b'{"matchers": ["a=b"], "created_by": "\\ud800", "comment": "c", "duration": "1h"}',
        b"[" * 50_000,
        b'{"a":' * 5_000,
    ],
    "silences": [b'{"matchers": [{"name": "service.name", "value": "x", "isRegex": false}], "startsAt": "x"}'],
    "alerts": [b'[{"labels": {"a": "\\ud800"}}]', b'[{"labels": {"\xff": "x"}}]', b"\xef\xbb\xbf[]"],
    "events": [
        b'{"type": "payment_failed", "order": "A", "method": "x", "at": "9999-12-31T23:59:59-14:00"}',
        b"\n\n{}\n",
    ],
    "traces": [b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b" * 5_000, b"\x0a\x7f" * 2_000],
    "query": [
        ("query=" + quote("#\r1" + "+1" * 6_500)).encode(),
        b"query=up[1y:100ms]",
        b"query=%FF&time=%00",
        b"query=up&time=9223372036854775808",
        b"query=up&limit=" + b"9" * 5_000,
    ],
    "query_range": [b"query=up&start=0&end=1e300&step=15", b"query=up&start=-9223372036854775809&end=0&step=15"],
    "series": [b"match[]=up&start=1e300"],
}
"""What ended toban, made it answer 500, or could have."""


class FuzzedEndpoint:
    """What an interface takes, and how one of its requests is spoilt."""

    def __init__(self, path: str, kind: str, valid: Callable[[random.Random], Any], **headers: str) -> None:
        self.path = path
        self.headers = {"content-type": kind, **headers}
        self.valid = valid

    def request(self, chance: random.Random) -> bytes:
        """Return a body: valid for some part, odd in others."""
        spoilt = self.valid(chance)
        for _ in range(chance.choice([0, 1, 1, 2, 5])):
            if not isinstance(spoilt, bytes):
                spoilt = odd(spoilt, chance)
        body = spoilt if isinstance(spoilt, bytes) else self.written(spoilt)
        return cut(body, chance) if chance.random() < 0.3 else body

    def written(self, body: Any) -> bytes:
        """Write it as this interface wants it."""
        if self.headers["content-type"].endswith("urlencoded"):
            pairs = body.items() if isinstance(body, dict) else [("x", body)]
            return urlencode({str(key): str(it) for key, it in pairs}, errors="surrogatepass").encode()
        return json.dumps(body).encode()


def odd(body: Any, chance: random.Random) -> Any:
    """Return a copy in which one place holds something else, is missing, or is there twice."""
    copied = copy.deepcopy(body)
    place = copied
    while isinstance(place, dict | list) and place:
        key = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        match chance.randrange(5):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                name = chance.choice(ODD)
                place[name if isinstance(name, str) else str(name)] = place.pop(key)
            case 2 if isinstance(place, list):
                place.extend([place[key]] * chance.choice([1, 200]))
            case _:
                place[key] = chance.choice(ODD)
        return copied
    return chance.choice(ODD)


def cut(body: bytes, chance: random.Random) -> bytes:
    """Return the bytes with a few of them changed, left out, or repeated."""
    changed = bytearray(body)
    for _ in range(chance.choice([1, 2, 10])):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place : place + chance.choice([1, 10, len(changed)])]
            case 2:
                changed[place:place] = changed[place : place + 20] * chance.choice([1, 50])
            case _:
                changed[place:place] = chance.randbytes(chance.choice([1, 8]))
    return bytes(changed)


def binary(message: type[Message], valid: Callable[[random.Random], Any]) -> Callable[[random.Random], bytes]:
    """Return what writes a valid body as protobuf, with bytes changed."""
    return lambda chance: cut(ParseDict(valid(chance), message()).SerializeToString(), chance)


def at(chance: random.Random) -> str:
    return str(time.time_ns() - chance.choice([0, 10**9, 10**12, 10**15]))


def attributes(chance: random.Random) -> list[Any]:
    value = chance.choice(
        [{"stringValue": "x"}, {"intValue": "5"}, {"boolValue": True}, {"arrayValue": {"values": []}}]
    )
    names = ["service.name", "http.route", "http.status_code", "user.id", "exception.stacktrace", "a.b", "a_b"]
    return [{"key": chance.choice(names), "value": value} for _ in range(chance.randrange(4))]


def traces(chance: random.Random) -> Any:
    span = {
        "traceId": f"{chance.getrandbits(128):032x}",
        "spanId": f"{chance.getrandbits(64):016x}",
        "name": chance.choice(["POST /shop-api", "query Search", "pg.query:SELECT"]),
        "kind": chance.randrange(6),
        "startTimeUnixNano": at(chance),
        "endTimeUnixNano": at(chance),
        "attributes": attributes(chance),
        "events": [{"name": "exception", "timeUnixNano": at(chance), "attributes": attributes(chance)}],
        "status": {"code": chance.randrange(3)},
    }
    scopes = [{"scope": {"name": "@vendure/core"}, "spans": [span]}]
    return {"resourceSpans": [{"resource": {"attributes": attributes(chance)}, "scopeSpans": scopes}]}


def metrics(chance: random.Random) -> Any:
    point = {"timeUnixNano": at(chance), "startTimeUnixNano": at(chance), "attributes": attributes(chance)}
    number = {**point, "asDouble": chance.random()}
    buckets = {**point, "count": "3", "sum": 4.5, "bucketCounts": ["1", "2", "0"], "explicitBounds": [1, 2]}
    quantiles = {**point, "count": "1", "sum": 1, "quantileValues": [{"quantile": 0.5, "value": 1}]}
    wide = {**point, "count": "2", "scale": chance.choice([0, 3, 20]), "positive": {"offset": 1, "bucketCounts": ["2"]}}
    kind = chance.choice(
        [
            {"gauge": {"dataPoints": [number]}},
            {"sum": {"dataPoints": [number], "isMonotonic": True, "aggregationTemporality": chance.randrange(4)}},
            {"histogram": {"dataPoints": [buckets], "aggregationTemporality": chance.randrange(4)}},
            {"summary": {"dataPoints": [quantiles]}},
            {"exponentialHistogram": {"dataPoints": [wide], "aggregationTemporality": 2}},
        ]
    )
    scopes = [{"scope": {"name": "x"}, "metrics": [{"name": chance.choice(["a.b", "nodejs.x"]), "unit": "s", **kind}]}]
    return {"resourceMetrics": [{"resource": {"attributes": attributes(chance)}, "scopeMetrics": scopes}]}


def logs(chance: random.Random) -> Any:
    record = {
        "timeUnixNano": at(chance),
        "severityNumber": chance.randrange(25),
        "severityText": chance.choice(["ERROR", "warn", ""]),
        "body": {"stringValue": chance.choice(["out of stock", "Error: x\n    at y (z.js:1:2)", "{}"])},
        "attributes": attributes(chance),
    }
    scopes = [{"scope": {"name": "x"}, "logRecords": [record]}]
    return {"resourceLogs": [{"resource": {"attributes": attributes(chance)}, "scopeLogs": scopes}]}


def events(chance: random.Random) -> Any:
    return chance.choice(
        [
            {"type": "product_view", "product": "5", "customer": "7"},
            {"type": "activity", "customer": "7", "action": "login"},
            {"type": "rebate", "customer": "7", "amount": 5.5, "period": "2026-10"},
            {"type": "campaign", "campaign": "x", "discount": "1.10"},
            [{"type": "order", "total": 10, "currency": "USD", "id": "a"}],
            {"type": "payment_failed", "order": "A", "method": "card", "at": "2026-11-30T00:00:00Z"},
        ]
    )


def matcher(chance: random.Random) -> Any:
    name = chance.choice(["alertname", "severity", "service.name", "チーム"])
    return {"name": name, "value": "x.*", "isRegex": chance.random() < 0.5, "isEqual": chance.random() < 0.8}


def written_numbers(chance: random.Random) -> bytes:
    now = time.time_ns() // 10**6
    samples = [
        RemoteSample(
            Labels({"__name__": f"fuzz_{chance.randrange(20)}", "a": str(chance.randrange(5))}), now + step, step
        )
        for step in range(chance.randrange(5))
    ]
    raw = bytes(cramjam.snappy.decompress_raw(encode(samples)))
    return bytes(cramjam.snappy.compress_raw(cut(raw, chance))) if chance.random() < 0.7 else encode(samples)


def question(chance: random.Random) -> Any:
    parts = [
        "up",
        "sum(",
        ")",
        "rate(x[5m])",
        "[1y:100ms]",
        "1",
        "+",
        '{a=~"(a|b)*"}',
        "by (a)",
        "@ end()",
        "offset 1y",
    ]
    joined = " ".join(chance.choices(parts, k=chance.randint(1, 8)))
    return {
        "query": joined,
        "time": str(time.time()),
        "start": "0",
        "end": str(time.time()),
        "step": "15",
        "timeout": "1s",
    }


JSON, PROTOBUF, FORM = "application/json", "application/x-protobuf", "application/x-www-form-urlencoded"
SNAPPY = {"content-encoding": "snappy"}
DOORS = {
    "traces": FuzzedEndpoint("/v1/traces", PROTOBUF, binary(ExportTraceServiceRequest, traces)),
    "traces as JSON": FuzzedEndpoint("/v1/traces", JSON, traces),
    "metrics": FuzzedEndpoint("/v1/metrics", PROTOBUF, binary(ExportMetricsServiceRequest, metrics)),
    "metrics as JSON": FuzzedEndpoint("/v1/metrics", JSON, metrics),
    "logs": FuzzedEndpoint("/v1/logs", PROTOBUF, binary(ExportLogsServiceRequest, logs)),
    "logs as JSON": FuzzedEndpoint("/v1/logs", JSON, logs),
    "events": FuzzedEndpoint("/api/events", JSON, events),
    "write": FuzzedEndpoint("/api/v1/write", PROTOBUF, written_numbers, **SNAPPY),
    "query": FuzzedEndpoint("/api/v1/query", FORM, question),
    "query_range": FuzzedEndpoint("/api/v1/query_range", FORM, question),
    "series": FuzzedEndpoint(
        "/api/v1/series", FORM, lambda chance: {"match[]": '{a=~"x.*"}', "start": "0", "limit": "5"}
    ),
    "alerts": FuzzedEndpoint(
        "/api/v2/alerts",
        JSON,
        lambda chance: [
            {
                "labels": {"alertname": f"x{chance.randrange(50)}", "severity": "critical"},
                "annotations": {"summary": "{{ .x }}"},
                "startsAt": "2026-11-30T00:00:00Z",
                "endsAt": "2026-11-30T00:00:01Z",
                "generatorURL": "http://x/",
            }
        ],
    ),
    "silences": FuzzedEndpoint(
        "/api/v2/silences",
        JSON,
        lambda chance: {
            "matchers": [matcher(chance)],
            "startsAt": "2026-11-30T00:00:00Z",
            "endsAt": "2026-12-30T00:00:00Z",
            "createdBy": "ann",
            "comment": "tea",
        },
    ),
    "silence": FuzzedEndpoint(
        "/api/silences", JSON, lambda chance: {"matchers": ['a=~"x.*"'], "duration": "1h", "comment": "tea"}
    ),
    "acknowledge": FuzzedEndpoint(
        "/api/alerts/acknowledge", JSON, lambda chance: {"alert": f"x{chance.randrange(50)}", "by": "ann"}
    ),
    "uptimerobot": FuzzedEndpoint(
        "/hooks/uptimerobot",
        JSON,
        lambda chance: {"monitorID": f"{chance.randrange(20)}", "alertType": "1", "monitorFriendlyName": "shop"},
    ),
    "alertmanager": FuzzedEndpoint(
        "/hooks/alertmanager",
        JSON,
        lambda chance: {
            "version": "4",
            "status": "firing",
            "alerts": [{"status": "firing", "labels": {"alertname": f"x{chance.randrange(50)}"}, "annotations": {}}],
        },
    ),
}


@contextmanager
def health_polled(program: Program) -> Iterator[list[float]]:
    """Ask how the shop is again and again as long as the block lasts; the list holds the seconds of each answer."""
    took, stop = list[float](), threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            began = time.monotonic()
            program.get("/health")
            took.append(time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        stop.set()
        asking.join()


def posted(program: Program, endpoint: FuzzedEndpoint, bodies: list[bytes]) -> list[str]:
    """Post them one after the other, and return what was answered that should not have been."""
    wrong = []
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(program.url).port or 0, timeout=60)) as connection:
        for body in bodies:
            try:
                connection.request("POST", endpoint.path, body, endpoint.headers)
                with connection.getresponse() as response:
                    content = response.read()
                    if response.status >= 500 and response.status != 503:
                        wrong.append(f"{response.status} {content[:200]!r} to {body[:500]!r}")
            except (OSError, http.client.HTTPException) as error:
                wrong.append(f"{error!r} to {body[:500]!r}")
                connection.close()
    return wrong


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("seed", "many"), [(0, 40), pytest.param(1, 10_000, marks=pytest.mark.soak)])
def test_toban_stays_healthy_and_restarts_after_any_input(tmp_path: Path, seed: int, many: int):
    """
    No answer of 500, no end, no growth; every page answers afterwards, and after a start on the same folder.
    """
    (tmp_path / "toban.yaml").write_text(QUIET)
    wrong = {}
    # A process of its own: its memory is measured.
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml"), fresh=True) as program:
        for name, endpoint in DOORS.items():
            chance = random.Random(f"{seed} {name}")
            # What it keeps of these, as series, alerts and silences, is no growth.
            posted(program, endpoint, [endpoint.request(chance) for _ in range(max(20, many // 10))])
        before = program.memory()
        for name, endpoint in DOORS.items():
            chance = random.Random(f"{seed} {name}")
            bodies = [*KNOWN.get(name, ()), *(endpoint.request(chance) for _ in range(many))]
            began, size = time.monotonic(), program.memory()
            with health_polled(program) as took:
                if found := posted(program, endpoint, bodies):
                    wrong[name] = found[:5]
            slow = max(took, default=0) if len(took) < 100 else sorted(took)[len(took) * 99 // 100]
            seconds, grown = time.monotonic() - began, (program.memory() - size) / MB
            print(f"{name}: {len(bodies)} in {seconds:.0f} s, {grown:+.1f} MB, /health {slow:.3f} s")
        responds(program)
        grown = program.memory() - before
        assert program.stop() == 0
    assert not wrong
    assert not [line for line in program.logged if "Traceback" in line]
    assert grown < GROWTH
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        responds(program)
        assert program.json("/api/quarantine")["rows"] == []
