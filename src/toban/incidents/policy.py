"""What the configuration says about incidents."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from toban.incidents.duty import Duty, quiet_until
from toban.incidents.settings import IncidentSettings, OnCallSettings, Priority
from toban.incidents.working_hours import WorkingTime


@dataclass(frozen=True, slots=True)
class IncidentPolicy:
    """
    The settings of incidents and people, the schedule, and how messages are written.

    ``channels`` are the configured ones, each with whether it pages somebody.
    """

    settings: IncidentSettings
    on_call: OnCallSettings
    duty: Duty
    channels: Mapping[str, bool]
    zone: ZoneInfo
    language: str = "en"
    address: str = ""
    is_holiday: Callable[[date], bool] = lambda _: False

    def working_time(self, priority: Priority) -> WorkingTime:
        """Return the time in which the deadlines of a priority run."""
        always = priority in self.settings.around_the_clock
        return WorkingTime(self.on_call.working_hours, self.zone, self.is_holiday, always)

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

    def name_of(self, person: str) -> str:
        """Return the name of a person that is shown."""
        known = self.on_call.people.get(person)
        return (known.title if known else "") or person

    def quiet_until(self, person: str, priority: Priority, now: datetime) -> datetime | None:
        """Return until when a person must not be notified of this priority; nothing where they may."""
        known = self.on_call.people.get(person)
        if priority == "P1" or known is None or known.quiet is None or priority not in known.quiet.priorities:
            return None
        return quiet_until(known.quiet, ZoneInfo(known.timezone) if known.timezone else self.zone, now)


def personal_channels(on_call: OnCallSettings) -> frozenset[str]:
    """Return the channels that belong to people: alerts go there by escalation alone, unless a rule names them."""
    return frozenset(name for person in on_call.people.values() for name in person.channels)
