"""
OTLP in JSON, as it is really written: ids in hex, integers as numbers or as texts, empty values.

The names of fields are those of the specification, in camelCase or in snake_case (as readers of protobuf's JSON must
take both), and those from before 0.19, when a scope was an instrumentation library. Enumerations are numbers or words.
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
    DEEPEST,
    DELTA,
    ERROR,
    KINDS,
    LATEST,
    MALFORMED,
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

PARTS: Final = {
    OtlpSignal.TRACES: "resourceSpans",
    OtlpSignal.METRICS: "resourceMetrics",
    OtlpSignal.LOGS: "resourceLogs",
}
"""What the list is called in which everything of a body is."""

SORTS: Final = ("gauge", "sum", "histogram")
OTHER_SORTS: Final = (
    "exponentialHistogram", "summary", "intGauge", "doubleGauge", "intSum", "doubleSum", "intHistogram",
    "doubleHistogram", "doubleSummary",
)  # fmt: skip  # words, not lines
"""Metrics that are known and not read; the last of them are from before 0.9."""

VALUES: Final = {
    each: name
    for name in ("stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")
    for each in (name, re.sub("([A-Z])", r"_\1", name).lower())
}


def decode(signal: OtlpSignal, body: bytes) -> Generator[None, None, tuple[dict[str, Any], int]]:
    """
    Return what a body holds, an object, in steps between which others may have a turn.

    With it comes how many characters were none and were replaced. Raises ``DecodeError``.
    """
    repaired = 0
    try:
        found = yield from read_json(body)
    except ValueError as error:
        body, repaired = yield from repaired_json(body)
        found = yield from _read_again(body, error, repaired)
    if not isinstance(found, dict):
        raise DecodeError("an object was expected")
    _check(signal, found)
    return found, repaired


def _read_again(body: bytes, first: ValueError, repaired: int) -> Steps:
    if repaired:
        try:
            return (yield from read_json(body))
        except ValueError:
            pass  # what was wrong at first tells more
    raise DecodeError(f"not JSON: {first}") from first


def _check(signal: OtlpSignal, message: dict[str, Any]) -> None:
    """Raise ``DecodeError`` where nothing of a body would be read: a part of it may be unknown, not all of it."""
    wanted = PARTS[signal]
    if any(not isinstance(message.get(name, []), list | None) for name in (wanted, _snake(wanted))):
        raise DecodeError(f"an object with a list {wanted} was expected")
    if message and wanted not in message and _snake(wanted) not in message:
        other = next((each for each, name in PARTS.items() if name in message or _snake(name) in message), None)
        remedy = f": send {PARTS[other]} to /v1/{other.value}" if other else ""
        raise DecodeError(f"an object with a list {wanted} was expected{remedy}")


def spans(message: dict[str, Any]) -> Iterator[ScopeGroup[Span]]:
    """Return the spans of what was opened."""
    scopes = "scopeSpans", "instrumentationLibrarySpans"
    return _groups(_list(message, "resourceSpans"), scopes, ("spans",), _span)


def metrics(message: dict[str, Any]) -> Iterator[ScopeGroup[Metric]]:
    """Return the metrics of what was opened."""
    scopes = "scopeMetrics", "instrumentationLibraryMetrics"
    return _groups(_list(message, "resourceMetrics"), scopes, ("metrics",), _metric)


def records(message: dict[str, Any]) -> Iterator[ScopeGroup[LogRecord]]:
    """Return the log records of what was opened."""
    scopes = "scopeLogs", "instrumentationLibraryLogs"
    return _groups(_list(message, "resourceLogs"), scopes, ("logRecords", "logs"), _record)


@cache
def _snake(name: str) -> str:
    return re.sub("([A-Z])", r"_\1", name).lower()


def _field(raw: dict[str, Any], name: str) -> Any:
    """Return a field, by its name in either case; nothing where there is none."""
    found = raw.get(name)
    return raw.get(_snake(name)) if found is None else found


def _list(raw: dict[str, Any], *names: str) -> list[Any]:
    """Return all that stands in a list, by whichever of its names; an empty one where something else stands."""
    found = [part for name in names for each in dict.fromkeys((name, _snake(name))) if (part := as_list(raw.get(each)))]
    return found[0] if len(found) == 1 else [one for part in found for one in part]


def _groups(
    parts: list[Any], scopes: tuple[str, ...], items: tuple[str, ...], read: Callable[[Any], T]
) -> Iterator[ScopeGroup[T]]:
    """Return what is there; where a list or an object is expected and isn't, there is nothing."""

    def careful(raw: Any) -> T:
        try:
            return read(raw)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise MalformedError(f"something that is no {items[0]} entry: {type(error).__name__}") from error

    for part in _drained(parts):
        resource = _attributes(as_mapping(as_mapping(part).get("resource")))
        for scope in _drained(_list(as_mapping(part), *scopes)):
            named = _field(as_mapping(scope), "scope") or _field(as_mapping(scope), "instrumentationLibrary")
            yield ScopeGroup(resource, _text(as_mapping(named).get("name")), _list(as_mapping(scope), *items), careful)


def _drained(things: list[Any]) -> Iterator[Any]:
    """Return what is in a list and let go of it piece by piece: all at once it would take as long as reading it."""
    things.reverse()
    while things:
        yield things.pop()


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
    name, unit, about = (_text(raw.get(field)) for field in ("name", "unit", "description"))
    found = {sort: data for sort in (*SORTS, *OTHER_SORTS) if (data := _field(raw, sort)) is not None}
    if len(found) != 1 or not found.keys() & set(SORTS):
        # A sort that is none of these, or several of which one can't be meant: all their points are counted.
        many = sum(len(_list(data, "dataPoints")) for data in raw.values() if isinstance(data, dict))
        return Metric(
            name, unit, about, MetricShape.UNSUPPORTED, rejected={MALFORMED if len(found) > 1 else UNSUPPORTED: many}
        )
    ((sort, data),) = found.items()
    if not isinstance(data, dict):
        return Metric(name, unit, about, MetricShape.UNSUPPORTED, rejected={MALFORMED: 1})
    points = _list(data, "dataPoints")
    told = _field(data, "aggregationTemporality")
    temporality = TEMPORALITIES.get(told) if isinstance(told, int | str) else 0
    if sort != "gauge" and temporality not in {DELTA, CUMULATIVE}:
        return Metric(name, unit, about, MetricShape(sort), rejected={TEMPORALITY: len(points)})
    return Metric(
        name,
        unit,
        about,
        MetricShape(sort),
        map(partial(_careful, _histogram if sort == "histogram" else _number), points),
        monotonic=_field(data, "isMonotonic") is True,
        delta=temporality == DELTA,
    )


def _careful(read: Callable[[Any], MetricPoint | None], raw: Any) -> MetricPoint | None:
    try:
        return _ended(raw) or read(raw)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None


def _ended(raw: Any) -> MetricPoint | None:
    """Return a point that says that nothing was recorded; nothing, where one was."""
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
        raise MalformedError("labels from before 0.9, which have no types")
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
    found = {}
    for pair in as_list(raw.get("attributes")):
        if isinstance(pair, dict) and isinstance(key := pair.get("key"), str):
            found[key] = _value(pair.get("value"))
    return found


def _value(value: Any, levels: int = DEEPEST) -> Value:
    if not isinstance(value, dict) or levels == 0:
        return None
    for name, found in islice(value.items(), 1):
        sort = VALUES.get(name, "")
        if sort in {"stringValue", "boolValue", "doubleValue", "bytesValue"}:
            return found if isinstance(found, str | bool | float | int) else None
        if sort == "intValue":
            return _int(found)
        if sort == "arrayValue":
            return [_value(inner, levels - 1) for inner in as_list(as_mapping(found).get("values"))]
        if sort == "kvlistValue":
            pairs = [as_mapping(pair) for pair in as_list(as_mapping(found).get("values"))]
            return {str(pair.get("key")): _value(pair.get("value"), levels - 1) for pair in pairs}
    return None


def _int(value: Any) -> int | None:
    """Return a number that JavaScript wrote as one, or as the text that the specification wants."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _id(value: Any) -> bytes:
    try:
        return bytes.fromhex(value[:32]) if value else b""
    except (TypeError, ValueError) as error:
        raise MalformedError("an id that is no hex") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
