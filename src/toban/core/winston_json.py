"""A line as winston writes it."""

from typing import Any

from toban.core.log_line import LogLine


def winston_json(line: LogLine) -> dict[str, Any]:
    """Return the fields of a line: its facts stand beside the others, and none of them hides one."""
    fields: dict[str, Any] = {
        "timestamp": f"{line.at:%Y-%m-%dT%H:%M:%S}.{line.at.microsecond // 1000:03d}Z",
        "level": line.level.value,
        "message": line.message,
        "context": line.context,
        "service": line.service,
        "environment": line.environment,
        "instance": line.instance,
        "category": line.category,
        "trace": line.trace,
        "trace_id": line.trace_id,
    }
    return {**line.facts, **{name: value for name, value in fields.items() if value or name == "message"}}
