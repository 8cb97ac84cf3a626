"""Instants of wall-clock times: right where clocks are set forward or back."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

NIGHT_HOURS: Final = (*range(22, 24), *range(7))
"""The hours in which people sleep."""

_SECOND: Final = timedelta(seconds=1)


def first_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """
    Return the first instant, in UTC, at which clocks show a time on a day.

    Where that time does not exist, because clocks are set forward over it, this is the first instant after the gap.
    """
    wall = datetime.combine(day, at, tzinfo=zone)
    early, late = wall.replace(fold=1).astimezone(UTC), wall.replace(fold=0).astimezone(UTC)
    if late <= early:
        return late  # it exists once, or twice: the first of both
    return _end_of_gap(early, late, zone)


def last_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return the last instant, in UTC, at which clocks show a time on a day; like `first_instant` in a gap."""
    wall = datetime.combine(day, at, tzinfo=zone)
    early, late = wall.replace(fold=1).astimezone(UTC), wall.replace(fold=0).astimezone(UTC)
    return early if late <= early else _end_of_gap(early, late, zone)


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Return when clocks are set forward between two instants."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
