"""Telemetry and events pushed by other programs."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from tests.program import Program, eventually, toban

TOKEN = "open sesame"
CONFIG = """
collect:
  - {kind: telemetry, interval: 1s}
  - {kind: events, interval: 1s}
  - {kind: toban, interval: 1s}
"""


def config(folder: Path) -> str:
    path = folder / "toban.yaml"
    path.write_text(CONFIG)
    return str(path)


def pushed(program: Program, path: str, body: str, **headers: str) -> tuple[int, str]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}", **headers}
    sent = urllib.request.Request(program.url + path, body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(sent) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_opentelemetry_sdk_exports_to_toban(tmp_path, compression):
    """
    Spans, metrics and logs of its SDK for Python, unmodified; each is found again as a number or a line.
    """
    with toban(tmp_path / "data", "--config", config(tmp_path)) as program:
        resource = Resource.create({"service.name": "vendure-server", "service.instance.id": "m1"})
        sending = {"compression": compression, "headers": {"authorization": f"Bearer {TOKEN}"}}
        spans = TracerProvider(resource=resource)
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{program.url}/v1/traces", **sending)))
        tracer = spans.get_tracer("test")
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{program.url}/v1/metrics", **sending))
        meters = MeterProvider([reader], resource)
        meters.get_meter("test").create_counter("jobs.done", "1").add(3, {"queue": "mail"})
        meters.get_meter("test").create_histogram("lag", "s").record(0.2)
        logs = LoggerProvider(resource)
        logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{program.url}/v1/logs", **sending)))

        sent = {"http.request.method": "POST", "http.route": "/shop-api", "http.response.status_code": 200}
        with tracer.start_as_current_span("POST /shop-api", kind=SpanKind.SERVER, attributes=sent):
            tracer.start_span("query Hello", attributes={"graphql.operation.type": "query"}).end()
        logs.get_logger("test").emit(body="hello from jane@mail.example", severity_number=SeverityNumber.ERROR)
        for provider in (spans, meters, logs):
            assert provider.force_flush()
            provider.shutdown()

        requests = 'vendure_api_requests_total{endpoint="/shop-api",method="POST",status="200"}'
        assert eventually(lambda: program.value(requests)) == 1
        assert (
            eventually(lambda: program.value('jobs_done_total{queue="mail",job="vendure-server",instance="m1"}')) == 3
        )
        assert eventually(lambda: program.value("lag_seconds_count")) == 1
        [line] = program.json("/api/logs")["lines"]
        assert (line["level"], line["message"], line["service"]) == ("error", "hello from [REDACTED]", "vendure-server")
        shown = program.run("logs", "--level", "error")
        assert "hello from [REDACTED]" in shown.stdout


def test_accepted_events_survive_a_kill(tmp_path):
    """
    What was answered with 200 is there after `kill -9`, once, and sending it again changes nothing.
    """
    event = json.dumps({"type": "product_view", "product": "7", "id": "v1"})
    views = 'vendure_product_views_total{job="events",productId="7"}'
    with toban(tmp_path / "data", "--config", config(tmp_path)) as program:
        assert pushed(program, "/api/events", event) == (200, '{"accepted":1,"repeated":0}')
        program.kill()
    with toban(tmp_path / "data", "--config", config(tmp_path)) as program:
        assert pushed(program, "/api/events", event) == (200, '{"accepted":0,"repeated":1}')
        assert pushed(program, "/api/events", event.replace("v1", "v2")) == (200, '{"accepted":1,"repeated":0}')
        assert eventually(lambda: program.value(views), lambda value: value == 2) == 2
        assert program.stop() == 0
