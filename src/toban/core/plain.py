"""Plain data from outside, where anything may stand in any place."""

from typing import Any


def mapping(found: Any) -> dict[str, Any]:
    """Return an object; one without fields where something else stands."""
    return found if isinstance(found, dict) else {}


def sequence(found: Any) -> list[Any]:
    """Return a list; an empty one where something else stands."""
    return found if isinstance(found, list) else []
