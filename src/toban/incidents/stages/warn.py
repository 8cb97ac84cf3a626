"""Warn before the deadlines of an incident, and escalate when they are over."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from toban.core.notification import NotificationKind
from toban.incidents.incident import EntryKind, Incident, IncidentState
from toban.incidents.lifecycle import Change
from toban.incidents.policy import IncidentPolicy
from toban.incidents.settings import EVERYONE, ON_CALL
from toban.incidents.stages.escalate import targets

MARKS: Final = (50, 80, 100)
"""Percent of a deadline at which people are warned; the last one is the deadline itself."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline of an incident, and when its time is over as clocks run now."""

    name: Literal["respond", "resolve"]
    due: datetime
    share: float
    """How much of it has passed: 1 is all."""
    is_running: bool
    """Whether its clock runs now; working hours let it stand still."""


def deadlines(policy: IncidentPolicy, incident: Incident, now: datetime) -> list[Deadline]:
    """Return the deadlines of an open incident that are not met yet."""
    if not incident.is_open:
        return []
    working, length = policy.working_time(incident.priority), policy.settings.deadlines_of(incident.priority)
    names = [("respond", length.respond)] if incident.responded is None else []
    found = []
    for name, duration in [*names, ("resolve", length.resolve)]:
        share = working.elapsed(incident.due_from, now) / duration
        due = working.after(incident.due_from, duration)
        found.append(Deadline(name, due, share, working.is_running(now)))  # type: ignore[arg-type]  # names are those
    return found


def warn(policy: IncidentPolicy, change: Change) -> Change:
    """Warn at 50 and 80 percent of each deadline, and call everybody at 100."""
    for deadline in deadlines(policy, change.incident, change.now):
        reached = [mark for mark in MARKS if deadline.share * 100 >= mark - 1e-9]
        new = [mark for mark in reached if _key(deadline, mark) not in change.incident.warned]
        if new:
            # After a pause only the last one matters.
            change = _warned(policy, change, deadline, new[-1])
            change = change.with_fields(warned=change.incident.warned | {_key(deadline, mark) for mark in new})
        change = change.waking(*_next_marks(policy, change.incident, deadline))
    return change


def _key(deadline: Deadline, mark: int) -> str:
    return f"{deadline.name} {mark}"


def _next_marks(policy: IncidentPolicy, incident: Incident, deadline: Deadline) -> Iterator[datetime]:
    working, length = policy.working_time(incident.priority), policy.settings.deadlines_of(incident.priority)
    duration = length.respond if deadline.name == "respond" else length.resolve
    for mark in MARKS:
        if _key(deadline, mark) not in incident.warned:
            yield working.after(incident.due_from, duration * mark / 100)
            return


def _warned(policy: IncidentPolicy, change: Change, deadline: Deadline, mark: int) -> Change:
    incident = change.incident
    change = change.noted(EntryKind.DEADLINE, deadline=deadline.name, percent=mark, due=deadline.due.isoformat())
    is_over = mark == MARKS[-1]
    responsible = incident.assignee or (incident.answer.by if incident.answer else "")
    names = (EVERYONE,) if is_over else (responsible or ON_CALL,)
    channels = [
        channel
        for person in targets(policy, names, change.now)
        if policy.quiet_until(person, incident.priority, change.now) is None
        for channel in policy.channels_of(person, len(policy.channels) if is_over else 0)
    ]
    kind = NotificationKind.REMINDER if incident.state is IncidentState.TRIGGERED else NotificationKind.NOTICE
    return change.sent(
        policy,
        kind,
        channels or (policy.reminded_channels if incident.alerts else policy.shared_channels),
        f"overdue-{deadline.name}" if is_over else f"deadline-{deadline.name}",
        percent=mark,
        time=f"{deadline.due.astimezone(policy.zone):%m-%d %H:%M %Z}",
    )


def overdue_marks(policy: IncidentPolicy, incident: Incident, now: datetime) -> Iterator[str]:
    """Yield the marks of deadlines that people should have been warned of by a time, like ``respond 50``."""
    for deadline in deadlines(policy, incident, now):
        for mark in MARKS:
            key = _key(deadline, mark)
            if deadline.share * 100 >= mark and key not in incident.warned:
                yield key
