"""OTLP in JSON, as JavaScript really writes it: ids in hex, integers as numbers or as texts, empty values."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from toban.core.plain import mapping, sequence
from toban.intake.cutting import Steps, read
from toban.intake.nouns import (
    DEEPEST,
    LATEST,
    DecodeError,
    Group,
    Happening,
    MalformedError,
    Metric,
    Point,
    Record,
    Shape,
    Span,
    Value,
)

T = TypeVar("T")

DELTA: Final = 1
ERROR: Final = 2


def opened(body: bytes) -> Steps:
    """Return what a body holds, an object, in steps between which others may have a turn. Raises ``DecodeError``."""
    try:
        found = yield from read(body)
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DecodeError("an object was expected")
    return found


def spans(message: dict[str, Any]) -> Iterator[Group[Span]]:
    """Return the spans of what was opened. Raises ``DecodeError`` at once."""
    return _groups(_parts(message, "resourceSpans"), "scopeSpans", "spans", _span)


def metrics(message: dict[str, Any]) -> Iterator[Group[Metric]]:
    """Return the metrics of what was opened. Raises ``DecodeError`` at once."""
    return _groups(_parts(message, "resourceMetrics"), "scopeMetrics", "metrics", _metric)


def records(message: dict[str, Any]) -> Iterator[Group[Record]]:
    """Return the log records of what was opened. Raises ``DecodeError`` at once."""
    return _groups(_parts(message, "resourceLogs"), "scopeLogs", "logRecords", _record)


def _parts(message: dict[str, Any], name: str) -> list[Any]:
    parts = message.get(name, [])
    if not isinstance(parts, list):
        raise DecodeError(f"an object with a list {name} was expected")
    return parts


def _groups(parts: list[Any], scopes: str, items: str, read: Callable[[Any], T]) -> Iterator[Group[T]]:
    """Return what is there; where a list or an object is expected and isn't, there is nothing."""

    def careful(raw: Any) -> T:
        try:
            return read(raw)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise MalformedError(f"something that is no {items} entry: {type(error).__name__}") from error

    for part in _drained(parts):
        resource = _attributes(sequence(mapping(mapping(part).get("resource")).get("attributes")))
        for scope in _drained(sequence(mapping(part).get(scopes))):
            name = _text(mapping(mapping(scope).get("scope")).get("name"))
            yield Group(resource, name, sequence(mapping(scope).get(items)), careful)


def _drained(things: list[Any]) -> Iterator[Any]:
    """Return what is in a list and let go of it piece by piece: all at once it would take as long as reading it."""
    things.reverse()
    while things:
        yield things.pop()


class _Span(Span):
    __slots__ = ()

    @property
    def trace(self) -> bytes:
        return _id(self.raw.get("traceId"))

    @property
    def id(self) -> bytes:
        return _id(self.raw.get("spanId"))

    @property
    def parent(self) -> bytes:
        return _id(self.raw.get("parentSpanId"))

    def attributes(self) -> dict[str, Value]:
        return _attributes(sequence(self.raw.get("attributes")))

    def happenings(self) -> list[Happening]:
        events = [mapping(event) for event in sequence(self.raw.get("events"))]
        return [Happening(str(event.get("name")), _attributes(sequence(event.get("attributes")))) for event in events]


def _span(raw: Any) -> Span:
    start, end, status = int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"]), raw.get("status")
    name = raw["name"]
    if type(name) is not str or not 0 < start <= end < LATEST:
        raise MalformedError("a span without name or times")
    return _Span(raw, name, raw.get("kind"), start, end, status is not None and status.get("code") == ERROR)


def _metric(raw: Any) -> Metric:
    name, unit, about = (_text(raw.get(field)) for field in ("name", "unit", "description"))
    sort = next((sort for sort in ("gauge", "sum", "histogram") if sort in raw), None)
    if sort is None:
        unknown = [sequence(value.get("dataPoints")) for value in raw.values() if isinstance(value, dict)]
        return Metric(name, unit, about, Shape.UNSUPPORTED, unread=sum(map(len, unknown)))
    data = raw[sort]
    read = partial(_careful, _histogram if sort == "histogram" else _number)
    return Metric(
        name,
        unit,
        about,
        Shape(sort),
        map(read, sequence(data.get("dataPoints"))),
        monotonic=data.get("isMonotonic") is True,
        delta=data.get("aggregationTemporality") == DELTA,
    )


def _careful(read: Callable[[Any], Point | None], raw: Any) -> Point | None:
    try:
        return read(raw)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None


def _number(raw: Any) -> Point | None:
    value = raw.get("asDouble", raw.get("asInt"))
    return Point(_attributes(sequence(raw.get("attributes"))), float(value))


def _histogram(raw: Any) -> Point | None:
    bounds = [float(bound) for bound in sequence(raw.get("explicitBounds"))]
    counts = [float(int(count)) for count in sequence(raw.get("bucketCounts"))]
    if not counts:
        bounds, counts = [], [float(int(raw["count"]))]
    if len(counts) != len(bounds) + 1 or bounds != sorted(bounds) or min(counts) < 0:
        return None
    return Point(_attributes(sequence(raw.get("attributes"))), float(raw.get("sum", 0)), bounds, counts)


def _record(raw: Any) -> Record:
    at = int(raw.get("timeUnixNano") or raw.get("observedTimeUnixNano") or 0)
    body = _value(mapping(raw.get("body")))
    severity = raw.get("severityNumber")
    return Record(
        at if 0 <= at < LATEST else 0,
        severity if isinstance(severity, int) else 0,
        body if isinstance(body, str) else "" if body is None else str(body),
        _attributes(sequence(raw.get("attributes"))),
        _id(raw.get("traceId")),
    )


def _attributes(pairs: list[Any]) -> dict[str, Value]:
    found = {}
    for pair in pairs:
        if isinstance(pair, dict) and isinstance(key := pair.get("key"), str):
            found[key] = _value(pair.get("value"))
    return found


def _value(value: Any, levels: int = DEEPEST) -> Value:
    if not isinstance(value, dict) or levels == 0:
        return None
    for sort, found in islice(value.items(), 1):
        if sort in {"stringValue", "boolValue", "doubleValue"}:
            return found if isinstance(found, str | bool | float | int) else None
        if sort == "intValue":
            return _int(found)
        if sort == "arrayValue":
            return [_value(inner, levels - 1) for inner in sequence(mapping(found).get("values"))]
        if sort == "kvlistValue":
            pairs = [mapping(pair) for pair in sequence(mapping(found).get("values"))]
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
