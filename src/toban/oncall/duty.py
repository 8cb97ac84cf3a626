"""Who is on call, as escalations ask for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from toban.core.wall_clock import first_instant, last_instant
from toban.oncall.rotation import Shift
from toban.oncall.schedule import Schedule
from toban.oncall.settings import Person

LOOK_AHEAD: Final = timedelta(days=60)
"""How far ahead whoever is on call next is looked for."""


class Duty(Protocol):
    """An on-call schedule."""

    def on_call(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call at a time, by the names of `on_call.people`; nobody in a gap."""
        ...

    def next_on_call(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call after those of a time."""
        ...

    def next_change(self, at: datetime) -> datetime | None:
        """Return when somebody else is on call, as far as that is known."""
        ...


@dataclass(frozen=True, slots=True)
class AlwaysOnDuty:
    """Everybody is always on call: the schedule of a team without a schedule."""

    people: Mapping[str, Person]

    def on_call(self, at: datetime) -> tuple[str, ...]:
        """Return everybody."""
        return tuple(self.people)

    def next_on_call(self, at: datetime) -> tuple[str, ...]:
        """Return nobody: all are on call."""
        return ()

    def next_change(self, at: datetime) -> datetime | None:
        """Return nothing: it never changes."""
        return None


class ScheduledDuty:
    """
    The duty of an on-call schedule, as it is now.

    The shifts of the next weeks are kept until the schedule changes.
    """

    def __init__(self, schedule: Callable[[], Schedule]) -> None:
        self._schedule = schedule
        self._kept: tuple[Schedule, datetime, datetime, Sequence[Shift]] | None = None

    def on_call(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call at a time; nobody in a gap."""
        return next((it.people for it in self._shifts(at) if it.start <= at < it.end), ())

    def next_on_call(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call after those of a time, of those who are not on call then."""
        now = self.on_call(at)
        for shift in self._shifts(at):
            others = tuple(person for person in shift.people if person not in now)
            if shift.start > at and others:
                return others
        return ()

    def next_change(self, at: datetime) -> datetime | None:
        """Return when a shift begins or ends next."""
        times = (time for it in self._shifts(at) for time in (it.start, it.end))
        return next((time for time in times if at < time < self._end(at)), None)

    def _end(self, at: datetime) -> datetime:
        return self._kept[2] if self._kept else at

    def _shifts(self, at: datetime) -> Sequence[Shift]:
        schedule = self._schedule()
        if self._kept is None or self._kept[0] is not schedule or not self._kept[1] <= at < self._kept[2] - LOOK_AHEAD:
            start, end = at - timedelta(days=1), at + LOOK_AHEAD + timedelta(days=1)
            self._kept = schedule, start, end, schedule.shifts(start, end)
        return self._kept[3]


def quiet_until(starts: time, ends: time, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return when the quiet hours of a person end; nothing outside of them."""
    local = now.astimezone(zone)
    today = local.date()
    for day in (today - timedelta(days=1), today):
        begins = first_instant(day, starts, zone)
        end_day = day if ends > starts else day + timedelta(days=1)
        end = last_instant(end_day, ends, zone)
        if begins <= now < end:
            return end
    return None
