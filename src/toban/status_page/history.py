"""How each part of the shop worked on each day, by what was published."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from toban.status_page.posts import StatusPost

DAYS: Final = 90
"""Days of the history, today included."""

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a component."""

    date: date
    length: timedelta
    """So far, for today; 23 or 25 hours where the clocks change."""
    disturbed: timedelta
    """For how long a post said that the component was affected."""


def component_days(posts: Sequence[StatusPost], component: str, now: datetime, zone: ZoneInfo) -> list[Day]:
    """Return the days of a component in a time zone, the oldest first. Posts at the same time count once."""
    spans = _merged([(it.starts, it.ends or now) for it in posts if component in it.components])
    today = now.astimezone(zone).date()
    days = []
    for day in (today - timedelta(days=ago) for ago in reversed(range(DAYS))):
        # Differences are those of UTC: a day has 23 or 25 hours where the clocks change.
        begin = datetime.combine(day, time(), zone).astimezone(now.tzinfo)
        end = min(now, datetime.combine(day + timedelta(days=1), time(), zone).astimezone(now.tzinfo))
        disturbed = sum((_overlap(it, (begin, end)) for it in spans), timedelta())
        days.append(Day(day, end - begin, disturbed))
    return days


def availability(days: Sequence[Day]) -> float:
    """Return the share of the time of some days in which nothing was disturbed, from 0 to 1."""
    length = sum((it.length for it in days), timedelta())
    return 1 - sum((it.disturbed for it in days), timedelta()) / length if length else 1.0


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _overlap(one: Span, other: Span) -> timedelta:
    return max(timedelta(), min(one[1], other[1]) - max(one[0], other[0]))
