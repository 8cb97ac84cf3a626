"""Label values from outside: bounded and without secrets."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from toban.core.labels import VALUE_LENGTH, bounded_value
from toban.core.redaction import redact_text
from toban.ingest.otlp_model import SpanEvent, Value

ANONYMOUS: Final = "(anonymous)"
"""The name of operations that the client didn't name."""

NONE: Final = "(none)"
"""The endpoint of requests that no route of the shop matches."""

OPERATION: Final = re.compile(r"[_A-Za-z]\w*", re.ASCII)
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


MAX_SEARCHED: Final = 200
"""Characters of a name that are searched for secrets: a label is shorter."""


def safe_label(text: str) -> str:
    """Return a name from outside as a label value: without secrets, and not too long."""
    redacted = _redacted(text[:MAX_SEARCHED])
    return redacted if len(text) <= MAX_SEARCHED and len(redacted) <= VALUE_LENGTH else bounded_value(redacted, text)


@lru_cache(2000)
def _redacted(text: str) -> str:
    return redact_text(text)


def operation(name: Value) -> str:
    """Return the name of a GraphQL operation; one that the grammar forbids counts as anonymous."""
    return safe_label(name) if isinstance(name, str) and OPERATION.fullmatch(name) else ANONYMOUS


def method(name: Value) -> str:
    """Return a request's method; an unknown one is `_OTHER`, as in OpenTelemetry."""
    return name if isinstance(name, str) and name in METHODS else "_OTHER"


def first_text(attributes: Mapping[str, Value], *names: str) -> str:
    """Return the first of some attributes that is a text: conventions rename attributes."""
    return next((value for name in names if isinstance(value := attributes.get(name), str)), "")


def first_integer(attributes: Mapping[str, Value], *names: str) -> int:
    """Return the first of some attributes that is an integer, else zero."""
    return next((value for name in names if isinstance(value := attributes.get(name), int)), 0)


def texts(attributes: Mapping[str, Value], name: str) -> list[str]:
    """Return the texts in a list attribute."""
    values = attributes.get(name)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def exception(events: list[SpanEvent]) -> tuple[str, str] | None:
    """Return type and message of the first exception among a span's events, if there is one."""
    for event in events:
        if event.name == "exception":
            return first_text(event.attributes, "exception.type"), first_text(event.attributes, "exception.message")
    return None
