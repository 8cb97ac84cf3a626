"""Alerts as notify has heard of them, and how steady they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.notify.settings import Flapping

WITHIN: Final = timedelta(minutes=15)
"""The time in which an alert's comings and goings are counted."""

FORGOTTEN: Final = timedelta(minutes=30)
"""How long an alert that is over is remembered, so that its coming back is seen as that."""


class ReportedAs(StrEnum):
    """How an alert is spoken of."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    UNSTABLE = "unstable"
    RESOLVED = "over"


@dataclass(frozen=True, slots=True)
class TrackedAlert:
    """
    An alert, since when notify knows of this firing, and when it came and went of late.

    ``fingerprint`` is kept beside it because it is asked for often.
    """

    alert: Alert
    since: datetime
    flips: tuple[datetime, ...] = ()
    unstable: bool = False
    fingerprint: str = ""

    def check(self, now: datetime) -> None:
        """Look at all that deciding and writing need of it; what is wrong with it raises here."""
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
        if self.unstable and not self.flips:
            raise ValueError("is unstable and never came or went")
        AlertStatus(alert.status)

    def no_later(self, now: datetime) -> Self:
        """Return it with no time that is still to come: what a clock said that was set back since, was now."""
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
            "unstable": self.unstable,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return what `body` wrote down."""
        alert = Alert.from_dict(body["alert"])
        flips = tuple(datetime.fromisoformat(flip) for flip in body["flips"])
        return cls(alert, datetime.fromisoformat(body["since"]), flips, body["unstable"], alert.fingerprint)


def track_change(before: TrackedAlert | None, change: AlertChange, flapping: Flapping) -> TrackedAlert:
    """Take in a change: count it if the alert came or went, and call it unstable when it does that too often."""
    alert = change.alert
    if before is None:
        return TrackedAlert(alert, change.at, fingerprint=alert.fingerprint)
    came = before.alert.status is AlertStatus.RESOLVED and alert.status is AlertStatus.FIRING
    went = before.alert.status is AlertStatus.FIRING and alert.status is AlertStatus.RESOLVED
    if not came and not went:
        return replace(before, alert=alert)
    flips = (*(flip for flip in before.flips if change.at - flip < WITHIN), change.at)
    unstable = before.unstable or len(flips) >= flapping.changes
    return TrackedAlert(alert, change.at if came else before.since, flips, unstable, before.fingerprint)


def settle(heard: TrackedAlert, now: datetime, flapping: Flapping) -> TrackedAlert:
    """Return an unstable alert as stable again once it has stayed as it is for long enough."""
    if heard.unstable and now - heard.flips[-1] >= flapping.stable:
        return replace(heard, unstable=False, flips=())
    return heard


def reported_as(heard: TrackedAlert, told: ReportedAs | None, now: datetime, flapping: Flapping) -> ReportedAs:
    """
    Tell how to speak of an alert that was last spoken of as ``told`` (never, if nothing).

    What was told as firing is over only when it has been over for a while; what comes and goes too often is unstable
    until it stays.
    """
    alert = heard.alert
    if heard.unstable and told is not None:
        return ReportedAs.UNSTABLE
    if alert.status is AlertStatus.RESOLVED:
        settled = alert.ends is None or now - alert.ends >= flapping.settle
        return ReportedAs.RESOLVED if settled or told is None else told
    return ReportedAs.ACKNOWLEDGED if alert.acknowledged else ReportedAs.FIRING


def next_change(heard: TrackedAlert, now: datetime, flapping: Flapping) -> datetime | None:
    """Return when an alert may be spoken of otherwise without any change that is told."""
    if heard.unstable:
        return heard.flips[-1] + flapping.stable
    if heard.alert.status is AlertStatus.RESOLVED and heard.alert.ends:
        settled = heard.alert.ends + flapping.settle
        return settled if settled > now else None
    return None


def is_forgettable(heard: TrackedAlert, now: datetime) -> bool:
    """Tell whether an alert has been over for so long that nothing more will be said of it."""
    ends = heard.alert.ends
    return heard.alert.status is AlertStatus.RESOLVED and ends is not None and now - ends >= FORGOTTEN
