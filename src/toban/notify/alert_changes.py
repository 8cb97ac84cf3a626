"""Alert changes from the event log: applied to what the pipeline remembers, and logged."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from toban.core.alerts import Alert, AlertChange, priority
from toban.core.item_isolation import ItemIsolation
from toban.notify.flap_detection import track_change
from toban.notify.pipeline_run import PipelineState
from toban.notify.settings import Flapping

LOG_BATCH: Final = 100
"""After how many changes other tasks get a turn."""

log = structlog.get_logger("toban.notify")


def apply_changes(
    state: PipelineState, changes: Iterable[AlertChange], flapping: Flapping, isolation: ItemIsolation
) -> PipelineState:
    """Return the state after some changes, applied in their order."""
    alerts = dict(state.alerts)
    for change in changes:
        with isolation.item("change", change_id(change)):
            name = change.alert.fingerprint
            alerts[name] = track_change(alerts.get(name), change, flapping)
    return replace(state, alerts=alerts)


def change_id(change: AlertChange) -> str:
    """Return what identifies a change in reports of failures."""
    return f"{change.alert.name} {change.alert.fingerprint} {change.at.isoformat()}"


async def log_changes(before: PipelineState, changes: Sequence[AlertChange]) -> None:
    """Log each alert that fires, is acknowledged or resolves, once, however often the change is read."""
    logged: dict[str, tuple[str, datetime | None]] = {}
    for place, change in enumerate(changes, 1):
        if place % LOG_BATCH == 0:
            await asyncio.sleep(0)  # thousands of lines must not block the loop
        alert, now = change.alert, _logged_state(change.alert)
        last = before.alerts.get(alert.fingerprint)
        if logged.get(alert.fingerprint, last and _logged_state(last.alert)) != now:
            logged[alert.fingerprint] = now
            event = f"alert {now[0]}"
            log.info(
                event,
                alert=alert.name,
                fingerprint=alert.fingerprint,
                severity=alert.severity,
                priority=priority(alert.labels),
                at=change.at.isoformat(),
            )


def _logged_state(alert: Alert) -> tuple[str, datetime | None]:
    """Return what an alert is, and since when it has been firing."""
    return ("acknowledged" if alert.acknowledged else alert.status.value), alert.fired
