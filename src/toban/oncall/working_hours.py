"""Working hours: how long a deadline has run, and when it will be over."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.wall_clock import first_instant, last_instant
from toban.oncall.holiday_calendar import IsHoliday
from toban.oncall.schedule_settings import WEEKDAYS, ClosedDays
from toban.oncall.settings import WorkingHours

LONGEST: Final = 400
"""Days after which a search for working hours ends: so long nobody is on holiday."""


@lru_cache(maxsize=8)
def _closed_days(texts: tuple[str, ...]) -> tuple[ClosedDays, ...]:
    return tuple(ClosedDays.parse(it) for it in texts)


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """The working hours of a team in its time zone, without holidays; ``always`` is around the clock."""

    hours: WorkingHours
    zone: ZoneInfo
    is_holiday: IsHoliday
    always: bool = False

    def periods(self, start: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the periods in which the team works and that end after a time, in order."""
        first = start.astimezone(self.zone).date() - timedelta(days=1)
        for number in range(LONGEST):
            day = first + timedelta(days=number)
            if self._is_working_day(day):
                begins = first_instant(day, self.hours.starts, self.zone)
                ends = last_instant(day, self.hours.ends, self.zone)
                if ends > start and begins < ends:
                    yield begins, ends

    def _is_working_day(self, day: date) -> bool:
        is_open = WEEKDAYS[day.weekday()] in self.hours.days
        return is_open and not any(day in it for it in _closed_days(self.hours.closed)) and not self.is_holiday(day)

    def elapsed(self, start: datetime, end: datetime) -> timedelta:
        """Return how much working time lies between two times."""
        if self.always:
            return max(end - start, timedelta())
        total = timedelta()
        for begins, ends in self.periods(start):
            if begins >= end:
                break
            total += min(ends, end) - max(begins, start)
        return total

    def after(self, start: datetime, duration: timedelta) -> datetime:
        """Return when so much working time has passed since a time."""
        if self.always:
            return start + duration
        for begins, ends in self.periods(start):
            begins = max(begins, start)
            if ends - begins >= duration:
                return begins + duration
            duration -= ends - begins
        return start + timedelta(days=LONGEST)

    def is_running(self, at: datetime) -> bool:
        """Tell whether the team works at a time."""
        if self.always:
            return True
        begins, _ = next(self.periods(at), (at + timedelta(1), at))
        return begins <= at

    def resumes(self, at: datetime) -> datetime:
        """Return when the team works next, from a time on."""
        begins, _ = next(self.periods(at), (at + timedelta(days=LONGEST), at))
        return at if self.always else max(begins, at)
