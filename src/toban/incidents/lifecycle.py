"""What happens to an incident: it opens, is answered, escalates, resolves. Pure: values and the time in, values out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from toban.core.alerts import Alert, AlertStatus
from toban.core.notification import Notification, NotificationKind, Offer
from toban.incidents.incident import (
    MAX_ALERTS,
    Answer,
    EntryKind,
    Escalation,
    Incident,
    IncidentState,
    TimelineEntry,
    most_urgent,
)
from toban.incidents.incident_messages import incident_messages, summaries_of
from toban.incidents.policy import IncidentPolicy
from toban.incidents.settings import Priority


@dataclass(frozen=True, slots=True)
class Change:
    """
    An incident after a change, what its timeline says about it, and the messages that follow.

    ``withdraws`` says that calls which were not sent yet must not be sent any more.
    """

    incident: Incident
    now: datetime
    entries: Sequence[TimelineEntry] = ()
    messages: Sequence[Notification] = ()
    withdraws: bool = False
    wake_at: Sequence[datetime] = ()
    """Times at which more may happen."""

    def noted(self, kind: EntryKind, actor: str = "", **facts: Any) -> Self:
        """Return it with an entry in the timeline."""
        entry = TimelineEntry(self.incident.id, self.now, kind, actor, facts)
        return replace(self, entries=(*self.entries, entry))

    def with_fields(self, **fields: Any) -> Self:
        """Return it with fields of the incident changed."""
        return replace(self, incident=self.incident.changed(self.now, **fields))

    def sent(
        self,
        policy: IncidentPolicy,
        kind: NotificationKind,
        channels: Sequence[str],
        reason: str,
        offers: Sequence[Offer] = (),
        **facts: Any,
    ) -> Self:
        """Return it with a message to some channels."""
        if not channels:
            return self
        found = incident_messages(policy, self.incident, kind, channels, reason, self.now, offers, **facts)
        paged = tuple(dict.fromkeys((*self.incident.paged, *channels)))
        changed = self.with_fields(messages=self.incident.messages + 1, paged=paged)
        return replace(changed, messages=(*self.messages, *found))

    def waking(self, *times: datetime) -> Self:
        """Return it with times at which more may happen."""
        return replace(self, wake_at=(*self.wake_at, *times))


def opened(
    number: int,
    title: str,
    priority: Priority,
    starts: datetime,
    now: datetime,
    by: str = "",
    component: str = "",
    title_ja: str = "",
) -> Change:
    """Open an incident; ``by`` is who declared it, if no alert did."""
    incident = Incident(
        number,
        title,
        priority,
        IncidentState.TRIGGERED,
        now,
        starts,
        now,
        component=component,
        title_ja=title_ja,
        escalation=Escalation(0, now),
        declared_by=by,
    )
    titles = {"title": title, **({"title_ja": title_ja} if title_ja else {})}
    return Change(incident, now).noted(EntryKind.OPENED, by, priority=priority, **titles)


def joined(change: Change, alert: Alert) -> Change:
    """Add an alert to an incident; a more urgent one raises its priority, and calls people again."""
    incident = change.incident
    if alert.fingerprint not in incident.alerts and len(incident.alerts) >= MAX_ALERTS:
        return change
    is_new = alert.fingerprint not in incident.alerts or not _fires(incident.alerts[alert.fingerprint])
    change = change.with_fields(
        alerts={**incident.alerts, alert.fingerprint: alert},
        starts=min(incident.starts, alert.starts),
        # Its notifications must say that somebody works on it.
        is_out_of_step=incident.is_out_of_step or (incident.answer is not None and alert.acknowledged is None),
    )
    if is_new:
        change = change.noted(
            EntryKind.ALERT_FIRED, alert=alert.name, fingerprint=alert.fingerprint, **summaries_of(alert)
        )
    urgent = most_urgent([alert], incident.priority)
    return with_priority(change, urgent) if urgent < incident.priority else change


def with_priority(change: Change, priority: Priority, actor: str = "") -> Change:
    """Change the priority; a more urgent one takes the acknowledgement back, and the escalation begins again."""
    before = change.incident.priority
    if priority == before:
        return change
    change = change.with_fields(priority=priority).noted(EntryKind.PRIORITY, actor, before=before, after=priority)
    return triggered_again(change) if priority < before else change


def triggered_again(change: Change, delay: timedelta = timedelta()) -> Change:
    """Take the acknowledgement back; the escalation begins from its first step."""
    return change.with_fields(
        state=IncidentState.TRIGGERED,
        is_out_of_step=change.incident.answer is not None,
        answer=None,
        escalation=Escalation(0, change.now + delay),
    )


def reopened(incident: Incident, now: datetime, by: str = "") -> Change:
    """Re-open a resolved incident: its deadlines begin anew."""
    change = Change(incident, now).with_fields(resolved=None, resolved_by="", reopened=now, warned=frozenset())
    return triggered_again(change.noted(EntryKind.REOPENED, by))


def acknowledged(
    policy: IncidentPolicy,
    incident: Incident,
    by: str,
    now: datetime,
    comment: str = "",
    until: datetime | None = None,
    *,
    from_alert: bool = False,
) -> Change:
    """
    Record that somebody works on an incident; nobody else is called while that lasts.

    With ``until`` it is snoozed: people are called again then. ``from_alert``: its alerts are acknowledged already.
    """
    is_snooze = until is not None
    until = until or now + policy.settings.acknowledgement_of(incident.priority)
    is_first = incident.answer is None or incident.answer.by != by or is_snooze
    change = Change(incident, now, withdraws=True).with_fields(
        state=IncidentState.ACKNOWLEDGED,
        answer=Answer(by, now, until, comment, is_snooze=is_snooze),
        responded=incident.responded or now,
        escalation=None,
        is_out_of_step=not from_alert,
    )
    kind = EntryKind.SNOOZED if is_snooze else EntryKind.ACKNOWLEDGED
    change = change.noted(kind, by, comment=comment, until=until.isoformat())
    if not is_first:
        return change
    local = f"{until.astimezone(policy.zone):%H:%M %Z}"
    return change.sent(
        policy,
        NotificationKind.ACKNOWLEDGED,
        incident.paged,
        "snoozed" if is_snooze else "acknowledged",
        by=policy.name_of(by),
        until=local,
    )


def still_working(policy: IncidentPolicy, change: Change) -> Change:
    """Extend an acknowledgement: who writes a note or runs a runbook still works on it."""
    answer = change.incident.answer
    if answer is None or answer.is_snooze:
        return change
    until = change.now + policy.settings.acknowledgement_of(change.incident.priority)
    return change.with_fields(answer=replace(answer, until=max(until, answer.until), asked=None))


def unacknowledged(incident: Incident, by: str, now: datetime) -> Change:
    """Take an acknowledgement back: people are called again."""
    return triggered_again(Change(incident, now).noted(EntryKind.UNACKNOWLEDGED, by))


def resolved(policy: IncidentPolicy, incident: Incident, now: datetime, by: str = "", comment: str = "") -> Change:
    """Resolve an incident; ``by`` is who did, if not its alerts."""
    still = [alert.name for alert in incident.acute]
    change = Change(incident, now, withdraws=True).with_fields(
        state=IncidentState.RESOLVED, resolved=now, resolved_by=by, escalation=None
    )
    lingering = sorted({incident.alerts[name].name for name in incident.lingering & incident.alerts.keys()})
    change = change.noted(EntryKind.RESOLVED, by, comment=comment, firing=still, lingering=lingering)
    reason = "resolved-by" if by else "resolved"
    return change.sent(policy, NotificationKind.RESOLVED, incident.paged, reason, by=policy.name_of(by))


def _fires(alert: Alert) -> bool:
    return alert.status is AlertStatus.FIRING
