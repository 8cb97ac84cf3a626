"""
Decodes OTLP in protobuf.

The generated classes are large: this module is imported with the first protobuf request.
"""

from base64 import b64encode
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from toban.ingest.otlp_model import (
    CUMULATIVE,
    DELTA,
    ERROR,
    KINDS,
    LATEST,
    MAX_DEPTH,
    NO_RECORDED_VALUE,
    STATUSES,
    TEMPORALITY,
    UNSUPPORTED,
    DecodeError,
    LogRecord,
    MalformedError,
    Metric,
    MetricPoint,
    MetricShape,
    OtlpSignal,
    ScopeGroup,
    Span,
    SpanEvent,
    Value,
)
from toban.ingest.protobuf_utf8_repair import repair_message

M = TypeVar("M", bound=Message)

MESSAGE_TYPES: Final[dict[OtlpSignal, type[Message]]] = {
    OtlpSignal.TRACES: ExportTraceServiceRequest,
    OtlpSignal.METRICS: ExportMetricsServiceRequest,
    OtlpSignal.LOGS: ExportLogsServiceRequest,
}
LIBRARIES_FIELD: Final = 1000
"""The field of scopes from 0.15 to 0.18, when they were called instrumentation libraries."""
LABELS_FIELD: Final = 1
"""The field of a point's labels before 0.9."""


def decode(signal: OtlpSignal, body: bytes) -> Generator[None, None, tuple[Message, int]]:
    """
    Decode a body at once: protobuf takes some 20 ms for 4 MiB.

    Return the message with the number of characters that were repaired. Raises ``DecodeError``.
    """
    yield
    message_type = MESSAGE_TYPES[signal]
    try:
        try:
            return message_type.FromString(body), 0
        except ProtobufError:
            body, repaired = yield from repair_message(message_type.DESCRIPTOR, memoryview(body))
            if not repaired:
                raise
            return message_type.FromString(body), repaired
    except (ProtobufError, ValueError, RecursionError, IndexError) as error:
        raise DecodeError(f"not an {message_type.__name__} in protobuf") from error


def spans(message: Any) -> Iterator[ScopeGroup[Span]]:
    """Return the spans of a message."""
    return (
        ScopeGroup(_attributes(part.resource.attributes), scope.scope.name, scope.spans, _span)
        for part in message.resource_spans
        for scope in _scopes(part, part.scope_spans, ScopeSpans)
    )


def metrics(message: Any) -> Iterator[ScopeGroup[Metric]]:
    """Return the metrics of a message."""
    return (
        ScopeGroup(_attributes(part.resource.attributes), scope.scope.name, scope.metrics, _metric)
        for part in message.resource_metrics
        for scope in _scopes(part, part.scope_metrics, ScopeMetrics)
    )


def records(message: Any) -> Iterator[ScopeGroup[LogRecord]]:
    """Return the log records of a message."""
    return (
        ScopeGroup(_attributes(part.resource.attributes), scope.scope.name, scope.log_records, _record)
        for part in message.resource_logs
        for scope in _scopes(part, part.scope_logs, ScopeLogs)
    )


def _scopes(part: Message, scopes: Iterable[M], scope_type: type[M]) -> Iterator[M]:
    """Return the scopes of a resource, also those in the field of instrumentation libraries: the format is the same."""
    yield from scopes
    for number, data in _unknown(part):
        if number == LIBRARIES_FIELD and isinstance(data, bytes):
            try:
                yield scope_type.FromString(data)
            except ProtobufError:
                continue  # another field, of a later version, with this number


def _unknown(message: Message) -> Iterator[tuple[int, object]]:
    """Return the unknown fields of a message by their numbers."""
    fields = UnknownFieldSet(message)
    return ((fields[each].field_number, fields[each].data) for each in range(len(fields)))


class _Span(Span):
    __slots__ = ()

    @property
    def trace(self) -> bytes:
        return bytes(self.raw.trace_id[:16])

    @property
    def id(self) -> bytes:
        return bytes(self.raw.span_id[:8])

    @property
    def parent(self) -> bytes:
        return bytes(self.raw.parent_span_id[:8])

    def attributes(self) -> dict[str, Value]:
        return _attributes(self.raw.attributes)

    def events(self) -> list[SpanEvent]:
        return [SpanEvent(event.name, _attributes(event.attributes)) for event in self.raw.events]


def _span(raw: Any) -> Span:
    start, end = raw.start_time_unix_nano, raw.end_time_unix_nano
    if not 0 < start <= end < LATEST or raw.kind not in KINDS or raw.status.code not in STATUSES:
        raise MalformedError("a span without times, or of an unknown kind or status")
    return _Span(raw, raw.name, raw.kind, start, end, raw.status.code == ERROR)


def _metric(raw: Any) -> Metric:
    type_ = raw.WhichOneof("data")
    if type_ not in {"gauge", "sum", "histogram"}:
        count = len(getattr(raw, type_).data_points) if type_ else 0
        return Metric(raw.name, raw.unit, "", MetricShape.UNSUPPORTED, rejected={UNSUPPORTED: count})
    data = getattr(raw, type_)
    shape, temporality = MetricShape(type_), CUMULATIVE if type_ == "gauge" else data.aggregation_temporality
    if temporality not in {DELTA, CUMULATIVE}:
        return Metric(raw.name, raw.unit, "", shape, rejected={TEMPORALITY: len(data.data_points)})
    return Metric(
        raw.name,
        raw.unit,
        raw.description,
        shape,
        map(_histogram if type_ == "histogram" else _number, data.data_points),
        monotonic=type_ == "sum" and data.is_monotonic,
        delta=temporality == DELTA,
    )


def _number(point: Any) -> MetricPoint | None:
    attributes, field = _point_attributes(point), point.WhichOneof("value")
    if attributes is None:
        return None
    if point.flags & NO_RECORDED_VALUE:
        return MetricPoint(attributes, None, recorded=False)
    return MetricPoint(attributes, float(getattr(point, field))) if field else None


def _histogram(point: Any) -> MetricPoint | None:
    attributes, bounds, counts = _point_attributes(point), list(point.explicit_bounds), list(point.bucket_counts)
    if attributes is None:
        return None
    if point.flags & NO_RECORDED_VALUE:
        return MetricPoint(attributes, None, recorded=False)
    if not counts:
        bounds, counts = [], [point.count]
    if len(counts) != len(bounds) + 1 or bounds != sorted(bounds):
        return None
    return MetricPoint(attributes, point.sum if point.HasField("sum") else None, bounds, counts)


def _point_attributes(point: Any) -> dict[str, Value] | None:
    """Return a point's attributes, or None when it has labels from before 0.9 instead."""
    if not point.attributes and any(number == LABELS_FIELD for number, _ in _unknown(point)):
        return None
    return _attributes(point.attributes)


def _record(raw: Any) -> LogRecord:
    at = raw.time_unix_nano or raw.observed_time_unix_nano
    body = _value(raw.body)
    return LogRecord(
        at if at < LATEST else 0,
        raw.severity_number,
        raw.severity_text,
        body if isinstance(body, str) else "" if body is None else str(body),
        _attributes(raw.attributes),
        bytes(raw.trace_id[:16]),
    )


def _attributes(pairs: Sequence[Any]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any, levels: int = MAX_DEPTH) -> Value:
    field = value.WhichOneof("value")
    if field is None or levels == 0:
        return None
    content = getattr(value, field)
    if field == "array_value":
        return [_value(inner, levels - 1) for inner in content.values]
    if field == "kvlist_value":
        return {pair.key: _value(pair.value, levels - 1) for pair in content.values}
    if field == "bytes_value":
        return b64encode(content).decode()
    return content  # type: ignore[no-any-return]  # a text, a number or a boolean
