"""What the configuration says about people: who is on call, and how each is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from toban.oncall.duty import Duty, quiet_until
from toban.oncall.holiday_calendar import holiday_calendar
from toban.oncall.settings import OnCallSettings, QuietHours
from toban.oncall.working_hours import WorkingTime

LONGEST_CHAIN: Final = 10
"""Quiet hours that follow each other without a break."""


@dataclass(frozen=True, slots=True)
class OnCallPolicy:
    """
    The settings of people, the schedule, and how messages are written.

    ``channels`` are the configured ones, each with whether it pages somebody, ``calling`` those whose service calls
    people until one of them answers.
    """

    on_call: OnCallSettings
    duty: Duty
    channels: Mapping[str, bool]
    zone: ZoneInfo
    language: str = "en"
    address: str = ""
    calling: frozenset[str] = frozenset()

    def channels_of(self, person: str, attempts: int) -> list[str]:
        """Return the channels by which a person is tried who was tried so often before; one more each time."""
        known = self.on_call.people.get(person)
        named = [name for name in known.channels if name in self.channels] if known else []
        return named[: attempts + 1]

    @property
    def shared_channels(self) -> list[str]:
        """The channels of everybody: those that page, and where none does, all that belong to nobody alone."""
        personal = personal_channels(self.on_call)
        paging = [name for name, pages in self.channels.items() if pages]
        return paging or [name for name in self.channels if name not in personal] or list(self.channels)

    @property
    def reminded_channels(self) -> list[str]:
        """The channels of everybody that are reminded of what they have: not those that call by themselves."""
        return [name for name in self.shared_channels if name not in self.calling]

    def name_of(self, person: str) -> str:
        """Return the name of a person that is shown."""
        known = self.on_call.people.get(person)
        return (known.title if known else "") or person

    def zone_of(self, person: str) -> ZoneInfo:
        """Return the time zone of a person."""
        known = self.on_call.people.get(person)
        return ZoneInfo(known.timezone) if known and known.timezone else self.zone

    def working_hours(self, zone: ZoneInfo, *, always: bool = False) -> WorkingTime:
        """Return the working hours on the clocks of a zone; ``always`` is around the clock."""
        return WorkingTime(self.on_call.working_hours, zone, holiday_calendar(self.on_call.holidays), always)

    def quiet_until(self, person: str, priority: str, now: datetime) -> datetime | None:
        """Return until when a person must not be notified of this priority; nothing where they may."""
        known = self.on_call.people.get(person)
        found = [it for it in known.quiet if priority in it.priorities] if known else []
        until = None
        # Where some end others may have begun; those that never end are looked at some times.
        for _ in range(LONGEST_CHAIN if found else 0):
            ends = [end for it in found if (end := self._end_of(it, person, until or now))]
            if not ends:
                break
            until = max(ends)
        return until

    def _end_of(self, quiet: QuietHours, person: str, now: datetime) -> datetime | None:
        zone = self.zone_of(person)
        if quiet.starts is not None and quiet.ends is not None:
            return quiet_until(quiet.starts, quiet.ends, zone, now)
        hours = self.working_hours(zone)
        return None if hours.is_running(now) else hours.resumes(now)


def personal_channels(on_call: OnCallSettings) -> frozenset[str]:
    """Return the channels that belong to people: alerts go there by escalation alone, unless a rule names them."""
    return frozenset(name for person in on_call.people.values() for name in person.channels)
