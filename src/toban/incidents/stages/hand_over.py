"""Tell both sides when the shift changes while an incident is open."""

from collections.abc import Sequence
from datetime import datetime

from toban.core.notification import NotificationKind
from toban.incidents.incident import EntryKind, Incident, IncidentState
from toban.incidents.lifecycle import Change
from toban.incidents.policy import IncidentPolicy


def hand_over(policy: IncidentPolicy, change: Change) -> Change:
    """
    Notice a change of shift.

    Nobody has answered: both are told, and the next step calls the new one. Somebody has: it stays theirs, and the new
    one is told once.
    """
    incident, now = change.incident, change.now
    duty = policy.duty.on_call(now)
    if change_at := policy.duty.next_change(now):
        change = change.waking(change_at)
    if not duty or duty == incident.on_duty:
        return change  # in a gap of the schedule those before it are the last ones
    before = incident.on_duty
    change = change.with_fields(on_duty=duty)
    new = [person for person in duty if person not in before]
    is_answered = incident.state is IncidentState.ACKNOWLEDGED and incident.answer is not None
    if not new or not (before or is_answered):
        return change
    change = change.noted(EntryKind.HANDED_OVER, before=list(before), after=list(duty))
    told = new if is_answered else [*before, *new]
    channels = [
        channel
        for person in told
        if policy.quiet_until(person, incident.priority, now) is None
        for channel in policy.channels_of(person, 0)
    ]
    return change.sent(
        policy,
        NotificationKind.NOTICE,
        list(dict.fromkeys(channels)),
        "handed-over-open" if is_answered else "handed-over",
        before=", ".join(map(policy.name_of, before)),
        after=", ".join(map(policy.name_of, duty)),
        by=policy.name_of(incident.answer.by) if incident.answer else "",
    )


def unnoticed_shift(policy: IncidentPolicy, incident: Incident, late: datetime, now: datetime) -> Sequence[str]:
    """Return who is on call since before ``late`` without the incident knowing; nobody where it knows."""
    duty = policy.duty.on_call(now)
    return duty if duty == policy.duty.on_call(late) and duty != incident.on_duty else ()
