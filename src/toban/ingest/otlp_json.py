"""
Decodes OTLP in JSON, as exporters write it: ids in hex, integers as numbers or texts, empty values.

Field names are those of the specification, in camelCase or snake_case (parsers of protobuf's JSON must accept both),
and those from before 0.19, when a scope was an instrumentation library. Enumerations are numbers or names.
"""

import re
from collections.abc import Callable, Generator, Iterator
from functools import cache, partial
from itertools import islice
from typing import Any, Final, TypeVar

from toban.core.untyped_json import as_list, as_mapping
from toban.ingest.incremental_json import Steps, read_json
from toban.ingest.otlp_model import (
    CUMULATIVE,
    DELTA,
    ERROR,
    KINDS,
    LATEST,
    MALFORMED,
    MAX_DEPTH,
    NO_RECORDED_VALUE,
    SEVERITIES,
    STATUSES,
    TEMPORALITIES,
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
from toban.ingest.utf8_repair import repaired_json

T = TypeVar("T")

ROOT_FIELDS: Final = {
    OtlpSignal.TRACES: "resourceSpans",
    OtlpSignal.METRICS: "resourceMetrics",
    OtlpSignal.LOGS: "resourceLogs",
}
"""The field with everything in a body."""

SUPPORTED_TYPES: Final = ("gauge", "sum", "histogram")
UNSUPPORTED_TYPES: Final = (
    "exponentialHistogram", "summary", "intGauge", "doubleGauge", "intSum", "doubleSum", "intHistogram",
    "doubleHistogram", "doubleSummary",
)  # fmt: skip  # a table of words
"""Metric types that are rejected; the last ones are from before 0.9."""

VALUE_FIELDS: Final = {
    each: name
    for name in ("stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")
    for each in (name, re.sub("([A-Z])", r"_\1", name).lower())
}


def decode(signal: OtlpSignal, body: bytes) -> Generator[None, None, tuple[dict[str, Any], int]]:
    """
    Decode a body, an object, in steps between which other tasks may run.

    Return it with the number of characters that were repaired. Raises ``DecodeError``.
    """
    repaired = 0
    try:
        message = yield from read_json(body)
    except ValueError as error:
        body, repaired = yield from repaired_json(body)
        message = yield from _read_again(body, error, repaired)
    if not isinstance(message, dict):
        raise DecodeError("an object was expected")
    _check(signal, message)
    return message, repaired


def _read_again(body: bytes, first: ValueError, repaired: int) -> Steps:
    if repaired:
        try:
            return (yield from read_json(body))
        except ValueError:
            pass  # the first error is the one to report
    raise DecodeError(f"not JSON: {first}") from first


def _check(signal: OtlpSignal, message: dict[str, Any]) -> None:
    """Raise ``DecodeError`` when nothing in a body is known: a part of it may be unknown, not all of it."""
    expected = ROOT_FIELDS[signal]
    if any(not isinstance(message.get(name, []), list | None) for name in (expected, _snake(expected))):
        raise DecodeError(f"an object with a list {expected} was expected")
    if message and expected not in message and _snake(expected) not in message:
        other = next((each for each, name in ROOT_FIELDS.items() if name in message or _snake(name) in message), None)
        remedy = f": send {ROOT_FIELDS[other]} to /v1/{other.value}" if other else ""
        raise DecodeError(f"an object with a list {expected} was expected{remedy}")


def spans(message: dict[str, Any]) -> Iterator[ScopeGroup[Span]]:
    """Return the spans of a message."""
    scopes = "scopeSpans", "instrumentationLibrarySpans"
    return _groups(_list(message, "resourceSpans"), scopes, ("spans",), _span)


def metrics(message: dict[str, Any]) -> Iterator[ScopeGroup[Metric]]:
    """Return the metrics of a message."""
    scopes = "scopeMetrics", "instrumentationLibraryMetrics"
    return _groups(_list(message, "resourceMetrics"), scopes, ("metrics",), _metric)


def records(message: dict[str, Any]) -> Iterator[ScopeGroup[LogRecord]]:
    """Return the log records of a message."""
    scopes = "scopeLogs", "instrumentationLibraryLogs"
    return _groups(_list(message, "resourceLogs"), scopes, ("logRecords", "logs"), _record)


@cache
def _snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def _field(raw: dict[str, Any], name: str) -> Any:
    """Return a field by its name in either case, or None."""
    value = raw.get(name)
    return raw.get(_snake(name)) if value is None else value


def _list(raw: dict[str, Any], *names: str) -> list[Any]:
    """Return the elements of a list field under any of its names; a field of another type has none."""
    lists = [part for name in names for each in dict.fromkeys((name, _snake(name))) if (part := as_list(raw.get(each)))]
    return lists[0] if len(lists) == 1 else [one for part in lists for one in part]


def _groups(
    parts: list[Any], scopes: tuple[str, ...], items: tuple[str, ...], read: Callable[[Any], T]
) -> Iterator[ScopeGroup[T]]:
    """Return the groups of a body; a list or an object of another type counts as empty."""

    def read_item(raw: Any) -> T:
        try:
            return read(raw)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise MalformedError(f"an invalid entry of {items[0]}: {type(error).__name__}") from error

    for part in _drained(parts):
        resource = _attributes(as_mapping(as_mapping(part).get("resource")))
        for scope in _drained(_list(as_mapping(part), *scopes)):
            named = _field(as_mapping(scope), "scope") or _field(as_mapping(scope), "instrumentationLibrary")
            yield ScopeGroup(
                resource, _text(as_mapping(named).get("name")), _list(as_mapping(scope), *items), read_item
            )


def _drained(elements: list[Any]) -> Iterator[Any]:
    """Empty a list element by element: freeing all at once would take as long as parsing."""
    elements.reverse()
    while elements:
        yield elements.pop()


class _Span(Span):
    __slots__ = ()

    @property
    def trace(self) -> bytes:
        return _id(_field(self.raw, "traceId"))

    @property
    def id(self) -> bytes:
        return _id(_field(self.raw, "spanId"))

    @property
    def parent(self) -> bytes:
        return _id(_field(self.raw, "parentSpanId"))

    def attributes(self) -> dict[str, Value]:
        return _attributes(self.raw)

    def events(self) -> list[SpanEvent]:
        events = [as_mapping(event) for event in as_list(self.raw.get("events"))]
        return [SpanEvent(str(event.get("name")), _attributes(event)) for event in events]


def _span(raw: Any) -> Span:
    start, end = int(_field(raw, "startTimeUnixNano")), int(_field(raw, "endTimeUnixNano"))
    name, status = raw["name"], raw.get("status")
    if type(name) is not str or not 0 < start <= end < LATEST:
        raise MalformedError("a span without name or times")
    failed = status is not None and STATUSES[status.get("code")] == ERROR
    return _Span(raw, name, KINDS[raw.get("kind")], start, end, failed)


def _metric(raw: Any) -> Metric:
    name, unit, description = (_text(raw.get(field)) for field in ("name", "unit", "description"))
    data_by_type = {
        type_: data for type_ in (*SUPPORTED_TYPES, *UNSUPPORTED_TYPES) if (data := _field(raw, type_)) is not None
    }
    if len(data_by_type) != 1 or not data_by_type.keys() & set(SUPPORTED_TYPES):
        # An unsupported type, or several types at once: all points are counted as rejected.
        count = sum(len(_list(data, "dataPoints")) for data in raw.values() if isinstance(data, dict))
        return Metric(
            name,
            unit,
            description,
            MetricShape.UNSUPPORTED,
            rejected={MALFORMED if len(data_by_type) > 1 else UNSUPPORTED: count},
        )
    ((type_, data),) = data_by_type.items()
    if not isinstance(data, dict):
        return Metric(name, unit, description, MetricShape.UNSUPPORTED, rejected={MALFORMED: 1})
    points = _list(data, "dataPoints")
    value = _field(data, "aggregationTemporality")
    temporality = TEMPORALITIES.get(value) if isinstance(value, int | str) else 0
    if type_ != "gauge" and temporality not in {DELTA, CUMULATIVE}:
        return Metric(name, unit, description, MetricShape(type_), rejected={TEMPORALITY: len(points)})
    return Metric(
        name,
        unit,
        description,
        MetricShape(type_),
        map(partial(_read_point, _histogram if type_ == "histogram" else _number), points),
        monotonic=_field(data, "isMonotonic") is True,
        delta=temporality == DELTA,
    )


def _read_point(read: Callable[[Any], MetricPoint | None], raw: Any) -> MetricPoint | None:
    try:
        return _unrecorded(raw) or read(raw)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None


def _unrecorded(raw: Any) -> MetricPoint | None:
    """Return a point with the flag that nothing was recorded, or None when a value was."""
    if not int(raw.get("flags") or 0) & NO_RECORDED_VALUE:
        return None
    return MetricPoint(_point_attributes(raw), None, recorded=False)


def _number(raw: Any) -> MetricPoint:
    value = _field(raw, "asDouble")
    return MetricPoint(_point_attributes(raw), float(_field(raw, "asInt") if value is None else value))


def _histogram(raw: Any) -> MetricPoint | None:
    bounds = [float(bound) for bound in _list(raw, "explicitBounds")]
    counts = [float(int(count)) for count in _list(raw, "bucketCounts")]
    if not counts:
        bounds, counts = [], [float(int(raw["count"]))]
    if len(counts) != len(bounds) + 1 or bounds != sorted(bounds) or min(counts) < 0:
        return None
    total = raw.get("sum")
    return MetricPoint(_point_attributes(raw), None if total is None else float(total), bounds, counts)


def _point_attributes(raw: Any) -> dict[str, Value]:
    if raw.get("labels"):
        raise MalformedError("untyped labels from before 0.9")
    return _attributes(raw)


def _record(raw: Any) -> LogRecord:
    at = int(_field(raw, "timeUnixNano") or _field(raw, "observedTimeUnixNano") or 0)
    body = raw.get("body")
    body = body if isinstance(body, str) else _value(as_mapping(body))
    number = _field(raw, "severityNumber")
    severity = number if isinstance(number, int) else SEVERITIES.get(number if isinstance(number, str) else None, 0)
    return LogRecord(
        at if 0 <= at < LATEST else 0,
        severity,
        _text(_field(raw, "severityText")) or (_text(number) if not severity else ""),
        body if isinstance(body, str) else "" if body is None else str(body),
        _attributes(raw),
        _id(_field(raw, "traceId")),
    )


def _attributes(raw: dict[str, Any]) -> dict[str, Value]:
    attributes = {}
    for pair in as_list(raw.get("attributes")):
        if isinstance(pair, dict) and isinstance(key := pair.get("key"), str):
            attributes[key] = _value(pair.get("value"))
    return attributes


def _value(value: Any, levels: int = MAX_DEPTH) -> Value:
    if not isinstance(value, dict) or levels == 0:
        return None
    for name, content in islice(value.items(), 1):
        field = VALUE_FIELDS.get(name, "")
        if field in {"stringValue", "boolValue", "doubleValue", "bytesValue"}:
            return content if isinstance(content, str | bool | float | int) else None
        if field == "intValue":
            return _int(content)
        if field == "arrayValue":
            return [_value(inner, levels - 1) for inner in as_list(as_mapping(content).get("values"))]
        if field == "kvlistValue":
            pairs = [as_mapping(pair) for pair in as_list(as_mapping(content).get("values"))]
            return {str(pair.get("key")): _value(pair.get("value"), levels - 1) for pair in pairs}
    return None


def _int(value: Any) -> int | None:
    """Return an integer that is encoded as a number (by JavaScript) or as a text (by the specification)."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _id(value: Any) -> bytes:
    try:
        return bytes.fromhex(value[:32]) if value else b""
    except (TypeError, ValueError) as error:
        raise MalformedError("an id is not hexadecimal") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
