"""The periods of reports: days, weeks and months in the shop's time zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Period(StrEnum):
    """How long the time of a report is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a report: from the first to the last one, both included, in a time zone."""

    period: Period
    first: date
    last: date
    zone: ZoneInfo

    @property
    def begins(self) -> datetime:
        """When it begins, in UTC."""
        return midnight(self.first, self.zone)

    @property
    def ends(self) -> datetime:
        """When it ends, in UTC: the first moment that does not belong to it."""
        return midnight(self.last + timedelta(days=1), self.zone)

    @property
    def days(self) -> Sequence[date]:
        """Its days."""
        return [self.first + timedelta(days=it) for it in range((self.last - self.first).days + 1)]

    @property
    def minutes(self) -> float:
        """How many minutes it has: a day with a change of the clock has 1,380 or 1,500."""
        return (self.ends - self.begins) / timedelta(minutes=1)

    def before(self) -> "Span":
        """Return the span of the same period before it."""
        return span_of(self.period, self.first - timedelta(days=1), self.zone)

    def year_before(self) -> "Span":
        """Return the same month of the year before; for days and weeks that with the same weekdays, 52 weeks ago."""
        if self.period is Period.MONTH:
            return span_of(self.period, self.first.replace(year=self.first.year - 1, day=1), self.zone)
        shift = timedelta(weeks=52)
        return Span(self.period, self.first - shift, self.last - shift, self.zone)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins, in UTC; where its midnight does not exist, an hour later on the clock."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def span_of(period: Period, day: date, zone: ZoneInfo) -> Span:
    """Return the span of a period that a day belongs to; weeks begin on Monday."""
    if period is Period.DAY:
        return Span(period, day, day, zone)
    if period is Period.WEEK:
        monday = day - timedelta(days=day.weekday())
        return Span(period, monday, monday + timedelta(days=6), zone)
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Span(period, first, following - timedelta(days=1), zone)


def last_complete(period: Period, now: datetime, zone: ZoneInfo) -> Span:
    """Return the newest span of a period that is over."""
    return span_of(period, now.astimezone(zone).date(), zone).before()
