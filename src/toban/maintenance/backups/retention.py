"""Which backups are kept: one of each day, week and month (grandfather, father, son). Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from toban.maintenance.backups.archive import Archive


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days, weeks and months the newest backup of each is kept; those without a backup do not count."""

    daily: int
    weekly: int
    monthly: int


def expired(archives: Sequence[Archive], retention: Retention, zone: ZoneInfo) -> list[Archive]:
    """
    Return the archives that are kept no longer, oldest first; never the newest.

    ``archives`` are complete ones only. Days begin at midnight in the shop's time zone, weeks on Monday.
    """
    ordered = sorted(archives, key=lambda it: (it.time, it.name), reverse=True)
    kept = set(ordered[:1])
    for most, period in ((retention.daily, _day), (retention.weekly, _week), (retention.monthly, _month)):
        kept.update(_newest_of_each(ordered, most, period, zone))
    return [it for it in reversed(ordered) if it not in kept]


def _newest_of_each(
    newest_first: Sequence[Archive], most: int, period: Callable[[datetime], object], zone: ZoneInfo
) -> list[Archive]:
    found: dict[object, Archive] = {}
    for it in newest_first:
        found.setdefault(period(it.time.astimezone(zone)), it)
    return list(found.values())[:most]


def _day(at: datetime) -> object:
    return at.date()


def _week(at: datetime) -> object:
    year, week, _ = at.isocalendar()
    return year, week


def _month(at: datetime) -> object:
    return at.year, at.month
