"""Groups that fail at every decision: they are set aside, so that their alerts are told in a new one."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from toban.core.item_isolation import ItemFailure

LASTING: Final = timedelta(minutes=5)
"""How long a group may fail before it is set aside: as long nobody hears of its alerts."""

PART: Final = "thread"


class LastingFailures:
    """Since when groups have failed at every decision."""

    def __init__(self) -> None:
        self._since: Mapping[str, datetime] = {}

    def note(self, failures: Iterable[ItemFailure], now: datetime) -> None:
        """Note which groups a decision had to leave out; one that it had not begins anew."""
        self._since = {it.item: self._since.get(it.item, now) for it in failures if it.part == PART}

    def lasting(self, failures: Iterable[ItemFailure], now: datetime) -> list[ItemFailure]:
        """Return which of the groups that a decision left out have failed for long."""
        return [it for it in failures if it.part == PART and now - self._since.get(it.item, now) >= LASTING]
