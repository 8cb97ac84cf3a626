"""Access to JSON from outside, whose values may have any type."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson


def as_mapping(value: Any) -> dict[str, Any]:
    """Return an object; an empty one if the value has another type."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a list; an empty one if the value has another type."""
    return value if isinstance(value, list) else []


def as_time(value: Any) -> datetime | None:
    """Return a time of RFC 3339 with a zone, in UTC, with any number of digits; None if the value is none."""
    try:
        at = datetime.fromisoformat(str(value))
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def json_text(value: Any) -> str:
    """Return any value as JSON; what JSON does not know is a text in it."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # integers beyond 64 bits, halves of surrogate pairs
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
