"""Alerts that others judged: a Prometheus or an Alertmanager sends them here."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from toban.alerting.alert_store import AlertStore
from toban.alerting.service import OUTSIDE
from toban.alerting.states import REMEMBERED, ActiveAlert, Step
from toban.core import input_limits
from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.redaction import redact_text, redact_texts
from toban.core.samples import counter

EVERY: Final = timedelta(seconds=5)
"""How often is looked for alerts that nobody has sent again in time."""

BELIEVED: Final = timedelta(minutes=5)
"""How long an alert is believed that does not say when it ends (Alertmanager's `resolve_timeout`)."""


MOST: Final = 5_000
"""How many alerts from outside there may be."""

SLICE: Final = 250
"""How many are looked through before others have a turn."""

REFUSED: Final = counter("toban_external_alerts_rejected_total", "Alerts that others sent and that were not taken.")

log = structlog.get_logger("toban.alerting")


@dataclass(frozen=True, slots=True)
class PostedAlert:
    """One alert as it was sent; without ``ends`` it is believed for a while."""

    labels: Labels
    annotations: Mapping[str, str]
    starts: datetime | None = None
    ends: datetime | None = None
    link: str = ""


def posted_alert(
    labels: object, annotations: object, starts: datetime | None = None, ends: datetime | None = None, link: str = ""
) -> PostedAlert:
    """Return an alert as it was sent, within the limits of what is accepted. Raises ``ValueError``."""
    if starts and ends and ends < starts:
        raise ValueError("start time must be before end time")
    return PostedAlert(
        input_limits.checked_labels(labels),
        input_limits.checked_annotations(annotations),
        starts,
        ends,
        input_limits.repair_surrogates(link)[:2000],
    )


class ExternalAlerts:
    """
    Keeps alerts that others judged, as long as they send them again.

    Each source has its own: what one sends says nothing of what another does. While such an alert fires, its ``ends``
    is until when it is believed.
    """

    name = "alerts from outside"

    def __init__(self, ledger: AlertStore, clock: Clock, meters: MetricRegistry) -> None:
        self._ledger = ledger
        self._clock = clock
        self._meters = meters
        self._refused = False

    async def run(self) -> None:
        """End what nobody sends any more, until cancelled."""
        await run_periodically(self.name, EVERY, self.expire, clock=self._clock, meters=self._meters)

    async def receive(self, source: str, posted: Sequence[PostedAlert]) -> None:
        """
        Take in what a source sends; what is sent twice changes nothing but how long it is believed.

        What looks like a secret is left out before anything is kept. Alerts beyond ``MOST`` are not taken, and counted.
        """
        told = list[PostedAlert]()
        for first in range(0, len(posted), SLICE):
            told += map(_redacted, posted[first : first + SLICE])
            await asyncio.sleep(0)  # others have a turn
        now, key = self._clock.now(), OUTSIDE + source
        after = dict(self._ledger.of(key))
        left = MOST - sum(len(self._ledger.of(rule)) for rule in self._ledger.rules() if rule.startswith(OUTSIDE))
        changes: list[AlertChange] = []
        for one in told:
            before = after.get(one.labels)
            taken = _taken(one, before.alert if before else None, source, now)
            if taken is None:
                continue
            if before is None:
                left -= 1
                if left < 0:
                    self._refuse(source)
                    continue
            after[taken.labels] = ActiveAlert(taken)
            if before is None or before.alert.status is not taken.status:
                changes.append(AlertChange(taken, now))
        await self._ledger.apply(key, Step(after, tuple(changes)))

    def _refuse(self, source: str) -> None:
        """Count an alert that is not taken; say so once."""
        self._meters.add(REFUSED)
        if not self._refused:
            log.warning("alerts from outside are not taken: there are too many", most=MOST, source=source)
        self._refused = True

    async def expire(self) -> None:
        """End what was not sent again in time, and forget what has been over for long."""
        now = self._clock.now()
        for key in [rule for rule in self._ledger.rules() if rule.startswith(OUTSIDE)]:
            after: dict[Labels, ActiveAlert] = {}
            changes: list[AlertChange] = []
            for labels, standing in self._ledger.of(key).items():
                alert = standing.alert
                if alert.status is AlertStatus.FIRING and alert.ends and alert.ends <= now:
                    alert = alert.resolved(now)
                    changes.append(AlertChange(alert, now, "it was not sent again"))
                if alert.status is AlertStatus.FIRING or not alert.ends or now - alert.ends < REMEMBERED:
                    after[labels] = ActiveAlert(alert)
            if changes or len(after) != len(self._ledger.of(key)):
                await self._ledger.apply(key, Step(after, tuple(changes)))

    def health(self) -> HealthStatus:
        """Say how many there are."""
        many = sum(1 for rule, _ in self._ledger.all() if rule.startswith(OUTSIDE))
        return HealthStatus(True, f"{many} alerts from outside")


def _redacted(posted: PostedAlert) -> PostedAlert:
    """Return an alert without what looks like a secret or a customer's own."""
    return replace(
        posted,
        labels=Labels(redact_texts(posted.labels)),
        annotations=redact_texts(posted.annotations),
        link=redact_text(posted.link),
    )


def _taken(posted: PostedAlert, before: Alert | None, source: str, now: datetime) -> Alert | None:
    """Return what becomes of an alert when it is sent; nothing when it says that what never was is over."""
    over = posted.ends is not None and posted.ends <= now
    firing = before is not None and before.status is AlertStatus.FIRING
    if over:
        return before.resolved(posted.ends or now) if before and firing else None
    ends = posted.ends or now + BELIEVED
    if before and firing:
        return replace(before, annotations=posted.annotations, ends=ends, link=posted.link or before.link)
    starts = min(posted.starts or now, now)
    return Alert(
        posted.labels, posted.annotations, AlertStatus.FIRING, starts, now, ends=ends, source=source, link=posted.link
    )
