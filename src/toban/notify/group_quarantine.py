"""Notification groups that fail in every decision: they are moved to quarantine, and their alerts grouped anew."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from toban.core.item_isolation import ItemFailure

LASTING: Final = timedelta(minutes=5)
"""How long a group may fail before it is moved to quarantine: as long its alerts are not notified."""

PART: Final = "group"


class GroupQuarantine:
    """Since when groups have failed in every decision."""

    def __init__(self) -> None:
        self._since: Mapping[str, datetime] = {}

    def note(self, failures: Iterable[ItemFailure], now: datetime) -> None:
        """Note which groups a decision left out; one that it did not leave out starts anew."""
        self._since = {it.item: self._since.get(it.item, now) for it in failures if it.part == PART}

    def lasting(self, failures: Iterable[ItemFailure], now: datetime) -> list[ItemFailure]:
        """Return which of the groups that a decision left out have failed for long."""
        return [it for it in failures if it.part == PART and now - self._since.get(it.item, now) >= LASTING]
