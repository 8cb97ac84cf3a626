"""What a line says besides its text, for systems that take texts by name."""

from toban.core.log_line import LogLine
from toban.core.untyped_json import json_text


def fact_texts(line: LogLine) -> dict[str, str]:
    """Return the facts as texts."""
    return {name: value if isinstance(value, str) else json_text(value) for name, value in line.facts.items()}


def metadata(line: LogLine) -> dict[str, str]:
    """Return the facts and the trace id as texts: what Loki calls structured metadata."""
    return {**fact_texts(line), **({"trace_id": line.trace_id} if line.trace_id else {})}
