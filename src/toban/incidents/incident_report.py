"""What the report of an incident measures."""

from datetime import timedelta

from toban.incidents.incident import Incident


def time_to_acknowledge(incident: Incident) -> timedelta | None:
    """Return how long it took until somebody answered."""
    return incident.responded - incident.opened if incident.responded else None


def time_to_resolve(incident: Incident) -> timedelta | None:
    """Return how long it took until it was resolved."""
    return incident.resolved - incident.opened if incident.resolved else None
