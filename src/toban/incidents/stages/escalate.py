"""Call people, one step after the other, until somebody answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.notification import NotificationKind
from toban.incidents.incident import EntryKind, Escalation, Incident, IncidentState
from toban.incidents.incident_messages import length_text
from toban.incidents.lifecycle import Change
from toban.incidents.policy import IncidentPolicy
from toban.incidents.settings import EVERYONE, NEXT, ON_CALL, EscalationStep

SUPPRESSED_RETRY: Final = timedelta(seconds=30)
"""How soon a step is tried again while all alerts of its incident are silenced."""


@dataclass(frozen=True, slots=True)
class Called:
    """Whom a step calls: people, those of them who are in quiet hours until when, and channels."""

    people: Sequence[str]
    quiet: Sequence[datetime]
    channels: Sequence[str]


def escalate(policy: IncidentPolicy, change: Change, *, is_suppressed: bool = False) -> Change:
    """
    Make the steps of the escalation that are due.

    A step that finds nobody is left at once for the next one; the last one is repeated. What finds nobody at all goes
    to `on_call.fallback`, then to everyone, then to every channel: never to nobody.
    """
    incident = change.incident
    steps = policy.settings.steps_of(incident.priority)
    if incident.state is not IncidentState.TRIGGERED or incident.escalation is None or not steps:
        return change
    at = incident.escalation
    if change.now < at.due:
        return change.waking(at.due)
    if is_suppressed:
        if at.held != "suppressed":
            change = change.noted(EntryKind.HELD, reason="suppressed")
        return change.with_fields(escalation=replace(at, held="suppressed")).waking(change.now + SUPPRESSED_RETRY)
    for number in range(at.step, len(steps)):
        if called := _called(policy, change, steps[number], at):
            return _call(policy, change, called, number, steps[number].wait)
        if number < len(steps) - 1:
            change = change.noted(EntryKind.NOBODY, step=number + 1, targets=list(steps[number].notify))
    step = EscalationStep(notify=policy.on_call.fallback or (EVERYONE,))
    called = _called(policy, change, step, at) or Called((), (), policy.shared_channels)
    return _call(policy, change, called, len(steps) - 1, steps[-1].wait)


def next_call(policy: IncidentPolicy, incident: Incident) -> datetime | None:
    """Return when the next step is due: none without steps, after an answer, while suppressed, and at the end."""
    at = incident.escalation
    if at is None or incident.state is not IncidentState.TRIGGERED or incident.is_settling or at.held == "suppressed":
        return None
    return at.due if policy.settings.steps_of(incident.priority) else None


def _called(policy: IncidentPolicy, change: Change, step: EscalationStep, at: Escalation) -> Called | None:
    """Return whom a step calls; nothing where it finds nobody."""
    priority, now = change.incident.priority, change.now
    people = targets(policy, step.notify, now)
    if not policy.on_call.people:
        # A team without people is reached by its channels; its alerts' own notifications were the first call.
        reminded = policy.reminded_channels if at.number else ()
        return Called((), (), reminded if change.incident.alerts else policy.shared_channels)
    until = {person: policy.quiet_until(person, priority, now) for person in people}
    channels = [
        channel
        for person in people
        if until[person] is None
        for channel in policy.channels_of(person, at.attempts.get(person, 0))
    ]
    quiet = [end for end in until.values() if end]
    return Called(people, quiet, list(dict.fromkeys(channels))) if channels or quiet else None


def targets(policy: IncidentPolicy, names: Sequence[str], at: datetime) -> list[str]:
    """Return the people whom a step names, at the time when it is made."""
    found: list[str] = []
    for name in names:
        if name == ON_CALL:
            found += policy.duty.on_call(at)
        elif name == NEXT:
            found += policy.duty.next_on_call(at)
        elif name == EVERYONE:
            found += policy.on_call.people
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def _call(policy: IncidentPolicy, change: Change, called: Called, number: int, wait: timedelta) -> Change:
    at, now = change.incident.escalation, change.now
    if at is None:
        return change
    if called.quiet and not called.channels:
        due = min(called.quiet)
        if at.held != "quiet":
            change = change.noted(EntryKind.HELD, reason="quiet", people=list(called.people), until=due.isoformat())
        return change.with_fields(escalation=replace(at, step=number, due=due, held="quiet")).waking(due)
    attempts = {**at.attempts, **{person: at.attempts.get(person, 0) + 1 for person in called.people}}
    last = len(policy.settings.steps_of(change.incident.priority)) - 1
    after = Escalation(min(number + 1, last), now + wait, at.number + 1, attempts)
    if called.channels:
        change = change.noted(
            EntryKind.PAGED, step=number + 1, people=list(called.people), channels=list(called.channels)
        )
        if at.number == 0:
            within = policy.settings.deadlines_of(change.incident.priority).respond
            change = change.sent(policy, NotificationKind.FIRING, called.channels, "called", within=length_text(within))
        else:
            everyone = set(called.people) >= set(policy.on_call.people)
            change = change.sent(
                policy,
                NotificationKind.REMINDER,
                called.channels,
                "called-everyone" if everyone and number == last else "called-again",
                length=length_text(now - change.incident.opened),
            )
    return change.with_fields(escalation=after).waking(after.due)
