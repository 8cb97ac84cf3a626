"""What a line says besides its text, for systems that take texts by name."""

from typing import Final

from toban.core.log_line import LogLine, LogStream
from toban.core.untyped_json import json_text

MESSAGE_LINES: Final = "message_lines"
"""The metadata that says how many lines a message has, where that is more than one."""


def fact_texts(line: LogLine) -> dict[str, str]:
    """Return the facts as texts."""
    return {name: value if isinstance(value, str) else json_text(value) for name, value in line.facts.items()}


def metadata(line: LogLine) -> dict[str, str]:
    """Return the facts and the trace id as texts."""
    return {**fact_texts(line), **({"trace_id": line.trace_id} if line.trace_id else {})}


def structured_metadata(line: LogLine) -> dict[str, str]:
    """
    Return the facts and the trace id as Loki's structured metadata.

    A fact that has the name of a stream's label gets another name, as Loki would give it. Where the message has
    newlines, it says where the stack trace begins.
    """
    found = {
        f"{name}_extracted" if name in LogStream._fields else name: value for name, value in metadata(line).items()
    }
    if "\n" in line.message:
        found[MESSAGE_LINES] = str(line.message.count("\n") + 1)
    return found
