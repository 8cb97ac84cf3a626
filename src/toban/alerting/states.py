"""How one evaluation changes the states of a rule's alerts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.core.labels import Labels

EXTERNAL_KEY: Final = "outside:"
"""The prefix of the keys under which posted alerts are stored, before their source."""

RESOLVED_RETENTION: Final = timedelta(minutes=15)
"""How long a resolved alert is kept and shown, as in Prometheus."""


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert; and since when it fires only because of ``keep_firing_for``."""

    alert: Alert
    unmet_since: datetime | None = None


ActiveAlerts = Mapping[Labels, ActiveAlert]
"""A rule's alerts, by their labels."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One series of a rule's query result, with the annotations of its alert."""

    value: float
    annotations: Mapping[str, str]
    link: str = ""
    window: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Step:
    """A rule's alerts after an evaluation, and the changes that become events."""

    after: ActiveAlerts
    changes: tuple[AlertChange, ...] = ()


def step(
    before: ActiveAlerts,
    results: Mapping[Labels, RuleResult],
    now: datetime,
    for_: timedelta,
    keep_firing_for: timedelta,
) -> Step:
    """
    Return the alerts after an evaluation, as Prometheus does.

    1. An alert with a result begins as pending, and fires once it has had one for ``for_``.
    2. Without a result, a pending alert is removed, and a firing one resolves after ``keep_firing_for``.
    3. A resolved alert is kept for `RESOLVED_RETENTION`; with a result it begins again as pending.
    """
    after: dict[Labels, ActiveAlert] = {}
    changes: list[AlertChange] = []
    for labels, result in results.items():
        active = before.get(labels)
        if active is None or active.alert.status is AlertStatus.RESOLVED:
            alert = Alert(labels, result.annotations, AlertStatus.PENDING, now)
        else:
            alert = replace(active.alert, annotations=result.annotations)
        alert = replace(alert, value=result.value, link=result.link, window=result.window)
        # A clock that was set back must not make it wait for that long again.
        alert = replace(alert, starts=min(alert.starts, now))
        if alert.status is AlertStatus.PENDING and now - alert.starts >= for_:
            alert = replace(alert, status=AlertStatus.FIRING, fired=now)
            changes.append(AlertChange(alert, now))
        after[labels] = ActiveAlert(alert)
    for labels, active in before.items():
        if labels not in results and (remaining := _without_result(active, now, keep_firing_for)):
            after[labels] = remaining
            if remaining.alert.status is not active.alert.status:
                changes.append(AlertChange(remaining.alert, now))
    return Step(after, tuple(changes))


def _without_result(active: ActiveAlert, now: datetime, keep_firing_for: timedelta) -> ActiveAlert | None:
    """Return an alert after an evaluation that has no result for it."""
    alert = active.alert
    if alert.status is AlertStatus.PENDING:
        return None
    if alert.status is AlertStatus.RESOLVED:
        return active if alert.ends and now - alert.ends < RESOLVED_RETENTION else None
    unmet_since = min(active.unmet_since or now, now)
    if now - unmet_since < keep_firing_for:
        return ActiveAlert(alert, unmet_since)
    return ActiveAlert(alert.resolved(now))


def resolve_all(before: ActiveAlerts, now: datetime, reason: str) -> Step:
    """Resolve all of a rule's alerts, because it will not be evaluated any more."""
    after, changes = dict[Labels, ActiveAlert](), list[AlertChange]()
    for labels, active in before.items():
        if active.alert.status is AlertStatus.FIRING:
            resolved = active.alert.resolved(now)
            after[labels] = ActiveAlert(resolved)
            changes.append(AlertChange(resolved, now, reason))
        elif active.alert.status is AlertStatus.RESOLVED and (remaining := _without_result(active, now, timedelta())):
            after[labels] = remaining
    return Step(after, tuple(changes))
