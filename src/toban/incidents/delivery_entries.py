"""What timelines say about notifications: which channel accepted one, and which did not."""

from collections.abc import Iterable

from toban.core.notification import Delivery
from toban.incidents.book import IncidentBook
from toban.incidents.incident import EntryKind, Incident, TimelineEntry


def delivery_entries(book: IncidentBook, deliveries: Iterable[Delivery]) -> list[TimelineEntry]:
    """Return an entry for each delivery of a message of an incident, or of one of its alerts."""
    found = []
    for delivery in deliveries:
        for incident in _incidents(book, delivery):
            kind = EntryKind.NOT_DELIVERED if delivery.error else EntryKind.DELIVERED
            facts = {"channel": delivery.channel, "kind": delivery.kind, "title": delivery.title}
            if delivery.error:
                facts["error"] = delivery.error
            found.append(TimelineEntry(incident.id, delivery.at, kind, facts=facts))
    return found


def _incidents(book: IncidentBook, delivery: Delivery) -> list[Incident]:
    return [
        incident
        for incident in book.incidents.values()
        if incident.thread == delivery.thread or not incident.alerts.keys().isdisjoint(delivery.alerts)
    ]
