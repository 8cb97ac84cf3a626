"""Bodies as others write them: names in either case, enumerations as words, old SDKs; what is not read is counted."""

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

from tests.captured import Intake, body, files
from tests.telemetry import START, attributes, logs, metrics, operation, request, traces
from toban.core.log_line import LogLevel
from toban.ingest.metric_families import ITEMS, REJECTED
from toban.ingest.otlp_model import OtlpSignal

JSONS = [path.name for path in files() if path.suffix == ".json"]


def renamed(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON whose fields have other names."""
    if isinstance(value, dict):
        return {change(key): renamed(inner, change) for key, inner in value.items()}
    return [renamed(inner, change) for inner in value] if isinstance(value, list) else value


def snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def of_an_old_sdk(name: str) -> str:
    old = {scope: scope.replace("scope", "instrumentationLibrary") for scope in ("scopeSpans", "scopeMetrics")}
    return {**old, "scopeLogs": "instrumentationLibraryLogs", "scope": "instrumentationLibrary"}.get(name, name)


async def seen(name: str, content: bytes) -> tuple[dict[str, float], list[object], int]:
    """Return what a body came to: numbers, lines, and how many items were rejected."""
    intake = Intake()
    answer = await intake.push(name, content)
    assert answer.status == 200
    return intake.numbers(), list(intake.lines.lines), rejected(intake)


def rejected(intake: Intake) -> int:
    return round(sum(values[0] for family, _, values in intake.meters.series() if family == REJECTED))


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize(
    "change", [snake, of_an_old_sdk, lambda name: snake(of_an_old_sdk(name))], ids=["snake", "old", "both"]
)
async def test_a_body_means_the_same_by_whichever_names(name, change):
    """
    What a real shop sent, with fields in snake_case and of before 0.19: the same numbers and lines, nothing dropped.
    """
    content = body(name)
    other = orjson.dumps(renamed(orjson.loads(content), change))
    assert other != content

    assert await seen(name, other) == await seen(name, content)


STEPS = [f"{word}{step}" for word in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL") for step in ("", 2, 3, 4)]
WORDS = {
    "kind": ("SPAN_KIND_", ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")),
    "code": ("STATUS_CODE_", ("UNSET", "OK", "ERROR")),
    "aggregationTemporality": ("AGGREGATION_TEMPORALITY_", ("UNSPECIFIED", "DELTA", "CUMULATIVE")),
    "severityNumber": ("SEVERITY_NUMBER_", ("UNSPECIFIED", *STEPS)),
}


def word_of(key: str, number: int) -> str:
    prefix, words = WORDS[key]
    return prefix + words[number]


def worded(value: Any, written: Callable[[str, int], object]) -> Any:
    if isinstance(value, dict):
        return {
            key: written(key, inner) if key in WORDS and isinstance(inner, int) else worded(inner, written)
            for key, inner in value.items()
        }
    return [worded(inner, written) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize("written", [word_of, lambda _, number: str(number)], ids=["word", "text"])
async def test_an_enumeration_means_the_same_as_number_and_as_word(name, written):
    """
    Kind, status, severity, temporality: as protobuf's JSON may have them.
    """
    content = body(name)
    assert await seen(name, orjson.dumps(worded(orjson.loads(content), written))) == await seen(name, content)


@pytest.mark.parametrize("delta", [1, "1", "AGGREGATION_TEMPORALITY_DELTA"])
async def test_differences_are_added_up_however_they_are_called(delta):
    """
    5 and then 7 are 12, not 7.
    """
    intake = Intake()
    for value in (5, 7):
        point = {"asDouble": value, "attributes": []}
        total = {"isMonotonic": True, "aggregationTemporality": delta, "dataPoints": [point]}
        await intake.push("x.metrics.json", metrics({"name": "m", "sum": total}))
    assert intake.numbers("m_total") == {'m_total{instance="m1",job="vendure"}': 12}


@pytest.mark.parametrize(
    "told", [{}, {"aggregationTemporality": 0}, {"aggregationTemporality": "X"}, {"aggregationTemporality": 3}]
)
@pytest.mark.parametrize("sort", ["sum", "histogram"])
async def test_what_may_be_a_total_or_a_difference_is_rejected(sort, told):
    """
    As Prometheus rejects it.
    """
    intake = Intake()
    points = [{"asInt": 1, "bucketCounts": ["1"], "count": 1}] * 2
    answer = await intake.push("x.metrics.json", metrics({"name": "m", sort: {"dataPoints": points, **told}}))

    assert b'"rejectedDataPoints":"2"' in answer.body
    assert intake.meters.value(REJECTED, signal="metrics", reason="temporality") == 2


@pytest.mark.parametrize(
    ("told", "level"),
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
async def test_a_severity_counts_as_number_as_word_and_as_text(told, level):
    """
    A number that is given says more than a text.
    """
    intake = Intake()
    record = {"timeUnixNano": str(START), "body": {"stringValue": "x"}, **told}
    await intake.push("x.logs.json", orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))

    (line,) = intake.lines.lines
    assert line.level is level


async def test_a_severity_that_has_no_level_is_kept_as_it_was_told():
    """
    Nothing is lost of what the source said.
    """
    intake = Intake()
    record = {"timeUnixNano": str(START), "severityText": "odd", "body": {"stringValue": "x"}}
    await intake.push("x.logs.json", orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}))
    assert intake.lines.lines[0].facts == {"severityText": "odd"}


@pytest.mark.parametrize("odd", [{"kind": "server"}, {"kind": 9}, {"status": {"code": "BAD"}}, {"status": {"code": 7}}])
async def test_a_span_of_an_unknown_kind_or_status_is_rejected(odd):
    """
    It is not taken for one of no kind.
    """
    found = orjson.loads(traces(request(), request()))
    found["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= odd
    assert (await seen("x.traces.json", orjson.dumps(found)))[2] == 1


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("x.traces.json", logs((9, "x")), "send resourceLogs to /v1/logs"),
        ("x.logs.json", metrics(), "send resourceMetrics to /v1/metrics"),
        ("x.metrics.json", b'{"resource_spans":[]}', "send resourceSpans to /v1/traces"),
        ("x.metrics.json", b'{"metrics":[]}', "an object with a list resourceMetrics was expected"),
    ],
)
async def test_a_body_of_which_nothing_would_be_read_is_refused(name, content, remedy):
    """
    200 would say that it was.
    """
    answer = await Intake().push(name, content)
    assert answer.status == 400
    assert remedy in answer.body.decode()


async def test_protobuf_of_an_old_sdk_is_read():
    """
    From 0.15 to 0.18 the scopes stood in another field; before 0.9 points had labels: these are rejected by count.
    """
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    scope.spans.add(name="x", start_time_unix_nano=START, end_time_unix_nano=START + 1)
    inside = message.resource_spans[0].scope_spans[0].SerializeToString()
    part = b"\xc2\x3e" + bytes([len(inside)]) + inside
    old = b"\x0a" + bytes([len(part)]) + part
    assert not ExportTraceServiceRequest.FromString(old).resource_spans[0].scope_spans
    intake = Intake()
    await intake.push("x.traces.pb", old)
    assert intake.meters.value(ITEMS, signal="traces") == 1

    measured = ExportMetricsServiceRequest()
    measured.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=5)
    labels = b"\x0a\x06\x0a\x01k\x12\x01v"
    point = measured.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    point.MergeFromString(labels)
    await intake.push("x.metrics.pb", measured.SerializeToString())
    assert intake.meters.value(REJECTED, signal="metrics", reason="malformed") == 1


def items(signal: OtlpSignal, found: Any) -> int:
    """Count what a body holds, by itself: spans, records, and points (a metric that can't be read is one)."""
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


SORTS = ("gauge", "sum", "histogram", "summary", "exponentialHistogram")


def points(metric: Any) -> int:
    if not isinstance(metric, dict):
        return 1
    sorts = [metric[sort] for sort in SORTS if metric.get(sort) is not None]
    if len(sorts) == 1 and not isinstance(sorts[0], dict) and set(SORTS[:3]) & metric.keys():
        return 1
    return sum(len(lists(value.get("dataPoints"))) for value in metric.values() if isinstance(value, dict))


ODD: list[Any] = [None, True, -1, 2**63, 1.5, "", "x", "NaN", [], {}, [[]], [1, {}], {"a": 1}, 0, word_of("code", 2)]


def twisted(found: Any, chance: random.Random, deep: int) -> None:
    """Put some values where they don't belong, no higher than items stand."""
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
async def test_what_comes_in_is_accepted_or_rejected(signal, chance):
    """
    Items in = accepted + rejected with a reason, whatever stands in them; the answer says the same.
    """
    intake = Intake()
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
    twisted(found, chance, 6)
    answer = await intake.push(f"x.{signal.value}.json", orjson.dumps(found))

    assert answer.status == 200
    refused = rejected(intake)
    assert intake.meters.value(ITEMS, signal=signal.value) + refused == items(signal, found)
    partial = orjson.loads(answer.body).get("partialSuccess", {})
    assert sum(int(value) for key, value in partial.items() if key.startswith("rejected")) == refused
