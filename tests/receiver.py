"""A receiver of a shop's telemetry that stores OpenTelemetry's own messages."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MESSAGES = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


@dataclass
class ReceivedRequest:
    """A request that was received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        """Whether it came as JSON."""
        return self.headers["content-type"].startswith("application/json")

    def message(self) -> Any:
        """Return what it says; only protobuf is understood here."""
        message = MESSAGES[self.path]()
        message.ParseFromString(self.body)
        return message


@dataclass
class Span:
    """One span, with what a test asks of it."""

    service: str
    scope: str
    kind: int
    name: str
    status: int
    trace: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]


@dataclass
class Receiver:
    """What came so far."""

    url: str
    posts: list[ReceivedRequest] = field(default_factory=list)

    def messages(self, path: str) -> Iterator[Any]:
        """Return the messages that came to a path as protobuf."""
        return (post.message() for post in list(self.posts) if post.path == path and not post.is_json)

    def spans(self) -> Iterator[Span]:
        """Return the spans that came, as protobuf or JSON."""
        for post in list(self.posts):
            if post.path == "/v1/traces":
                yield from _from_json(json.loads(post.body)) if post.is_json else _from_protobuf(post.message())

    def requests(self) -> list[Span]:
        """Return the spans of requests to the shop's server."""
        return [span for span in self.spans() if span.kind == 2]

    def logs(self) -> Iterator[tuple[int, str]]:
        """Return severity and words of the log records that came."""
        for message in self.messages("/v1/logs"):
            for resource in message.resource_logs:
                for scope in resource.scope_logs:
                    yield from ((record.severity_number, record.body.string_value) for record in scope.log_records)

    def metrics(self) -> set[tuple[str, str]]:
        """Return the services and names of the metrics that came."""
        return {
            (plain(resource.resource.attributes)["service.name"], metric.name)
            for message in self.messages("/v1/metrics")
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def plain(attributes: "list[KeyValue]") -> dict[str, Any]:
    """Return attributes as Python's own values."""
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind or "")


def _from_protobuf(message: Any) -> Iterator[Span]:
    for resource in message.resource_spans:
        service = plain(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    scope.scope.name,
                    span.kind,
                    span.name,
                    span.status.code,
                    span.trace_id.hex(),
                    plain(span.attributes),
                    [(event.name, plain(event.attributes)) for event in span.events],
                )


def _from_json(message: Any) -> Iterator[Span]:
    for resource in message["resourceSpans"]:
        service = _plain(resource["resource"]["attributes"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Span(
                    service,
                    scope["scope"]["name"],
                    span["kind"],
                    span["name"],
                    span["status"].get("code", 0),
                    span["traceId"],
                    _plain(span["attributes"]),
                    [(event["name"], _plain(event["attributes"])) for event in span["events"]],
                )


def _plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values()), None) for pair in attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive telemetry while the block lasts."""
    receiver = Receiver("")

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.posts.append(ReceivedRequest(self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _body(self, headers: dict[str, str]) -> bytes:
            if "content-length" in headers:
                return self.rfile.read(int(headers["content-length"]))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Hall(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a shop that ended while it was sending."""

    server = Hall(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
