"""The duty of each person: how long they were on call, how often they were called, and how they answered."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.core.wall_clock import NIGHT_HOURS
from toban.incidents import repository
from toban.incidents.incident import EntryKind, Incident, TimelineEntry
from toban.incidents.policy import IncidentPolicy
from toban.oncall import repository as schedule_repository
from toban.oncall.rotation import Shift
from toban.oncall.service import OnCallService
from toban.state.database import State

COUNTED: Final = (EntryKind.PAGED, EntryKind.ACKNOWLEDGED, EntryKind.SNOOZED)


@dataclass(frozen=True, slots=True)
class PersonDuty:
    """
    The duty of a person: the time on call, None without a schedule, pages, and first answers to incidents.

    ``in_time`` are the answers within the deadline of the incident's priority.
    """

    person: str
    on_call: timedelta | None = None
    pages: int = 0
    pages_at_night: int = 0
    answered: int = 0
    in_time: int = 0


class DutyReport:
    """Reads the duty of people from the schedule, and from the timelines of incidents."""

    def __init__(self, on_call: OnCallService, policy: Callable[[], IncidentPolicy], state: State) -> None:
        self._on_call = on_call
        self._policy = policy
        self._state = state

    async def between(self, begin: datetime, end: datetime) -> Sequence[PersonDuty]:
        """Return the duty of everybody who was on call or was called between two times. Raises ``StateError``."""

        def work(connection: Connection) -> tuple[Sequence[TimelineEntry], Sequence[Incident], Sequence[Shift]]:
            # The schedule itself knows only the overrides of the last weeks.
            overrides = [it.override for it in schedule_repository.overrides(connection, begin) if not it.is_open]
            schedule = replace(self._on_call.schedule, overrides=tuple(overrides))
            return (
                [it for it in repository.timelines_between(connection, begin, end, COUNTED) if begin <= it.at < end],
                repository.incidents_between(connection, begin, end),
                schedule.shifts(begin, end) if self._on_call.settings.layers else (),
            )

        entries, incidents, shifts = await self._state.transaction(work)
        return duties(self._policy(), shifts, entries, incidents, has_schedule=bool(self._on_call.settings.layers))


def duties(
    policy: IncidentPolicy,
    shifts: Iterable[Shift],
    entries: Iterable[TimelineEntry],
    incidents: Iterable[Incident],
    *,
    has_schedule: bool,
) -> list[PersonDuty]:
    """Return the duty of people by what happened in a period, whoever was on call longest first."""
    found: dict[str, PersonDuty] = {}

    def of(person: str) -> PersonDuty:
        return found.get(person) or PersonDuty(policy.name_of(person), timedelta() if has_schedule else None)

    for shift in shifts:
        for person in shift.people:
            duty = of(person)
            found[person] = replace(duty, on_call=(duty.on_call or timedelta()) + (shift.end - shift.start))
    by_id = {it.id: it for it in incidents}
    for entry in entries:
        if entry.kind is EntryKind.PAGED:
            is_night = entry.at.astimezone(policy.zone).hour in NIGHT_HOURS
            for person in entry.facts.get("people", ()):
                duty = of(person)
                night = duty.pages_at_night + is_night
                found[person] = replace(duty, pages=duty.pages + 1, pages_at_night=night)
        elif (incident := by_id.get(entry.incident)) and entry.actor and _is_first(incident, entry):
            person = _person_of(policy, entry.actor)
            duty = of(person)
            in_time = duty.in_time + _is_in_time(policy, incident, entry.at)
            found[person] = replace(duty, answered=duty.answered + 1, in_time=in_time)
    return sorted(found.values(), key=lambda it: (-(it.on_call or timedelta()), -it.pages, it.person))


def _is_first(incident: Incident, entry: TimelineEntry) -> bool:
    """Tell whether an entry is the first answer to an incident; the timeline keeps milliseconds."""
    return incident.responded is not None and abs(incident.responded - entry.at) < timedelta(milliseconds=2)


def _person_of(policy: IncidentPolicy, actor: str) -> str:
    """Return the person who acted, by their name or their user of the console."""
    return next((name for name, it in policy.on_call.people.items() if actor in {name, it.user}), actor)


def _is_in_time(policy: IncidentPolicy, incident: Incident, at: datetime) -> bool:
    allowed = policy.settings.deadlines_of(incident.priority).respond
    return policy.working_time(incident.priority).elapsed(incident.opened, at) <= allowed
