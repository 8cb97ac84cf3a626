"""Variants of OTLP: field names in either case, enumerations as names, old SDKs; rejected items are counted."""

import random
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.captured_telemetry import Ingest, body, files
from tests.telemetry import START, attributes, logs, metrics, operation, request, traces
from toban.core.log_line import LogLevel
from toban.ingest.metric_families import ITEMS, REJECTED
from toban.ingest.otlp_model import OtlpSignal

JSONS = [path.name for path in files() if path.suffix == ".json"]


def renamed(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with renamed fields."""
    if isinstance(value, dict):
        return {change(key): renamed(inner, change) for key, inner in value.items()}
    return [renamed(inner, change) for inner in value] if isinstance(value, list) else value


def snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def old_sdk(name: str) -> str:
    old = {scope: scope.replace("scope", "instrumentationLibrary") for scope in ("scopeSpans", "scopeMetrics")}
    return {**old, "scopeLogs": "instrumentationLibraryLogs", "scope": "instrumentationLibrary"}.get(name, name)


async def result(name: str, content: bytes) -> tuple[dict[str, float], list[object], int]:
    """Return the metrics and lines of a body, and how many items were rejected."""
    ingest = Ingest()
    response = await ingest.push(name, content)
    assert response.status == 200
    return ingest.values(), list(ingest.lines.lines), rejected(ingest)


def rejected(ingest: Ingest) -> int:
    return round(sum(values[0] for family, _, values in ingest.meters.series() if family == REJECTED))


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize("change", [snake, old_sdk, lambda name: snake(old_sdk(name))], ids=["snake", "old", "both"])
async def test_field_names_of_either_case_and_of_old_sdks_are_read(name, change):
    """
    Captured bodies with fields in snake_case and from before 0.19 give the same metrics and lines.
    """
    content = body(name)
    other = orjson.dumps(renamed(orjson.loads(content), change))
    assert other != content

    assert await result(name, other) == await result(name, content)


STEPS = [f"{word}{step}" for word in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL") for step in ("", 2, 3, 4)]
ENUMS = {
    "kind": ("SPAN_KIND_", ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")),
    "code": ("STATUS_CODE_", ("UNSET", "OK", "ERROR")),
    "aggregationTemporality": ("AGGREGATION_TEMPORALITY_", ("UNSPECIFIED", "DELTA", "CUMULATIVE")),
    "severityNumber": ("SEVERITY_NUMBER_", ("UNSPECIFIED", *STEPS)),
}


def enum_name(key: str, number: int) -> str:
    prefix, words = ENUMS[key]
    return prefix + words[number]


def with_enums(value: Any, encode: Callable[[str, int], object]) -> Any:
    if isinstance(value, dict):
        return {
            key: encode(key, inner) if key in ENUMS and isinstance(inner, int) else with_enums(inner, encode)
            for key, inner in value.items()
        }
    return [with_enums(inner, encode) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize("encode", [enum_name, lambda _, number: str(number)], ids=["word", "text"])
async def test_enumerations_are_read_as_numbers_and_as_names(name, encode):
    """
    Kind, status, severity, temporality, as in protobuf's JSON.
    """
    content = body(name)
    assert await result(name, orjson.dumps(with_enums(orjson.loads(content), encode))) == await result(name, content)


@pytest.mark.parametrize("delta", [1, "1", "AGGREGATION_TEMPORALITY_DELTA"])
async def test_deltas_are_added_in_every_encoding_of_the_temporality(delta):
    """
    5 and then 7 are 12, not 7.
    """
    ingest = Ingest()
    for value in (5, 7):
        point = {"asDouble": value, "attributes": []}
        total = {"isMonotonic": True, "aggregationTemporality": delta, "dataPoints": [point]}
        await ingest.push("x.metrics.json", metrics({"name": "m", "sum": total}))
    assert ingest.values("m_total") == {'m_total{instance="m1",job="vendure"}': 12}


@pytest.mark.parametrize(
    "fields", [{}, {"aggregationTemporality": 0}, {"aggregationTemporality": "X"}, {"aggregationTemporality": 3}]
)
@pytest.mark.parametrize("data_type", ["sum", "histogram"])
async def test_points_without_temporality_are_rejected(data_type, fields):
    """
    As Prometheus rejects them.
    """
    ingest = Ingest()
    points = [{"asInt": 1, "bucketCounts": ["1"], "count": 1}] * 2
    response = await ingest.push("x.metrics.json", metrics({"name": "m", data_type: {"dataPoints": points, **fields}}))

    assert b'"rejectedDataPoints":"2"' in response.body
    assert ingest.meters.value(REJECTED, signal="metrics", reason="temporality") == 2


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"severityNumber": "SEVERITY_NUMBER_ERROR"}, LogLevel.ERROR),
        ({"severityNumber": "17"}, LogLevel.ERROR),
        ({"severityText": "ERROR"}, LogLevel.ERROR),
        ({"severityText": "Warning"}, LogLevel.WARN),
        ({"severityText": "FATAL3", "severityNumber": 0}, LogLevel.ERROR),
        ({"severity_text": "crit", "severity_number": "SEVERITY_NUMBER_UNSPECIFIED"}, LogLevel.ERROR),
        ({"severityText": "debug"}, LogLevel.DEBUG),
        ({"severityText": "verbose"}, LogLevel.VERBOSE),
        ({"severityText": "error", "severityNumber": 9}, LogLevel.INFO),
        ({"severityNumber": "error"}, LogLevel.ERROR),
        ({"severityText": "odd"}, LogLevel.INFO),
        ({}, LogLevel.INFO),
    ],
)
async def test_the_level_comes_from_the_severity_number_or_text(fields, level):
    """
    The number takes precedence.
    """
    ingest = Ingest()
    record = {"timeUnixNano": str(START), "body": {"stringValue": "x"}, **fields}
    await ingest.push("x.logs.json", orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))

    (line,) = ingest.lines.lines
    assert line.level is level


async def test_an_unknown_severity_text_is_kept():
    """
    As a fact of the line.
    """
    ingest = Ingest()
    record = {"timeUnixNano": str(START), "severityText": "odd", "body": {"stringValue": "x"}}
    await ingest.push("x.logs.json", orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    assert ingest.lines.lines[0].facts == {"severityText": "odd"}


@pytest.mark.parametrize("odd", [{"kind": "server"}, {"kind": 9}, {"status": {"code": "BAD"}}, {"status": {"code": 7}}])
async def test_a_span_of_an_unknown_kind_or_status_is_rejected(odd):
    """
    It does not count as one without kind.
    """
    found = orjson.loads(traces(request(), request()))
    found["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= odd
    assert (await result("x.traces.json", orjson.dumps(found)))[2] == 1


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("x.traces.json", logs((9, "x")), "send resourceLogs to /v1/logs"),
        ("x.logs.json", metrics(), "send resourceMetrics to /v1/metrics"),
        ("x.metrics.json", b'{"resource_spans":[]}', "send resourceSpans to /v1/traces"),
        ("x.metrics.json", b'{"metrics":[]}', "an object with a list resourceMetrics was expected"),
    ],
)
async def test_a_body_of_another_signal_is_rejected(name, content, remedy):
    """
    The error names the right endpoint.
    """
    response = await Ingest().push(name, content)
    assert response.status == 400
    assert remedy in response.body.decode()


async def test_protobuf_old_sdk_is_read():
    """
    From 0.15 to 0.18 scopes were in another field; points from before 0.9, which have labels, are rejected.
    """
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    scope.spans.add(name="x", start_time_unix_nano=START, end_time_unix_nano=START + 1)
    inside = message.resource_spans[0].scope_spans[0].SerializeToString()
    part = b"\xc2\x3e" + bytes([len(inside)]) + inside
    old = b"\x0a" + bytes([len(part)]) + part
    assert not ExportTraceServiceRequest.FromString(old).resource_spans[0].scope_spans
    ingest = Ingest()
    await ingest.push("x.traces.pb", old)
    assert ingest.meters.value(ITEMS, signal="traces") == 1

    measured = ExportMetricsServiceRequest()
    measured.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=5)
    labels = b"\x0a\x06\x0a\x01k\x12\x01v"
    point = measured.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    point.MergeFromString(labels)
    await ingest.push("x.metrics.pb", measured.SerializeToString())
    assert ingest.meters.value(REJECTED, signal="metrics", reason="malformed") == 1


def items(signal: OtlpSignal, found: Any) -> int:
    """Count the items of a body: spans, records, and points (an invalid metric counts as one)."""
    many = 0
    for part in found[{"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}[signal.value]]:
        scopes = part.get({"traces": "scopeSpans", "metrics": "scopeMetrics", "logs": "scopeLogs"}[signal.value])
        for scope in lists(scopes):
            there = (
                lists(scope.get({"traces": "spans", "metrics": "metrics", "logs": "logRecords"}[signal.value]))
                if isinstance(scope, dict)
                else []
            )
            many += sum(map(points, there)) if signal is OtlpSignal.METRICS else len(there)
    return many


def lists(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


DATA_TYPES = ("gauge", "sum", "histogram", "summary", "exponentialHistogram")


def points(metric: Any) -> int:
    if not isinstance(metric, dict):
        return 1
    data = [metric[data_type] for data_type in DATA_TYPES if metric.get(data_type) is not None]
    if len(data) == 1 and not isinstance(data[0], dict) and set(DATA_TYPES[:3]) & metric.keys():
        return 1
    return sum(len(lists(value.get("dataPoints"))) for value in metric.values() if isinstance(value, dict))


ODD: list[Any] = [None, True, -1, 2**63, 1.5, "", "x", "NaN", [], {}, [[]], [1, {}], {"a": 1}, 0, enum_name("code", 2)]


def put_odd_values(found: Any, chance: random.Random, deep: int) -> None:
    """Replace some values by others, from a level of nesting on."""
    places: list[tuple[Any, Any]] = []

    def visit(value: Any, level: int) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if level >= deep:
                places.append((value, key))
            if isinstance(inner, dict | list):
                visit(inner, level + 1)

    visit(found, 0)
    for parent, key in chance.sample(places, min(len(places), chance.randint(1, 8))):
        parent[key] = chance.choice(ODD)


@given(st.sampled_from(list(OtlpSignal)), st.randoms(use_true_random=False))
@settings(max_examples=200)
async def test_every_item_is_accepted_or_rejected(signal, chance):
    """
    The metrics add up to the items in the body, and the response has the same numbers.
    """
    ingest = Ingest()
    made = {
        OtlpSignal.TRACES: lambda: traces(request(), operation(), request(), service="vendure"),
        OtlpSignal.LOGS: lambda: logs((9, "a"), (17, "b"), (0, "c")),
        OtlpSignal.METRICS: lambda: metrics(
            {"name": "a", "gauge": {"dataPoints": [{"asInt": 1}, {"asInt": 2, "attributes": attributes({"x": "y"})}]}},
            {
                "name": "b",
                "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [{"asInt": "1"}] * 3},
            },
            {
                "name": "c",
                "histogram": {"aggregationTemporality": 2, "dataPoints": [{"bucketCounts": [1], "count": 1}]},
            },
            {"name": "d", "summary": {"dataPoints": [{}, {}]}},
        ),
    }
    found = orjson.loads(made[signal]())
    put_odd_values(found, chance, 6)
    response = await ingest.push(f"x.{signal.value}.json", orjson.dumps(found))

    assert response.status == 200
    rejected_items = rejected(ingest)
    assert ingest.meters.value(ITEMS, signal=signal.value) + rejected_items == items(signal, found)
    partial = orjson.loads(response.body).get("partialSuccess", {})
    assert sum(int(value) for key, value in partial.items() if key.startswith("rejected")) == rejected_items
