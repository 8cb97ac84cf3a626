"""What a line becomes in Loki, and how it is made from that again: labels of a stream, a text, and metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from toban.core.log_line import LogLevel, LogLine, LogStream
from toban.core.untyped_json import json_text
from toban.logs.text_fields import MESSAGE_LINES, structured_metadata
from toban.logs.text_filter import shown_text

MILLISECOND: Final = 1_000_000
"""Nanoseconds."""

OF_THE_ENGINE: Final = frozenset({"service_name", "detected_level"})
"""Labels that Loki adds by itself."""

MAX_SCALAR: Final = 30
"""Characters of a number or a truth value."""

_SCALARS: Final = frozenset("-0123456789tfn")
_EXTRACTED: Final = "_extracted"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LEVELS: Final = {
    "warning": LogLevel.WARN,
    "trace": LogLevel.DEBUG,
    "fatal": LogLevel.ERROR,
    "critical": LogLevel.ERROR,
}


@dataclass(frozen=True, slots=True)
class OutsideLine:
    """A line as an engine outside has it; ``at`` is its time in nanoseconds."""

    at: int
    stream: Mapping[str, str]
    text: str
    metadata: Mapping[str, str]

    @property
    def key(self) -> tuple[object, ...]:
        """What tells lines apart; one that was sent twice is one line."""
        return self.at, tuple(sorted(self.stream.items())), self.text, tuple(sorted(self.metadata.items()))


def outside_line(line: LogLine, nanoseconds: int, labels: Mapping[str, str]) -> OutsideLine:
    """Return a line as it is sent; ``labels`` are further ones of all streams."""
    stream = {name: value for name, value in line.stream._asdict().items() if value}
    return OutsideLine(nanoseconds, {**labels, **stream}, shown_text(line), structured_metadata(line))


def restored_line(found: OutsideLine, labels: Mapping[str, str]) -> LogLine:
    """
    Return the line that was sent.

    Metadata are texts: a number, a truth value and null become values again. Labels of streams that are none of
    toban's, for another program has sent the line, become facts. What follows the first newline of a text is the stack
    trace, unless the metadata says that the message has several lines.
    """
    facts = dict(found.metadata)
    trace_id, lines = facts.pop("trace_id", ""), facts.pop(MESSAGE_LINES, "1")
    message, trace = _divided(found.text, int(lines) if lines.isdecimal() and len(lines) < 7 else 1)
    others = {
        name: value
        for name, value in found.stream.items()
        if name not in LogStream._fields and name not in labels and not name.startswith("__")
    }
    fields = LogStream(**{name: found.stream.get(name, "") for name in LogStream._fields})
    return LogLine(
        at=_EPOCH + timedelta(milliseconds=found.at // MILLISECOND),
        level=level_of(fields.level),
        message=message,
        context=fields.context,
        service=fields.service,
        environment=fields.environment,
        instance=fields.instance,
        category=fields.category,
        trace=trace,
        trace_id=trace_id,
        facts={
            _fact_name(name): _value(value)
            for name, value in {**others, **facts}.items()
            if name not in OF_THE_ENGINE and not name.startswith("__")
        },
    )


def restored_stream(labels: Mapping[str, str]) -> LogStream:
    """Return the stream of some labels."""
    stream = LogStream(**{name: labels.get(name, "") for name in LogStream._fields})
    return stream._replace(level=level_of(stream.level).value)


def _divided(text: str, lines: int) -> tuple[str, str]:
    """Return the first lines of a text, and the others."""
    parts = text.split("\n", lines)
    return "\n".join(parts[:lines]), parts[lines] if len(parts) > lines else ""


def _fact_name(name: str) -> str:
    """Return a fact's own name: one that is the name of a label too has got another (`level_extracted`)."""
    own = name.removesuffix(_EXTRACTED)
    return own if own in LogStream._fields else name


def _value(text: str) -> object:
    """Return a value as it is stored: nested ones are texts there too."""
    if not text or text[0] not in _SCALARS or len(text) > MAX_SCALAR:
        return text
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    return value if json_text(value) == text else text


def level_of(text: str) -> LogLevel:
    """Return a level by its name here, or in other programs; `info` for an unknown one."""
    lower = text.lower()
    return LogLevel(lower) if lower in set(LogLevel) else _LEVELS.get(lower, LogLevel.INFO)
