"""What the configuration says about people: who is on call, and how each is reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from toban.oncall.duty import Duty, quiet_until
from toban.oncall.settings import OnCallSettings


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

    def quiet_until(self, person: str, priority: str, now: datetime) -> datetime | None:
        """Return until when a person must not be notified of this priority; nothing where they may."""
        known = self.on_call.people.get(person)
        if known is None or known.quiet is None or priority not in known.quiet.priorities:
            return None
        return quiet_until(known.quiet, ZoneInfo(known.timezone) if known.timezone else self.zone, now)


def personal_channels(on_call: OnCallSettings) -> frozenset[str]:
    """Return the channels that belong to people: alerts go there by escalation alone, unless a rule names them."""
    return frozenset(name for person in on_call.people.values() for name in person.channels)
