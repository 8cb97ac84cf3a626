"""All incidents that matter now, and the alerts that have not opened one yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from toban.core.alerts import Alert, AlertChange, AlertStatus, priority
from toban.core.item_isolation import ItemFailure, ItemIsolation
from toban.core.notification import Notification
from toban.incidents.held_calls import released_calls, summarized
from toban.incidents.incident import EntryKind, Incident, IncidentState, TimelineEntry, most_urgent
from toban.incidents.incident_messages import summaries_of
from toban.incidents.lifecycle import Change, acknowledged, joined, opened, reopened, unacknowledged
from toban.incidents.policy import IncidentPolicy
from toban.incidents.stages.escalate import escalate
from toban.incidents.stages.hand_over import hand_over
from toban.incidents.stages.lapse import lapse
from toban.incidents.stages.settle import settle
from toban.incidents.stages.warn import warn

MAX_WAITING: Final = 2_000
"""How many alerts wait at most; of more, those that wait already."""

MAX_OPEN: Final = 100
"""How many incidents alerts may open; of more, the alerts are notified and wait."""

DRILLS: Final = "toban_drill"
"""The alert of the drill: it tests channels, and calls nobody."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """
    Which alerts send no notifications, and what alerts are about, as the notification pipeline and the rules know it.

    ``inhibited_by`` names the alert that explains another; ``lingering`` are those whose explanation is resolved: they
    fire as long as their windows reach back to it. ``muted`` are those that are silenced or in a maintenance window.
    ``component`` returns the part of the shop that an alert is about; empty where that is not known.
    """

    inhibited_by: Mapping[str, str] = field(default_factory=dict)
    lingering: frozenset[str] = frozenset()
    muted: frozenset[str] = frozenset()
    component: Callable[[Alert], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class IncidentBook:
    """
    The incidents that are open or were resolved lately, by number, and the alerts that fire without one.

    ``next_id`` is the number of the next one.
    """

    incidents: Mapping[int, Incident] = field(default_factory=dict)
    waiting: Mapping[str, Alert] = field(default_factory=dict)
    next_id: int = 1

    @property
    def open(self) -> list[Incident]:
        """The open incidents."""
        return [it for it in self.incidents.values() if it.is_open]

    def of_alert(self, fingerprint: str) -> Incident | None:
        """Return the open incident that holds an alert."""
        return next((it for it in self.open if fingerprint in it.alerts), None)


@dataclass(frozen=True, slots=True)
class Advance:
    """The book after time has passed, and what follows from it."""

    book: IncidentBook
    entries: Sequence[TimelineEntry]
    messages: Sequence[Notification]
    withdrawn: frozenset[int]
    """The incidents whose calls that were not sent yet must not be sent."""
    run_again: datetime | None
    failures: Sequence[ItemFailure]


class _Run:
    """Collects what one run does to a book; which incident holds an alert is looked up, not searched."""

    def __init__(self, book: IncidentBook, now: datetime) -> None:
        self.incidents = dict(book.incidents)
        self.many_open = 0
        self._holders: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        for incident in book.open:
            self._index(incident)
            self.many_open += 1
        self.waiting = dict(book.waiting)
        self.next_id = book.next_id
        self.now = now
        self.entries: list[TimelineEntry] = []
        self.messages: list[Notification] = []
        self.withdrawn: set[int] = set()
        self.wake_at: list[datetime] = []

    @property
    def book(self) -> IncidentBook:
        return IncidentBook(self.incidents, self.waiting, self.next_id)

    def _index(self, incident: Incident) -> None:
        for name, alert in incident.alerts.items():
            self._holders[name] = incident.id
            self._by_name[alert.name] = incident.id

    def of_alert(self, fingerprint: str) -> Incident | None:
        """Return the open incident that holds an alert."""
        found = self.incidents.get(self._holders.get(fingerprint, 0))
        return found if found and found.is_open and fingerprint in found.alerts else None

    def of_name(self, name: str) -> Incident | None:
        """Return the open incident in which alerts of a name fire."""
        found = self.incidents.get(self._by_name.get(name, 0))
        return found if found and found.is_open and any(it.name == name for it in found.firing) else None

    def take(self, change: Change) -> None:
        before = self.incidents.get(change.incident.id)
        self.many_open += change.incident.is_open - (before is not None and before.is_open)
        if before is None or before.alerts is not change.incident.alerts:
            self._index(change.incident)
        self.incidents[change.incident.id] = change.incident
        self.entries += change.entries
        self.messages += change.messages
        self.wake_at += change.wake_at
        if change.withdraws:
            self.withdrawn.add(change.incident.id)


def advance(
    policy: IncidentPolicy,
    book: IncidentBook,
    changes: Sequence[AlertChange],
    suppression: Suppression,
    now: datetime,
) -> Advance:
    """
    Apply changes of alerts, and let time pass.

    1. Alerts that belong to an incident change there; others wait, as long as they are suppressed.
    2. A waiting alert joins the incident of what explains it, of its own name, or of its component; or opens one.
    3. Each open incident settles, lapses, warns, is handed over, and escalates.
    """
    run, isolation = _Run(book, now), ItemIsolation()
    for it in changes:
        with isolation.item("alert of an incident", it.alert.fingerprint):
            _track(policy, run, it)
    if policy.settings.enabled:
        _open(policy, run, suppression, isolation)
    released: list[tuple[Incident, Notification]] = []
    for number in list(run.incidents):
        with isolation.item("incident", str(number)):
            before = run.incidents[number]
            change = _pass_time(policy, before, suppression, now)
            run.take(change)
            if before.is_open and not change.incident.is_open:
                # What lingers opens it again if it fires for longer than can be explained.
                run.waiting |= {it.fingerprint: it for it in change.incident.firing}
            released += [(change.incident, message) for message in released_calls(before, change)]
    messages = summarized(run.messages, released, policy.language)
    later = [at for at in run.wake_at if at > now]
    return Advance(
        run.book, run.entries, messages, frozenset(run.withdrawn), min(later, default=None), isolation.failures
    )


def _pass_time(policy: IncidentPolicy, incident: Incident, suppression: Suppression, now: datetime) -> Change:
    change = Change(incident, now)
    if not incident.is_open:
        return change
    lingering = suppression.lingering & incident.alerts.keys()
    if lingering != incident.lingering:
        change = change.with_fields(lingering=lingering)
    change = settle(policy, change)
    if not change.incident.is_open or change.incident.is_settling:
        # Nobody is called and warned of what is over; what is due follows at once when an alert comes back.
        return change
    change = hand_over(policy, warn(policy, lapse(policy, change)))
    firing = [alert.fingerprint for alert in change.incident.firing]
    is_suppressed = bool(firing) and all(name in suppression.muted for name in firing)
    return escalate(policy, change, is_suppressed=is_suppressed)


def _track(policy: IncidentPolicy, run: _Run, change: AlertChange) -> None:
    """Apply the change of an alert to its incident; an alert without one waits, or is forgotten at its end."""
    alert, name = change.alert, change.alert.fingerprint
    incident = run.of_alert(name)
    if alert.status is AlertStatus.FIRING and incident is None:
        if name in run.waiting or len(run.waiting) < MAX_WAITING:
            run.waiting[name] = alert
        return
    if alert.status is AlertStatus.RESOLVED:
        run.waiting.pop(name, None)
    if incident is None or alert.status is AlertStatus.PENDING:
        return
    before = incident.alerts[name]
    if alert.status is AlertStatus.RESOLVED:
        if before.status is AlertStatus.FIRING:
            found = Change(incident, run.now).with_fields(alerts={**incident.alerts, name: alert})
            run.take(
                found.noted(
                    EntryKind.ALERT_RESOLVED,
                    alert=alert.name,
                    fingerprint=name,
                    **summaries_of(alert),
                )
            )
        return
    found = joined(Change(incident, run.now), alert)
    run.take(found)
    incident, given = found.incident, alert.acknowledged
    if given and incident.state is IncidentState.TRIGGERED and given != before.acknowledged:
        run.take(acknowledged(policy, incident, given.by, run.now, given.comment, from_alert=True))
    elif before.acknowledged and not given and incident.state is IncidentState.ACKNOWLEDGED:
        run.take(unacknowledged(incident, before.acknowledged.by, run.now))


def _open(policy: IncidentPolicy, run: _Run, suppression: Suppression, isolation: ItemIsolation) -> None:
    """Let waiting alerts join an incident or open one; the most urgent first, so that it gives its name."""
    explains: dict[str, list[str]] = {}
    for target, source in suppression.inhibited_by.items():
        explains.setdefault(source, []).append(target)
    for alert in sorted(run.waiting.values(), key=lambda it: (priority(it.labels), it.starts, it.fingerprint)):
        name = alert.fingerprint
        with isolation.item("alert of an incident", name):
            if alert.name == DRILLS:
                del run.waiting[name]
                continue
            if name in suppression.muted:
                continue
            cause = suppression.inhibited_by.get(name)
            opens = cause in run.waiting and cause not in suppression.muted
            if cause and run.of_alert(cause) is None and (opens or name in suppression.lingering):
                continue  # its cause opens the incident, or is over
            due = (alert.fired or alert.starts) + policy.settings.delay
            if run.now < min(due, run.now + policy.settings.delay):
                run.wake_at.append(due)
                continue
            if change := _joined_or_opened(policy, run, alert, suppression, explains.get(name, ())):
                del run.waiting[name]
                run.take(change)


def _joined_or_opened(
    policy: IncidentPolicy, run: _Run, alert: Alert, suppression: Suppression, explained: Sequence[str]
) -> Change | None:
    component = suppression.component(alert)
    cause = suppression.inhibited_by.get(alert.fingerprint, "")
    if incident := _incident_for(policy, run, alert, component, [cause, *explained]):
        change = Change(incident, run.now) if incident.is_open else reopened(incident, run.now)
        if not change.incident.component:
            change = change.with_fields(component=component)
        return joined(change, alert)
    if run.many_open >= MAX_OPEN:
        return None
    number, run.next_id = run.next_id, run.next_id + 1
    titles = summaries_of(alert, "title")
    change = opened(
        number, priority=most_urgent([alert]), starts=alert.starts, now=run.now, component=component, **titles
    )
    change = joined(change, alert)
    change = change.with_fields(on_duty=policy.duty.on_call(run.now))
    if given := alert.acknowledged:
        after = acknowledged(policy, change.incident, given.by, run.now, given.comment, from_alert=True)
        return replace(after, entries=(*change.entries, *after.entries))
    return change


def _incident_for(
    policy: IncidentPolicy, run: _Run, alert: Alert, component: str, related: Sequence[str]
) -> Incident | None:
    """Return the incident that an alert belongs to, if there is one; ``related`` explain it, or are explained by it."""
    found = next(filter(None, map(run.of_alert, related)), None) or run.of_name(alert.name)
    if found:
        return found
    recent = run.now - policy.settings.window
    name, reopening = alert.fingerprint, run.now - policy.settings.reopen_within
    for incident in run.incidents.values():
        if component and incident.component == component and incident.is_open and _changed(incident) >= recent:
            return incident
    for incident in run.incidents.values():
        if (
            name in incident.alerts
            and incident.resolved
            and incident.resolved >= reopening
            and not incident.merged_into
        ):
            fired_on = incident.alerts[name].status is AlertStatus.FIRING and name not in incident.lingering
            return None if fired_on else incident
    return None


def _changed(incident: Incident) -> datetime:
    """Return when an alert fired in an incident last, or when it was opened."""
    return max([incident.opened, *(it.fired or it.starts for it in incident.alerts.values())])
