"""What may stand in a label."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from toban.core.labels import VALUE_LENGTH, bounded_value
from toban.core.redaction import redact_text
from toban.ingest.otlp_model import SpanEvent, Value

ANONYMOUS: Final = "(anonymous)"
"""What is called so has no name: an operation that the client didn't name."""

NONE: Final = "(none)"
"""A request that no route of the shop took."""

OPERATION: Final = re.compile(r"[_A-Za-z]\w*", re.ASCII)
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


LONGEST: Final = 200
"""Characters of a name that are looked at for secrets: a label takes less."""


def safe_label(text: str) -> str:
    """Return a name from outside as it may stand in a label: without secrets, and not too long."""
    seen = _scrubbed(text[:LONGEST])
    return seen if len(text) <= LONGEST and len(seen) <= VALUE_LENGTH else bounded_value(seen, text)


@lru_cache(2000)
def _scrubbed(text: str) -> str:
    return redact_text(text)


def operation(name: Value) -> str:
    """Return what a GraphQL operation is called; what the grammar doesn't know is no name."""
    return safe_label(name) if isinstance(name, str) and OPERATION.fullmatch(name) else ANONYMOUS


def method(name: Value) -> str:
    """Return a request's method; what HTTP doesn't know is told as OpenTelemetry does."""
    return name if isinstance(name, str) and name in METHODS else "_OTHER"


def first_text(attributes: Mapping[str, Value], *names: str) -> str:
    """Return the first of some attributes that is a text: conventions change their names."""
    return next((value for name in names if isinstance(value := attributes.get(name), str)), "")


def first_integer(attributes: Mapping[str, Value], *names: str) -> int:
    """Return the first of some attributes that is a whole number, else nought."""
    return next((value for name in names if isinstance(value := attributes.get(name), int)), 0)


def texts(attributes: Mapping[str, Value], name: str) -> list[str]:
    """Return a list of texts."""
    found = attributes.get(name)
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []


def exception(happenings: list[SpanEvent]) -> tuple[str, str] | None:
    """Return class and message of the exception that a span met, if it met one."""
    for happening in happenings:
        if happening.name == "exception":
            return first_text(happening.attributes, "exception.type"), first_text(
                happening.attributes, "exception.message"
            )
    return None
