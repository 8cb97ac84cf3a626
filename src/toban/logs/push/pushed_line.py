"""
Makes lines of what is pushed: a text, with labels and structured metadata.

The first of these labels that is there becomes the field of the line; all others become facts:

| field | labels |
|---|---|
| service | `service`, `service_name`, `app`, `application`, `app_kubernetes_io_name`, `container`, `job` |
| environment | `environment`, `env`, `deployment_environment`, `deployment_environment_name` |
| instance | `instance`, `service_instance_id`, `host`, `hostname`, `pod`, `node_name` |
| context | `context`, `logger`, `logger_name` |
| level | `level`, `detected_level`, `severity`, `severity_text` |
| category | `category` |
| trace_id | `trace_id`, `traceId`, `traceID`, `trace.id` |

A text in a format that toban knows, like winston's JSON, is parsed: what it says of itself wins, except for
its service, environment and instance, which the sender's labels name.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from toban.core.log_levels import known_level
from toban.core.log_line import LogLevel, LogLine
from toban.logs.line_parser import ParsedLine

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "service": ("service", "service_name", "app", "application", "app_kubernetes_io_name", "container", "job"),
    "environment": ("environment", "env", "deployment_environment", "deployment_environment_name"),
    "instance": ("instance", "service_instance_id", "host", "hostname", "pod", "node_name"),
    "context": ("context", "logger", "logger_name"),
    "level": ("level", "detected_level", "severity", "severity_text"),
    "category": ("category",),
    "trace_id": ("trace_id", "traceId", "traceID", "trace.id"),
}
"""The labels that become a field of the line, in the order in which they count."""

CATEGORIES: Final = frozenset({"business", "security", "performance"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(nanoseconds: int) -> datetime:
    """Return a time since the epoch. Raises ``OverflowError`` when it is far out of range."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def pushed_line(
    parsed: ParsedLine, at: datetime, labels: Mapping[str, object], *, is_time_exact: bool = True
) -> LogLine:
    """Return the line of what was parsed of a text, and of the labels that came with it."""
    fields, facts = _divided(labels)
    level = parsed.level or known_level(fields.pop("level", ""))
    category = fields.pop("category", "")
    if category not in CATEGORIES:
        facts.update({"category": category} if category else {})
        category = ""
    return LogLine(
        at=at,
        level=level or LogLevel.INFO,
        message=parsed.message,
        context=parsed.context or fields.get("context", ""),
        service=fields.get("service") or parsed.service,
        environment=fields.get("environment") or parsed.environment,
        instance=fields.get("instance") or parsed.instance,
        category=parsed.category or category,
        trace=parsed.trace,
        trace_id=parsed.trace_id or fields.get("trace_id", ""),
        facts={**facts, **parsed.facts},
        is_time_exact=is_time_exact,
    )


def _divided(labels: Mapping[str, object]) -> tuple[dict[str, str], dict[str, object]]:
    """Return the fields that labels become, and the facts; one that repeats a field, or is empty, is none."""
    fields: dict[str, str] = {}
    facts = dict(labels)
    for field, names in FIELDS.items():
        for name in names:
            value = facts.get(name)
            if isinstance(value, str) and (not value or fields.setdefault(field, value) == value):
                del facts[name]
    return fields, facts
