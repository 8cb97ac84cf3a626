"""What other parts of toban did about incidents: delivered notifications, and runs of runbooks."""

from collections.abc import Iterable
from datetime import datetime

from toban.core.deploys import Deploy
from toban.core.notification import Delivery, NotificationKind, Offer, OfferKind
from toban.core.runbook_events import RunbookEvent
from toban.incidents.book import IncidentBook
from toban.incidents.incident import EntryKind, Incident, TimelineEntry
from toban.incidents.lifecycle import Change, still_working
from toban.incidents.policy import IncidentPolicy
from toban.incidents.timeline_text import runbook_text

ANSWERS = frozenset({"approved", "refused", "ticked"})
"""Events of runbooks by which a person answers: they still work on the incident."""

FAILURES = frozenset({"failed", "unknown"})
"""Events of runbooks after which somebody must go on by hand."""

ENDS = frozenset({"succeeded", "void", "stopped", "expired"})
"""Other ends of a run that no person brought about."""


def delivery_entries(book: IncidentBook, deliveries: Iterable[Delivery]) -> list[TimelineEntry]:
    """Return an entry for each delivery of a message of an incident, or of one of its alerts."""
    found = []
    for delivery in deliveries:
        for incident in book.incidents.values():
            if incident.thread != delivery.thread and incident.alerts.keys().isdisjoint(delivery.alerts):
                continue
            kind = EntryKind.NOT_DELIVERED if delivery.error else EntryKind.DELIVERED
            facts = {"channel": delivery.channel, "kind": delivery.kind, "title": delivery.title}
            if delivery.error:
                facts["error"] = delivery.error
            found.append(TimelineEntry(incident.id, delivery.at, kind, facts=facts))
    return found


def deploy_entries(book: IncidentBook, deploys: Iterable[Deploy]) -> list[TimelineEntry]:
    """Return an entry for each deploy in the incidents that are open."""
    return [
        TimelineEntry(incident.id, deploy.at, EntryKind.DEPLOY, deploy.by, {"text": f"{deploy.version} {deploy.text}"})
        for deploy in deploys
        for incident in book.open
    ]


def runbook_change(policy: IncidentPolicy, incident: Incident, event: RunbookEvent, now: datetime) -> Change:
    """
    Return an incident after a runbook did something for one of its alerts.

    Who works on it, else who was called, is told what a run asks for and, once, that one waits for a person; who was
    told hears how it ends, and everybody of them that an act failed.
    """
    facts = {"runbook": event.runbook, "run": event.run, "event": event.event, "text": event.text}
    facts |= {"text_ja": event.text_ja} if event.text_ja else {}
    change = Change(incident, now).noted(EntryKind.RUNBOOK, event.by, **facts)
    if event.event in ANSWERS:
        return still_working(policy, change)
    if not incident.is_open:
        return change
    is_told, asks = event.run in incident.runs_told, event.event == "asked"
    if asks or (event.event == "waits" and not is_told):
        if event.by:
            return change  # who started it by hand sees the question
        change = change.with_fields(runs_told=incident.runs_told | {event.run})
        return _told(policy, change, event, "runbook-asks" if asks else "runbook-waits")
    # Where no alert fires any more, the end of the incident says enough.
    if event.event in FAILURES or (is_told and event.event in ENDS and not incident.is_settling):
        return _told(policy, change, event, f"runbook-{event.event}")
    return change


def _told(policy: IncidentPolicy, change: Change, event: RunbookEvent, reason: str) -> Change:
    """Send what a run says to who works on its incident, else to who was called."""
    value = f"r{event.run}.{event.approval}"
    offers = [Offer(kind, value) for kind in (OfferKind.APPROVE, OfferKind.REFUSE)] if event.approval else []
    answer = change.incident.answer
    channels = policy.channels_of(answer.by, 0) if answer else []
    return change.sent(
        policy,
        NotificationKind.NOTICE,
        channels or change.incident.paged or policy.shared_channels,
        reason,
        offers,
        runbook=event.runbook,
        text=runbook_text(event.text, event.text_ja, policy.language),
        run=event.run,
    )
