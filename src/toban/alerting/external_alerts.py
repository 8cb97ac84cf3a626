"""Alerts that a Prometheus, an Alertmanager or another program posts to toban."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from toban.alerting.alert_store import AlertStore
from toban.alerting.states import EXTERNAL_KEY, RESOLVED_RETENTION, ActiveAlert, Step
from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.alerts import Alert, AlertChange, AlertStatus
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.redaction import redact_text, redact_texts
from toban.core.samples import counter
from toban.state.audit_log import AuditEntry

EXPIRY_INTERVAL: Final = timedelta(seconds=5)
"""The interval at which alerts are resolved that were not posted again in time."""

RESOLVE_TIMEOUT: Final = timedelta(minutes=5)
"""How long an alert fires that was posted without an end time (Alertmanager's `resolve_timeout`)."""

MAX_ALERTS: Final = 5_000
"""How many external alerts are stored at most."""

SLICE: Final = 500
"""How many alerts are processed before the event loop runs other tasks: some 20 ms."""

AUDITED_NAMES: Final = 20
"""How many alert names one row of the audit log holds."""

REJECTED: Final = counter("toban_external_alerts_rejected_total", "Posted alerts that were rejected.")

log = structlog.get_logger("toban.alerting")


@dataclass(frozen=True, slots=True)
class PostedAlert:
    """A posted alert; without ``ends`` it fires for `RESOLVE_TIMEOUT`."""

    labels: Labels
    annotations: Mapping[str, str]
    starts: datetime | None = None
    ends: datetime | None = None
    link: str = ""


def posted_alert(
    labels: object, annotations: object, starts: datetime | None = None, ends: datetime | None = None, link: str = ""
) -> PostedAlert:
    """Return a posted alert, checked against the limits of input. Raises ``ValueError``."""
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
    Stores posted alerts, and resolves those that are not posted again.

    Each source has its own alerts. A firing alert resolves at its ``ends`` unless it is posted again before.
    """

    name = "external alerts"

    def __init__(self, store: AlertStore, clock: Clock, meters: MetricRegistry) -> None:
        self._store = store
        self._clock = clock
        self._meters = meters
        self._is_full = False

    async def run(self) -> None:
        """Resolve alerts that are not posted any more, until cancelled."""
        await run_periodically(self.name, EXPIRY_INTERVAL, self.expire, clock=self._clock, meters=self._meters)

    async def post(self, source: str, posted: Sequence[PostedAlert], actor: Actor) -> None:
        """
        Store the alerts that a source posts; posting a firing one again extends it.

        Secrets are redacted before anything is stored. Alerts beyond `MAX_ALERTS` are rejected, and counted. Alerts
        that begin to fire or resolve get one row of the audit log together; beyond `SLICE` alerts there are several.
        """
        async with asyncio.TaskGroup() as posting:
            for first in range(0, len(posted), SLICE):
                # Up to where it waits for state each of them is one step: nothing comes between reading and changing.
                posting.create_task(self._post(source, posted[first : first + SLICE], actor))
                await asyncio.sleep(0)

    async def _post(self, source: str, posted: Sequence[PostedAlert], actor: Actor) -> None:
        now, key, changes = self._clock.now(), EXTERNAL_KEY + source, list[AlertChange]()
        after = dict(self._store.of(key))
        capacity = MAX_ALERTS - sum(len(self._store.of(rule)) for rule in self._keys())
        for one in map(_redacted, posted):
            before = after.get(one.labels)
            alert = _next_alert(one, before.alert if before else None, source, now)
            if alert is None:
                continue
            if before is None:
                capacity -= 1
                if capacity < 0:
                    self._reject(source)
                    continue
            after[alert.labels] = ActiveAlert(alert)
            if before is None or before.alert.status is not alert.status:
                changes.append(AlertChange(alert, now))
        audit = {changes[0].alert.labels: _audit_entry(changes, source, actor, now)} if changes else {}
        await self._store.apply(key, Step(after, tuple(changes)), audit)

    def _reject(self, source: str) -> None:
        """Count a rejected alert; log the first one."""
        self._meters.add(REJECTED)
        if not self._is_full:
            log.warning("external alerts rejected: limit reached", limit=MAX_ALERTS, source=source)
        self._is_full = True

    async def expire(self) -> None:
        """Resolve alerts that were not posted again in time, and remove those resolved before `RESOLVED_RETENTION`."""
        now = self._clock.now()
        for key in self._keys():
            before = self._store.of(key)
            # Nearly always none is due: only then are all of them copied.
            due = [it.alert for it in before.values() if _is_due(it.alert, now)]
            if due:
                after, changes = dict(before), list[AlertChange]()
                for alert in due:
                    if alert.status is AlertStatus.FIRING:
                        resolved = alert.resolved(now)
                        after[alert.labels] = ActiveAlert(resolved)
                        changes.append(AlertChange(resolved, now, "it was not sent again"))
                    else:
                        del after[alert.labels]
                await self._store.apply(key, Step(after, tuple(changes)))

    def firing(self, source: str) -> list[Alert]:
        """Return the firing alerts of a source."""
        stored = self._store.of(EXTERNAL_KEY + source).values()
        return [it.alert for it in stored if it.alert.status is AlertStatus.FIRING]

    def _keys(self) -> list[str]:
        """Return the keys under which there are external alerts, one for each source."""
        return [rule for rule in self._store.rules() if rule.startswith(EXTERNAL_KEY)]

    def health(self) -> HealthStatus:
        """Return how many alerts there are."""
        count = sum(1 for rule, _ in self._store.all() if rule.startswith(EXTERNAL_KEY))
        return HealthStatus(True, f"{count} external alerts")


def _audit_entry(changes: Sequence[AlertChange], source: str, actor: Actor, now: datetime) -> AuditEntry:
    fired = [it.alert.name for it in changes if it.alert.status is AlertStatus.FIRING]
    resolved = [it.alert.name for it in changes if it.alert.status is not AlertStatus.FIRING]
    facts = {
        "source": source,
        "fired": len(fired),
        "resolved": len(resolved),
        "alerts": [*dict.fromkeys([*fired, *resolved])][:AUDITED_NAMES],
    }
    return AuditEntry(now, actor, "posted alerts", facts)


def _is_due(alert: Alert, now: datetime) -> bool:
    """Tell whether an alert expires now, or was resolved so long ago that it is removed."""
    if alert.ends is None:
        return False
    return now >= (alert.ends if alert.status is AlertStatus.FIRING else alert.ends + RESOLVED_RETENTION)


def _redacted(posted: PostedAlert) -> PostedAlert:
    """Return an alert without secrets and personal data."""
    return replace(
        posted,
        labels=Labels(redact_texts(posted.labels)),
        annotations=redact_texts(posted.annotations),
        link=redact_text(posted.link),
    )


def _next_alert(posted: PostedAlert, before: Alert | None, source: str, now: datetime) -> Alert | None:
    """Return an alert after it is posted; None for the end of one that does not fire."""
    is_over = posted.ends is not None and posted.ends <= now
    is_firing = before is not None and before.status is AlertStatus.FIRING
    if is_over:
        return before.resolved(posted.ends or now) if before and is_firing else None
    ends = posted.ends or now + RESOLVE_TIMEOUT
    if before and is_firing:
        return replace(before, annotations=posted.annotations, ends=ends, link=posted.link or before.link)
    starts = min(posted.starts or now, now)
    return Alert(
        posted.labels, posted.annotations, AlertStatus.FIRING, starts, now, ends=ends, source=source, link=posted.link
    )
