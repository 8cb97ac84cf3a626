"""Invalid text is repaired and affects nothing else."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.captured_telemetry import Ingest
from tests.telemetry import START, attributes, logs, metrics, request, traces
from toban.ingest.business_events import parse_events
from toban.ingest.metric_families import ITEMS, REPAIRED
from toban.ingest.utf8_repair import repair_at_once, repaired_json

CUT = "cut \ud83d"
"""A text that JavaScript cut within an emoji."""


def with_bad_text(content: bytes) -> bytes:
    """Return a body with half an emoji for CUT, as JSON.stringify encodes it."""
    return content.replace(b"CUT", rb"\ud83d")


@pytest.mark.parametrize(
    ("name", "content", "many"),
    [
        ("x.logs.json", logs((9, "good"), (17, "CUT"), (9, "good too")), 3),
        ("x.traces.json", traces(request(), request(user_agent__original="CUT"), request()), 3),
        ("x.metrics.json", metrics(*({"name": n, "gauge": {"dataPoints": [{"asInt": 1}]}} for n in ("a", "CUT"))), 2),
    ],
)
async def test_half_an_emoji_in_json_does_not_affect_the_rest(name, content, many):
    """
    It becomes U+FFFD, and is counted.
    """
    ingest = Ingest()
    response = await ingest.push(name, with_bad_text(content))

    assert (response.status, response.body) == (200, b"{}")
    signal = name.split(".")[1]
    assert ingest.meters.value(ITEMS, signal=signal) == many
    assert ingest.meters.value(REPAIRED, signal=signal) == 1
    if signal == "logs":
        assert [line.message for line in ingest.lines.lines] == ["good", "\ufffd", "good too"]


async def test_invalid_utf8_in_json_does_not_affect_the_rest():
    """
    As from a program that truncates bytes.
    """
    ingest = Ingest()
    await ingest.push("x.logs.json", logs((9, "good"), (9, "CUT")).replace(b"CUT", "注文".encode()[:-1]))

    assert [line.message for line in ingest.lines.lines] == ["good", "注\ufffd"]


def protobuf_bodies() -> list[tuple[str, bytes]]:
    logged = ExportLogsServiceRequest()
    scope = logged.resource_logs.add().scope_logs.add()
    for text in ("good", "CUTCUT", "good"):
        scope.log_records.add(time_unix_nano=START).body.string_value = text
    traced = ExportTraceServiceRequest()
    spans = traced.resource_spans.add().scope_spans.add()
    for name in ("good", "CUTCUT", "good"):
        one = spans.spans.add(name=name, start_time_unix_nano=START, end_time_unix_nano=START + 1)
        one.attributes.add(key="k").value.array_value.values.add().string_value = name
    measured = ExportMetricsServiceRequest()
    found = measured.resource_metrics.add().scope_metrics.add()
    for name in ("good", "CUTCUT", "fine"):
        found.metrics.add(name=name).gauge.data_points.add(as_int=1)
    return [
        ("x.logs.pb", logged.SerializeToString()),
        ("x.traces.pb", traced.SerializeToString()),
        ("x.metrics.pb", measured.SerializeToString()),
    ]


@pytest.mark.parametrize(("name", "content"), protobuf_bodies())
@pytest.mark.parametrize("bad", [b"\xed\xa0\xbdCUT", b"CUTCU\xff", b"\xff" * 6], ids=["surrogate", "byte", "bytes"])
async def test_invalid_utf8_in_protobuf_does_not_affect_the_rest(name, content, bad):
    """
    The text becomes longer, and all enclosing lengths.
    """
    ingest = Ingest()
    response = await ingest.push(name, content.replace(b"CUTCUT", bad))

    assert (response.status, response.body) == (200, b"")
    signal = name.split(".")[1]
    assert ingest.meters.value(ITEMS, signal=signal) == 3
    assert ingest.meters.value(REPAIRED, signal=signal) > 0
    if signal == "logs":
        assert [line.message for line in ingest.lines.lines] == ["good", bad.decode(errors="replace"), "good"]


SCRAPS = st.sampled_from(["\\", "\\\\", '"', "u", "ud83d", r"\ud83d", r"\ude00", "\n", "é", "😀", "\ud83d", "\ude00"])


@given(st.lists(SCRAPS | st.text(max_size=3), max_size=12))
def test_only_invalid_characters_of_json_are_repaired(scraps):
    """
    In texts with escaped backslashes, surrogate pairs and lone surrogates in any order.
    """
    text = "".join(scraps)
    written = json.dumps([text]).encode()
    repaired, many = repair_at_once(repaired_json(written))

    # As a parser joins adjacent surrogates and replaces lone ones.
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert orjson.loads(repaired) == [expected]
    assert many == expected.count("\ufffd") - text.count("\ufffd")


@pytest.mark.parametrize("many", [0, 1, 62, 63, 64, 65, 511, 512, 513, 100_000, 100_001])
def test_escaped_backslashes_are_recognised(many):
    """
    However many backslashes precede.
    """
    repaired, replaced = repair_at_once(repaired_json(b'"' + b"\\" * many + rb'\ud83d"'))

    assert replaced == (many + 1) % 2
    assert orjson.loads(repaired).rstrip("\ufffd") == "\\" * (many // 2 + many % 2) + "ud83d" * (many % 2)


@given(st.sampled_from(protobuf_bodies()), st.data())
async def test_any_invalid_byte_is_accepted_or_rejected(found, data):
    """
    Anywhere in a body.
    """
    name, content = found
    place = data.draw(st.integers(0, len(content) - 1))
    broken = content[:place] + data.draw(st.binary(min_size=1, max_size=2)) + content[place + 1 :]
    assert (await Ingest().push(name, broken)).status in {200, 400}


@pytest.mark.parametrize("form", ["one", "array", "lines"])
def test_half_an_emoji_in_an_event_does_not_affect_the_others(form):
    """
    In every form of a request.
    """
    good, bad = (b'{"type":"product_view","product":"%s"}' % product for product in (b"1", rb"cut \ud83d"))
    body = {"one": bad, "array": b"[" + good + b"," + bad + b"]", "lines": good + b"\n" + bad}[form]

    events, repaired = parse_events(body)
    assert [event.product for event in events] == ["1", "cut \ufffd"][form == "one" :]
    assert repaired == 1


def test_lone_surrogates_in_attributes_are_repaired():
    """
    In keys and in values.
    """
    body = json.dumps({"resourceLogs": [{"resource": {"attributes": attributes({CUT: CUT})}}]}).encode()
    repaired, many = repair_at_once(repaired_json(body))

    assert many == 2
    assert orjson.loads(repaired)["resourceLogs"][0]["resource"]["attributes"][0]["key"] == "cut \ufffd"
