"""What becomes of a rule's alerts when it is judged once more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.core.labels import Labels

REMEMBERED: Final = timedelta(minutes=15)
"""How long what is over is still shown, as in Prometheus."""


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert, and since when its condition is no longer met although it is kept firing."""

    alert: Alert
    unmet_since: datetime | None = None


ActiveAlerts = Mapping[Labels, ActiveAlert]
"""A rule's alerts, by their labels."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule's query says of one set of labels now."""

    value: float
    annotations: Mapping[str, str]
    link: str = ""
    window: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Step:
    """A rule's alerts afterwards, and what there is to tell."""

    after: ActiveAlerts
    changes: tuple[AlertChange, ...] = ()


def step(
    before: ActiveAlerts, found: Mapping[Labels, RuleResult], now: datetime, hold: timedelta, keep: timedelta
) -> Step:
    """
    Judge once more, as Prometheus does.

    1. What is found begins as pending, and fires once it was found for ``hold``.
    2. What is no longer found ends: pending without a word, firing as resolved, unless it is kept firing for ``keep``.
    3. What is over is remembered for a while; found again, it begins anew.
    """
    after: dict[Labels, ActiveAlert] = {}
    changes: list[AlertChange] = []
    for labels, finding in found.items():
        standing = before.get(labels)
        if standing is None or standing.alert.status is AlertStatus.RESOLVED:
            alert = Alert(labels, finding.annotations, AlertStatus.PENDING, now)
        else:
            alert = replace(standing.alert, annotations=finding.annotations)
        alert = replace(alert, value=finding.value, link=finding.link, window=finding.window)
        # A clock that was set back must not make it wait for that long again.
        alert = replace(alert, starts=min(alert.starts, now))
        if alert.status is AlertStatus.PENDING and now - alert.starts >= hold:
            alert = replace(alert, status=AlertStatus.FIRING, fired=now)
            changes.append(AlertChange(alert, now))
        after[labels] = ActiveAlert(alert)
    for labels, standing in before.items():
        if labels not in found and (left := _left(standing, now, keep)):
            after[labels] = left
            if left.alert.status is not standing.alert.status:
                changes.append(AlertChange(left.alert, now))
    return Step(after, tuple(changes))


def _left(standing: ActiveAlert, now: datetime, keep: timedelta) -> ActiveAlert | None:
    """Return what becomes of an alert that is no longer found."""
    alert = standing.alert
    if alert.status is AlertStatus.PENDING:
        return None
    if alert.status is AlertStatus.RESOLVED:
        return standing if alert.ends and now - alert.ends < REMEMBERED else None
    quiet = min(standing.unmet_since or now, now)
    if now - quiet < keep:
        return ActiveAlert(alert, quiet)
    return ActiveAlert(alert.resolved(now))


def end_all(before: ActiveAlerts, now: datetime, why: str) -> Step:
    """End all of a rule's alerts, because there will be nobody to judge them."""
    after, changes = dict[Labels, ActiveAlert](), list[AlertChange]()
    for labels, standing in before.items():
        if standing.alert.status is AlertStatus.FIRING:
            over = standing.alert.resolved(now)
            after[labels] = ActiveAlert(over)
            changes.append(AlertChange(over, now, why))
        elif standing.alert.status is AlertStatus.RESOLVED and (left := _left(standing, now, timedelta())):
            after[labels] = left
    return Step(after, tuple(changes))
