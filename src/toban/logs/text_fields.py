"""A line as other systems take it: one text, and what else it says as texts by name."""

import orjson

from toban.core.log_line import LogLine


def full_text(line: LogLine) -> str:
    """Return the message, and the stack trace below it."""
    return f"{line.message}\n{line.trace}" if line.trace else line.message


def metadata(line: LogLine) -> dict[str, str]:
    """Return the facts and the trace id as texts: what Loki calls structured metadata."""
    facts = {
        name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in line.facts.items()
    }
    return {**facts, **({"trace_id": line.trace_id} if line.trace_id else {})}
