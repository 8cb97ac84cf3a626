"""What becomes of a rule's alerts when it is judged once more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.alerts import Alert, Change, Status
from toban.core.labels import Labels

REMEMBERED: Final = timedelta(minutes=15)
"""How long what is over is still shown, as in Prometheus."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert, and since when its condition is no longer met although it is kept firing."""

    alert: Alert
    quiet: datetime | None = None


Standings = Mapping[Labels, Standing]
"""A rule's alerts, by their labels."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule's query says of one set of labels now."""

    value: float
    annotations: Mapping[str, str]
    link: str = ""
    window: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Step:
    """A rule's alerts afterwards, and what there is to tell."""

    after: Standings
    changes: tuple[Change, ...] = ()


def step(before: Standings, found: Mapping[Labels, Finding], now: datetime, hold: timedelta, keep: timedelta) -> Step:
    """
    Judge once more, as Prometheus does.

    1. What is found begins as pending, and fires once it was found for ``hold``.
    2. What is no longer found ends: pending without a word, firing as resolved, unless it is kept firing for ``keep``.
    3. What is over is remembered for a while; found again, it begins anew.
    """
    after: dict[Labels, Standing] = {}
    changes: list[Change] = []
    for labels, finding in found.items():
        standing = before.get(labels)
        if standing is None or standing.alert.status is Status.RESOLVED:
            alert = Alert(labels, finding.annotations, Status.PENDING, now)
        else:
            alert = replace(standing.alert, annotations=finding.annotations)
        alert = replace(alert, value=finding.value, link=finding.link, window=finding.window)
        # A clock that was set back must not make it wait for that long again.
        alert = replace(alert, starts=min(alert.starts, now))
        if alert.status is Status.PENDING and now - alert.starts >= hold:
            alert = replace(alert, status=Status.FIRING, fired=now)
            changes.append(Change(alert, now))
        after[labels] = Standing(alert)
    for labels, standing in before.items():
        if labels not in found and (left := _left(standing, now, keep)):
            after[labels] = left
            if left.alert.status is not standing.alert.status:
                changes.append(Change(left.alert, now))
    return Step(after, tuple(changes))


def _left(standing: Standing, now: datetime, keep: timedelta) -> Standing | None:
    """Return what becomes of an alert that is no longer found."""
    alert = standing.alert
    if alert.status is Status.PENDING:
        return None
    if alert.status is Status.RESOLVED:
        return standing if alert.ends and now - alert.ends < REMEMBERED else None
    quiet = min(standing.quiet or now, now)
    if now - quiet < keep:
        return Standing(alert, quiet)
    return Standing(alert.resolved(now))


def ended(before: Standings, now: datetime, why: str) -> Step:
    """End all of a rule's alerts, because there will be nobody to judge them."""
    after, changes = dict[Labels, Standing](), list[Change]()
    for labels, standing in before.items():
        if standing.alert.status is Status.FIRING:
            over = standing.alert.resolved(now)
            after[labels] = Standing(over)
            changes.append(Change(over, now, why))
        elif standing.alert.status is Status.RESOLVED and (left := _left(standing, now, timedelta())):
            after[labels] = left
    return Step(after, tuple(changes))
