"""Who is on call, as escalations ask for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from toban.core.wall_clock import first_instant, last_instant
from toban.incidents.settings import Person, QuietHours


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


def quiet_until(quiet: QuietHours, zone: ZoneInfo, now: datetime) -> datetime | None:
    """Return when the quiet hours of a person end; nothing outside of them."""
    local = now.astimezone(zone)
    today = local.date()
    for day in (today - timedelta(days=1), today):
        begins = first_instant(day, quiet.starts, zone)
        end_day = day if quiet.ends > quiet.starts else day + timedelta(days=1)
        ends = last_instant(end_day, quiet.ends, zone)
        if begins <= now < ends:
            return ends
    return None
