"""OpenTelemetry: log records by OTLP/HTTP in JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import orjson

from toban.core.config_types import Address, Secret
from toban.core.log_line import LogLevel, LogLine
from toban.core.untyped_json import as_mapping
from toban.logs.line_store import StoredLine
from toban.logs.sink import HttpSink, SinkProbe, SinkRequest
from toban.logs.text_fields import metadata

SEVERITIES: Final = {
    LogLevel.ERROR: 17,
    LogLevel.WARN: 13,
    LogLevel.INFO: 9,
    LogLevel.VERBOSE: 6,
    LogLevel.DEBUG: 5,
}


class Otlp(HttpSink):
    """Send lines to a collector of OpenTelemetry, or to a service that takes OTLP over HTTP."""

    max_lines: ClassVar[int] = 1_000

    kind: Literal["otlp"] = "otlp"

    url: Address
    """The URL of the collector, without a path: `http://collector:4318`."""

    headers: Mapping[str, Secret] = {}
    """Further headers: keys of a service."""

    def secrets(self) -> Sequence[str]:
        """Return the values of the headers."""
        return [value.get_secret_value() for value in self.headers.values()]

    def request(self, lines: Sequence[StoredLine]) -> SinkRequest:
        """Return lines as log records, by resource."""
        by_resource: dict[tuple[str, str, str], list[dict[str, object]]] = {}
        for stored in lines:
            line = stored.line
            resource = (line.service, line.environment, line.instance)
            by_resource.setdefault(resource, []).append(_record(stored))
        names = ("service.name", "deployment.environment.name", "service.instance.id")
        body = {
            "resourceLogs": [
                {
                    "resource": {"attributes": _attributes(dict(zip(names, resource, strict=True)))},
                    "scopeLogs": [{"scope": {"name": "toban"}, "logRecords": records}],
                }
                for resource, records in by_resource.items()
            ]
        }
        return self._request(orjson.dumps(body))

    def probe(self) -> SinkProbe:
        """Return an export of no records."""
        return SinkProbe(self._request(b'{"resourceLogs":[]}'), "takes log records")

    def _request(self, body: bytes) -> SinkRequest:
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        return SinkRequest(f"{self.url.rstrip('/')}/v1/logs", body, headers)

    def rejected(self, response: Any, lines: Sequence[StoredLine]) -> Mapping[str, int]:
        """Count the records that the collector has rejected."""
        count = as_mapping(as_mapping(response).get("partialSuccess")).get("rejectedLogRecords", 0)
        return {"rejected": min(int(count), len(lines))} if str(count).isdecimal() and int(count) else {}


def _record(stored: StoredLine) -> dict[str, object]:
    line = stored.line
    record: dict[str, object] = {
        "timeUnixNano": str(stored.position.nanoseconds),
        "severityNumber": SEVERITIES[line.level],
        "severityText": line.level.value,
        "body": {"stringValue": line.message},
        "attributes": _attributes(
            {
                **metadata(line),
                "context": line.context,
                "category": line.category,
                "exception.stacktrace": line.trace,
            }
        ),
    }
    return {**record, **_trace(line)}


def _trace(line: LogLine) -> dict[str, str]:
    """Return the trace id, where it is one for OpenTelemetry."""
    is_trace = len(line.trace_id) == 32 and set(line.trace_id) <= set("0123456789abcdef")
    return {"traceId": line.trace_id} if is_trace else {}


def _attributes(values: Mapping[str, str]) -> list[dict[str, object]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in values.items() if value]
