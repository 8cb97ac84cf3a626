"""The format `winston`: a JSON object on each line, as winston, Pino, Bunyan and NestJS write it."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from toban.core.log_levels import known_level
from toban.logs.line_parser import ANSI, LineParser, ParsedLine, Reading
from toban.logs.timestamps import parse_timestamp

CATEGORIES: Final = ("business", "security", "performance")

MESSAGE: Final = ("message", "msg")
LEVEL: Final = ("level", "severity")
TIME: Final = ("timestamp", "time", "@timestamp")
TRACE: Final = ("stack", "trace")
ERRORS: Final = ("err", "error")
"""Objects whose `stack` is the stack trace where there is no other: Pino writes errors so."""
TEXTS: Final = ("context", "service", "environment", "instance")
TRACE_IDS: Final = ("trace_id", "traceId", "trace.id", "otelTraceID", "dd.trace_id")

LONE_SURROGATE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Half of a character in JSON: a text that was cut in the middle of an emoji."""

HEX: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
DATADOG: Final = re.compile(r"[0-9]{1,20}")
"""Datadog's trace ids are decimal numbers of 64 bits."""


class Winston(LineParser):
    """Read JSON: message, level, time, context, stack trace and trace id; everything else is a fact."""

    kind: Literal["winston"] = "winston"

    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what a line says; without a message, the whole line is the message."""
        if not text.startswith("{"):
            return None
        fields = _json_object(text)
        if fields is None:
            return None
        key = _first(fields, TIME)
        at = parse_timestamp(fields[key], reading) if key else None
        if at:
            del fields[key]
        key = _first(fields, LEVEL)
        level = _level(fields[key]) if key else None
        if level:
            del fields[key]
        trace_id = _trace_id(fields)
        trace = _trace(fields)
        context, service, environment, instance = (_text(fields, name) for name in TEXTS)
        category = _text(fields, "category") if fields.get("category") in CATEGORIES else ""
        key = _first(fields, MESSAGE)
        message = _message(fields.pop(key), text) if key else text
        return ParsedLine(
            message,
            level,
            at,
            context,
            service,
            environment,
            instance,
            category,
            trace,
            trace_id,
            fields if key else {},
        )


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(text)
    except ValueError:
        repaired = LONE_SURROGATE.sub(r"\\ufffd", text)
        return _json_object(repaired) if repaired != text else None
    return fields if isinstance(fields, dict) else None


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the first name that there is, empty if there is none."""
    for name in names:
        if name in fields:
            return name
    return ""


def _level(value: object) -> Any:
    return known_level(ANSI.sub("", value) if isinstance(value, str) and "\x1b" in value else value)


def _text(fields: dict[str, Any], name: str) -> str:
    """Remove and return a text; what is none stays."""
    return fields.pop(name) if isinstance(fields.get(name), str) else ""


def _message(value: object, line: str) -> str:
    if isinstance(value, str):
        return ANSI.sub("", value) if "\x1b" in value else value
    if isinstance(value, dict) and isinstance(value.get("message"), str) and len(value) == 1:
        return str(value["message"])
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # it is nested deeper than can be written
        return line


def _trace(fields: dict[str, Any]) -> str:
    """Remove and return the stack trace."""
    for name in TRACE:
        value = fields.get(name)
        if isinstance(value, str):
            return str(fields.pop(name))
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return "\n".join(fields.pop(name))
    for name in ERRORS:
        value = fields.get(name)
        if isinstance(value, dict) and isinstance(value.get("stack"), str):
            return str(value.pop("stack"))
    return ""


def _trace_id(fields: dict[str, Any]) -> str:
    """Remove and return the trace id in hexadecimal digits; empty if there is none."""
    for name in TRACE_IDS:
        if name in fields:
            if trace_id := _hexadecimal(name, fields[name]):
                del fields[name]
                return trace_id
        elif "." in name:
            group, _, key = name.partition(".")
            inner = fields.get(group)
            if isinstance(inner, dict) and (trace_id := _hexadecimal(name, inner.get(key))):
                return trace_id
    return ""


def _hexadecimal(name: str, value: object) -> str:
    text = str(value).lower() if isinstance(value, str | int) else ""
    if name == "dd.trace_id" and len(text) != 32 and DATADOG.fullmatch(text):
        text = f"{int(text):016x}"
    return text if HEX.fullmatch(text) and text.strip("0") else ""
