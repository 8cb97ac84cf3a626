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
    """Return an incident after a runbook did something for one of its alerts; who is called is told what it asks."""
    facts = {"runbook": event.runbook, "run": event.run, "event": event.event, "text": event.text}
    facts |= {"text_ja": event.text_ja} if event.text_ja else {}
    change = Change(incident, now).noted(EntryKind.RUNBOOK, event.by, **facts)
    if event.event in ANSWERS:
        return still_working(policy, change)
    if event.event != "asked" or event.by or not incident.is_open:
        return change  # who started it by hand sees the question
    value = f"r{event.run}.{event.approval}"
    offers = [Offer(kind, value) for kind in (OfferKind.APPROVE, OfferKind.REFUSE)] if event.approval else []
    by = incident.answer.by if incident.answer else ""
    channels = policy.channels_of(by, 0) if by else list(incident.paged)
    return change.sent(
        policy,
        NotificationKind.NOTICE,
        channels or policy.shared_channels,
        "runbook-asks",
        offers,
        runbook=event.runbook,
        text=runbook_text(event.text, event.text_ja, policy.language),
        run=event.run,
    )
