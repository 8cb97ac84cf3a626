"""Bodies of OTLP requests, written as JavaScript writes them."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

START: Final = 1_795_462_690_000_000_000
_IDS: Final = itertools.count(1)

HTTP: Final = "@opentelemetry/instrumentation-http"
GRAPHQL: Final = "@opentelemetry/instrumentation-graphql"
PG: Final = "@opentelemetry/instrumentation-pg"
IOREDIS: Final = "@opentelemetry/instrumentation-ioredis"
CORE: Final = "@vendure/core"


def new_id() -> str:
    return f"{next(_IDS):016x}"


def value(one: Any) -> dict[str, Any]:
    if isinstance(one, bool):
        return {"boolValue": one}
    if isinstance(one, int):
        return {"intValue": one}
    if isinstance(one, float):
        return {"doubleValue": one}
    if isinstance(one, list):
        return {"arrayValue": {"values": [value(inner) for inner in one]}}
    return {"stringValue": one}


def attributes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(one)} for key, one in found.items()]


def span(
    name: str,
    scope: str = HTTP,
    *,
    trace: int = 1,
    kind: int = 1,
    at: float = 0,
    took: float = 10,
    parent: str = "",
    id: str = "",
    failed: str | None = None,
    events: Iterable[tuple[str, Mapping[str, Any]]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """A span that began ``at`` and ``took`` so many milliseconds; ``failed`` is the class of its exception."""
    start = START + int(at * 1e6)
    happened = [*events, *([("exception", {"exception.type": failed})] if failed else [])]
    return {
        "scope": scope,
        "traceId": f"{trace:032x}",
        "spanId": id or new_id(),
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + int(took * 1e6)),
        "attributes": attributes({key.replace("__", "."): one for key, one in fields.items()}),
        "events": [{"name": name, "attributes": attributes(found)} for name, found in happened],
        "status": {"code": 0 if failed is None else 2},
    }


def request(route: str = "/shop-api", status: int = 200, **options: Any) -> dict[str, Any]:
    """A SERVER span."""
    fields = {"http__route": route, "http__method": "POST", "http__status_code": status}
    return span(f"POST {route}", HTTP, kind=2, **{**fields, **options})


def operation(name: str = "Search", *, at: float = 1, took: float = 5, **options: Any) -> dict[str, Any]:
    """The span of a GraphQL operation."""
    fields = {"graphql__operation__type": "query", **({"graphql__operation__name": name} if name else {})}
    return span(f"query {name}".strip(), GRAPHQL, at=at, took=took, **fields, **options)


def traces(*spans: dict[str, Any], service: str = "vendure", **resource: Any) -> bytes:
    """A body with spans of one process."""
    fields = {"service.name": service, "host.name": "vm", "process.pid": 7, **resource}
    scopes = [{"scope": {"name": one["scope"]}, "spans": [one]} for one in spans]
    return orjson.dumps({"resourceSpans": [{"resource": {"attributes": attributes(fields)}, "scopeSpans": scopes}]})


def metrics(*found: dict[str, Any], service: str = "vendure", scope: str = PG, **resource: Any) -> bytes:
    """A body with metrics of one process."""
    fields = {"service.name": service, "service.instance.id": "m1", **resource}
    scopes = [{"scope": {"name": scope}, "metrics": list(found)}]
    return orjson.dumps({"resourceMetrics": [{"resource": {"attributes": attributes(fields)}, "scopeMetrics": scopes}]})


def logs(*records: tuple[int, str], service: str = "vendure", **fields: Any) -> bytes:
    """A body with log records: severity and message."""
    found = [
        {
            "timeUnixNano": str(START),
            "severityNumber": severity,
            "body": {"stringValue": message},
            "attributes": attributes(fields),
        }
        for severity, message in records
    ]
    resource = {"attributes": attributes({"service.name": service})}
    return orjson.dumps(
        {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {"name": CORE}, "logRecords": found}]}]}
    )
