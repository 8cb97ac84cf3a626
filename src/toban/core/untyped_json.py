"""Plain data from outside, where anything may stand in any place."""

from datetime import UTC, datetime
from typing import Any


def as_mapping(found: Any) -> dict[str, Any]:
    """Return an object; one without fields where something else stands."""
    return found if isinstance(found, dict) else {}


def as_list(found: Any) -> list[Any]:
    """Return a list; an empty one where something else stands."""
    return found if isinstance(found, list) else []


def as_time(found: Any) -> datetime | None:
    """Return a time in UTC that RFC 3339 wrote with its zone, with any number of digits; nothing where none stands."""
    try:
        at = datetime.fromisoformat(str(found))
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None
