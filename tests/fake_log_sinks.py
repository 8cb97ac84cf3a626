"""
Fakes of the systems that take log lines: `lines` is what each has stored, in the order of arrival.

They refuse what the real ones refuse (made from their documentation): a wrong key, a body that is too large, a time
that is no text of nanoseconds, an operation without a document.
"""

import gzip
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fake_http import FakeService, ReceivedRequest, Reply


def body_of(request: ReceivedRequest) -> bytes:
    """Return a body, decompressed."""
    is_compressed = request.headers.get("content-encoding") == "gzip"
    return gzip.decompress(request.body) if is_compressed else request.body


class FakeLineReceiver(FakeService):
    """Takes lines; those whose message is in ``poison`` it never takes."""

    success = Reply(202, b"{}", "application/json")

    def __init__(self, poison: str = "", max_bytes: int = 5_000_000) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.poison = poison
        self.max_bytes = max_bytes

    @property
    def messages(self) -> list[str]:
        """The messages that were stored."""
        return [line["message"] for line in self.lines]

    def respond(self, request: ReceivedRequest) -> Reply:
        """Store lines."""
        body = body_of(request)
        if len(body) > self.max_bytes:
            return Reply(413, b"too large")
        if refusal := self.refusal(request):
            return refusal
        lines = self.parse(body)
        if self.poison and any(self.poison in line["message"] for line in lines):
            return Reply.json({"errors": [{"detail": "invalid"}]}, 400)
        self.lines += lines
        return self.success

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Return success without storing anything."""
        return self.success

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        """Return the response to a request with a wrong path or key."""
        return None

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        """Return the lines of a body, by the names of their fields here."""
        raise NotImplementedError


class FakeDatadogLogs(FakeLineReceiver):
    """Datadog's intake."""

    key = "0123456789abcdef0123456789abcdef"

    def respond(self, request: ReceivedRequest) -> Reply:
        if request.path == "/api/v1/validate" and request.method == "GET":
            return self.refusal(request) or Reply.json({"valid": True})
        return super().respond(request)

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        if request.headers.get("dd-api-key") != self.key:
            return Reply.json({"errors": [{"detail": "Forbidden", "status": "403"}]}, 403)
        return None

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        lines = json.loads(body)
        if len(lines) > 1_000 or not isinstance(lines, list):
            self.mistakes.append(f"{len(lines)} logs in one request")
        for line in lines:
            if not isinstance(line.get("ddtags"), str) or not isinstance(line["message"], str):
                self.mistakes.append(f"ddtags or message is no text: {line}")
            if abs(line["timestamp"] / 1000 - datetime.now(UTC).timestamp()) > 18 * 3600:
                self.mistakes.append("a log is older than 18 hours")
        return lines


class FakeLoki(FakeLineReceiver):
    """Loki, or VictoriaLogs by its path."""

    success = Reply(204)

    def __init__(self, path: str = "/loki/api/v1/push", authorization: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self.path = path
        self.authorization = authorization

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        if request.path.partition("?")[0] != self.path:
            return Reply(404, b"404 page not found\n")
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Reply(401, b"authentication error: invalid credentials\n")
        if not json.loads(body_of(request))["streams"] and "/insert/" not in self.path:
            return Reply(422, b"error at least one valid stream is required for ingestion\n")
        return None

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        found = []
        for stream in json.loads(body)["streams"]:
            if not stream["stream"] or not all(isinstance(it, str) and it for it in stream["stream"].values()):
                self.mistakes.append(f"labels {stream['stream']}")
            times = [int(time) for time, *_ in stream["values"]]
            if times != sorted(times) or not all(
                isinstance(time, str) and len(time) == 19 for time, *_ in stream["values"]
            ):
                self.mistakes.append(f"times {times[:3]}")
            for time, text, metadata in stream["values"]:
                if not all(isinstance(it, str) for it in metadata.values()):
                    self.mistakes.append(f"metadata {metadata}")
                found.append({"message": text, "at": int(time), "labels": stream["stream"], "metadata": metadata})
        return found


class FakeElasticsearch(FakeLineReceiver):
    """A data stream; a document with an id that is there is a conflict."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ids: dict[str, dict[str, Any]] = {}
        self.authorization: str | None = None
        self.statuses: list[int] = []
        """Statuses of the next operations, instead of success."""

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        is_bulk = request.path.endswith("/_bulk") and request.headers["content-type"] == "application/x-ndjson"
        return None if is_bulk else Reply(400, b"no bulk request")

    def respond(self, request: ReceivedRequest) -> Reply:
        if request.method == "GET" and request.path == "/":
            is_known = request.headers.get("authorization") == self.authorization
            return Reply.json({"version": {"number": "9.2.0"}}) if is_known else Reply(401, b"unable to authenticate")
        if refusal := self.refusal(request):
            return refusal
        *rows, last = body_of(request).split(b"\n")
        if last or len(rows) % 2:
            return Reply.json({"error": "The bulk request must be terminated by a newline"}, 400)
        items = []
        for operation, document in zip(rows[::2], rows[1::2], strict=True):
            identifier = json.loads(operation)["create"]["_id"]
            status = self.statuses.pop(0) if self.statuses else 409 if identifier in self.ids else 201
            if status == 201:
                self.ids[identifier] = json.loads(document)
                self.lines.append(json.loads(document))
            items.append({"create": {"_id": identifier, "status": status}})
        return Reply.json({"took": 1, "errors": any(it["create"]["status"] >= 400 for it in items), "items": items})

    def pretended(self, request: ReceivedRequest) -> Reply:
        return Reply.json({"took": 1})


class FakeOtlpLogs(FakeLineReceiver):
    """A collector of OpenTelemetry."""

    success = Reply(200, b"{}", "application/json")

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        return None if request.path == "/v1/logs" else Reply(404)

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        return [
            {
                "message": record["body"]["stringValue"],
                "severity": record["severityNumber"],
                "at": int(record["timeUnixNano"]),
                "trace_id": record.get("traceId", ""),
                "resource": {it["key"]: it["value"]["stringValue"] for it in group["resource"]["attributes"]},
                "attributes": {it["key"]: it["value"]["stringValue"] for it in record["attributes"]},
            }
            for group in json.loads(body)["resourceLogs"]
            for scope in group["scopeLogs"]
            for record in scope["logRecords"]
        ]


class FakeSentry(FakeLineReceiver):
    """
    A project of Sentry: an event with an id that is there is the same event.

    `items` are the items of all envelopes, by type.
    """

    key, project = "0123456789abcdef", "42"
    success = Reply.json({"id": "1"})

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.items: list[tuple[str, Any]] = []

    @property
    def dsn(self) -> str:
        """The DSN of the project."""
        return self.url.replace("://", f"://{self.key}@") + f"/{self.project}"

    def refusal(self, request: ReceivedRequest) -> Reply | None:
        headers, parts = request.headers, urlsplit(request.path)
        if headers.get("content-type", "application/x-sentry-envelope") != "application/x-sentry-envelope":
            return Reply(415)
        if headers.get("content-encoding", "gzip") != "gzip":
            self.mistakes.append(f"content-encoding {headers['content-encoding']}")
        # The SDK for Node says it in the query.
        shown = headers.get("x-sentry-auth", "").removeprefix("Sentry ").split(",")
        auth = dict(part.strip().split("=", 1) for part in shown) if shown[0] else dict(parse_qsl(parts.query))
        is_right = parts.path == f"/api/{self.project}/envelope/" and auth.get("sentry_key") == self.key
        if auth.get("sentry_version") != "7" or not auth.get("sentry_client"):
            self.mistakes.append(f"x-sentry-auth {auth}")
        return None if is_right else Reply(403)

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        found = []
        start, _, rest = body.partition(b"\n")
        envelope = json.loads(start)
        while rest.strip(b"\n"):
            head, _, rest = rest.partition(b"\n")
            header = json.loads(head)
            length = header.get("length", len(rest.partition(b"\n")[0]))
            item, rest = rest[:length], rest[length:]
            if len(item) != length or rest[:1] not in {b"", b"\n"}:
                self.mistakes.append(f"an item of {len(item)} bytes has the length {length}")
            rest = rest[1:]
            content = json.loads(item)
            found.append((header["type"], content))
        self.items += found
        events = [content for type_, content in found if type_ == "event"]
        if len(events) > 1 or any(event["event_id"] != envelope.get("event_id") for event in events):
            self.mistakes.append(f"{len(events)} events in one envelope, or another id")
        known = {event["event_id"] for event in self.lines}
        return [{"message": "", **event} for event in events if event["event_id"] not in known]
