"""What a line says besides its text, for systems that take texts by name."""

import orjson

from toban.core.log_line import LogLine


def metadata(line: LogLine) -> dict[str, str]:
    """Return the facts and the trace id as texts: what Loki calls structured metadata."""
    facts = {
        name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in line.facts.items()
    }
    return {**facts, **({"trace_id": line.trace_id} if line.trace_id else {})}
