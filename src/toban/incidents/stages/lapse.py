"""Ask whoever acknowledged an incident whether they still work on it, and call people again without an answer."""

from dataclasses import replace

from toban.core.notification import NotificationKind
from toban.incidents.incident import EntryKind, IncidentState
from toban.incidents.incident_messages import length_text
from toban.incidents.lifecycle import Change, triggered_again
from toban.incidents.policy import IncidentPolicy


def lapse(policy: IncidentPolicy, change: Change) -> Change:
    """End an acknowledgement whose time is over: a snooze at once, another one after a question."""
    answer, now = change.incident.answer, change.now
    if change.incident.state is not IncidentState.ACKNOWLEDGED or answer is None:
        return change
    if now < answer.until:
        return change.waking(answer.until)
    if answer.is_snooze:
        return triggered_again(change.noted(EntryKind.WOKEN, answer.by))
    within = policy.settings.answer_within
    if answer.asked is None:
        change = change.with_fields(answer=replace(answer, asked=now)).noted(EntryKind.ASKED, person=answer.by)
        channels = policy.channels_of(answer.by, len(policy.channels)) or list(change.incident.paged)
        change = change.sent(policy, NotificationKind.REMINDER, channels, "still-working", within=length_text(within))
        return change.waking(now + within)
    due = answer.asked + within
    if now < due:
        return change.waking(due)
    return triggered_again(change.noted(EntryKind.LAPSED, answer.by))
