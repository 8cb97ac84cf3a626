"""Flap detection: alerts that fire and resolve too often are reported as flapping until they are stable."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.notify.settings import Flapping

FLAP_WINDOW: Final = timedelta(minutes=15)
"""The time in which the state changes of an alert are counted."""

RESOLVED_RETENTION: Final = timedelta(minutes=30)
"""How long a resolved alert is remembered, so that its return is seen as that."""


class ReportedAs(StrEnum):
    """How an alert is reported."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    FLAPPING = "flapping"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class TrackedAlert:
    """
    An alert, since when it has been firing, and when it changed between firing and resolved of late.

    ``fingerprint`` is kept beside it because computing it costs time.
    """

    alert: Alert
    since: datetime
    flips: tuple[datetime, ...] = ()
    flapping: bool = False
    fingerprint: str = ""

    def check(self, now: datetime) -> None:
        """Use everything that deciding and rendering use of it; what is wrong with it raises here."""
        alert = self.alert
        texts = [alert.source, alert.link, *alert.labels.keys(), *alert.labels.values()]
        "".join([*texts, *alert.annotations.keys(), *alert.annotations.values()]).encode()
        times = [self.since, *self.flips, alert.starts, alert.fired, alert.ends]
        if acknowledged := alert.acknowledged:
            times.append(acknowledged.at)
            (acknowledged.by + acknowledged.comment).encode()
        for at in times:
            # Also raises for a time without a zone.
            _ = at is not None and at <= now
        if self.flapping and not self.flips:
            raise ValueError("is flapping and never changed")
        AlertStatus(alert.status)

    def not_after(self, now: datetime) -> Self:
        """Return it with times in the future set to now: the clock was set back since they were taken."""
        alert = self.alert
        if alert.status is AlertStatus.RESOLVED and alert.ends is not None and alert.ends > now:
            alert = replace(alert, ends=now)
        if alert is self.alert and all(at <= now for at in (self.since, *self.flips)):
            return self
        flips = tuple(min(flip, now) for flip in self.flips)
        return replace(self, alert=alert, since=min(self.since, now), flips=flips)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "alert": self.alert.as_dict(),
            "since": self.since.isoformat(),
            "flips": [flip.isoformat() for flip in self.flips],
            "flapping": self.flapping,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        alert = Alert.from_dict(body["alert"])
        flips = tuple(datetime.fromisoformat(flip) for flip in body["flips"])
        return cls(alert, datetime.fromisoformat(body["since"]), flips, body["flapping"], alert.fingerprint)


def track_change(before: TrackedAlert | None, change: AlertChange, flapping: Flapping) -> TrackedAlert:
    """Apply a change; an alert that fired or resolved too often within `FLAP_WINDOW` is flapping."""
    alert = change.alert
    if before is None:
        return TrackedAlert(alert, change.at, fingerprint=alert.fingerprint)
    has_fired = before.alert.status is AlertStatus.RESOLVED and alert.status is AlertStatus.FIRING
    has_resolved = before.alert.status is AlertStatus.FIRING and alert.status is AlertStatus.RESOLVED
    if not has_fired and not has_resolved:
        return replace(before, alert=alert)
    flips = (*(flip for flip in before.flips if change.at - flip < FLAP_WINDOW), change.at)
    is_flapping = before.flapping or len(flips) >= flapping.changes
    return TrackedAlert(alert, change.at if has_fired else before.since, flips, is_flapping, before.fingerprint)


def settle(tracked: TrackedAlert, now: datetime, flapping: Flapping) -> TrackedAlert:
    """Return a flapping alert as stable once it has not changed for long enough."""
    if tracked.flapping and now - tracked.flips[-1] >= flapping.stable:
        return replace(tracked, flapping=False, flips=())
    return tracked


def reported_as(tracked: TrackedAlert, last: ReportedAs | None, now: datetime, flapping: Flapping) -> ReportedAs:
    """
    Return how to report an alert that was last reported as ``last`` (never, if nothing).

    What was reported as firing is reported as resolved only after a while; what changes too often is flapping until it
    is stable.
    """
    alert = tracked.alert
    if tracked.flapping and last is not None:
        return ReportedAs.FLAPPING
    if alert.status is AlertStatus.RESOLVED:
        is_settled = alert.ends is None or now - alert.ends >= flapping.settle
        return ReportedAs.RESOLVED if is_settled or last is None else last
    return ReportedAs.ACKNOWLEDGED if alert.acknowledged else ReportedAs.FIRING


def next_change(tracked: TrackedAlert, now: datetime, flapping: Flapping) -> datetime | None:
    """Return when an alert may be reported otherwise although it does not change."""
    if tracked.flapping:
        return tracked.flips[-1] + flapping.stable
    if tracked.alert.status is AlertStatus.RESOLVED and tracked.alert.ends:
        settled = tracked.alert.ends + flapping.settle
        return settled if settled > now else None
    return None


def is_forgettable(tracked: TrackedAlert, now: datetime) -> bool:
    """Tell whether an alert was resolved so long ago that nothing more will be reported of it."""
    ends = tracked.alert.ends
    return tracked.alert.status is AlertStatus.RESOLVED and ends is not None and now - ends >= RESOLVED_RETENTION
