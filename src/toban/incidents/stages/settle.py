"""Resolve an incident when its alerts have been resolved for long enough."""

from toban.incidents.lifecycle import Change, resolved
from toban.incidents.policy import IncidentPolicy


def settle(policy: IncidentPolicy, change: Change) -> Change:
    """Resolve an incident that alerts opened, once none of them fires and none comes back at once."""
    incident = change.incident
    if not incident.is_settling:
        return change
    ended = max((alert.ends for alert in incident.alerts.values() if alert.ends), default=change.now)
    due = min(ended, change.now) + policy.settings.resolve_after
    if change.now < due:
        return change.waking(due)
    return resolved(policy, incident, change.now)
