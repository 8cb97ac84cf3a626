"""A line while a pipeline runs over it: its text, and its labels by where they come from."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from toban.core.log_line import LogLine, LogStream
from toban.logs.text_filter import shown_text

ERROR: Final = "__error__"
"""The label that says why a stage failed for a line."""
ERROR_DETAILS: Final = "__error_details__"
TRACE_ID: Final = "trace_id"

STREAM_LABELS: Final = (*LogStream._fields, "service_name", "detected_level")
"""The labels of streams; the last two are other names of ``service`` and ``level``, which Grafana wants."""

MAX_NESTING: Final = 20
"""How deep in JSON a field may lie to become a label."""

_INVALID: Final = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(slots=True)
class Record:
    """
    A line's text, and its labels.

    The labels of its stream, its structured metadata (trace id and facts), and what the pipeline has parsed or set.
    The mappings are shared: they are replaced, never changed.
    """

    line: LogLine
    text: str
    stream: Mapping[str, str]
    metadata: Mapping[str, str]
    parsed: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Return the value of a label, empty where there is none."""
        return self.parsed.get(name) or self.metadata.get(name) or self.stream.get(name, "")

    def has(self, name: str) -> bool:
        """Tell whether there is a label."""
        return name in self.parsed or name in self.metadata or name in self.stream

    def parse(self, found: Mapping[str, str]) -> None:
        """Add labels that a parser found; one that the stream has too gets another name, as in Loki."""
        renamed = {f"{name}_extracted" if name in self.stream else name: value for name, value in found.items()}
        self.parsed = {**self.parsed, **renamed}

    def fail(self, error: str, details: str) -> None:
        """Record why a stage failed."""
        self.parsed = {**self.parsed, ERROR: error, ERROR_DETAILS: details}

    def drop(self, names: frozenset[str]) -> None:
        """Remove labels."""
        self.stream, self.metadata, self.parsed = (
            {name: value for name, value in labels.items() if name not in names}
            for labels in (self.stream, self.metadata, self.parsed)
        )

    @property
    def labels(self) -> dict[str, str]:
        """All labels together."""
        return {**self.stream, **self.metadata, **self.parsed}


def record_of(line: LogLine) -> Record:
    """Return the record of a line."""
    return Record(line, shown_text(line), stream_labels(line.stream), metadata_labels(line))


@lru_cache(maxsize=4096)
def stream_labels(stream: LogStream) -> Mapping[str, str]:
    """Return the labels of a stream."""
    labels = {
        "service": stream.service,
        "service_name": stream.service,
        "environment": stream.environment,
        "instance": stream.instance,
        "context": stream.context,
        "category": stream.category,
        "level": stream.level,
        "detected_level": stream.level,
    }
    return {name: value for name, value in labels.items() if value}


def metadata_labels(line: LogLine) -> dict[str, str]:
    """Return the structured metadata of a line: its trace id, and its facts."""
    labels = fact_labels(line)
    if line.trace_id:
        labels[TRACE_ID] = line.trace_id
    return labels


def fact_labels(line: LogLine) -> dict[str, str]:
    """Return a line's facts as labels; one that a stream has too gets another name."""
    return {
        f"{name}_extracted" if name in STREAM_LABELS else name: value for name, value in flattened(line.facts).items()
    }


def flattened(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of JSON as labels: ``{"a": {"b": 1}}`` is ``a_b="1"``; arrays and nulls are left out."""
    return dict(_flattened(fields, "", 0))


def _flattened(fields: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in fields.items():
        name = f"{prefix}{label_name(key)}" if prefix else label_name(key)
        if isinstance(value, Mapping):
            if depth < MAX_NESTING:
                yield from _flattened(value, f"{name}_", depth + 1)
        elif value is not None and not isinstance(value, list | tuple):
            yield name, label_value(value)


def label_name(key: object) -> str:
    """Return the name of a label for a key: with ``_`` for what a name can't have."""
    name = _INVALID.sub("_", str(key)) or "_"
    return f"_{name}" if name[0].isdigit() else name


def label_value(value: Any) -> str:
    """Return the value of a field as the value of a label."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return orjson.dumps(value, default=str).decode()
