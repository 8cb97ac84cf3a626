"""Inhibit: suppress alerts that another alert explains."""

from dataclasses import replace

from toban.core.alerts import AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.notify.pipeline_run import PipelineRun


def inhibit(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """Find the alerts that are inhibited, and by which source."""
    alerts = {name: tracked.alert for name, tracked in run.alerts.items()}
    reported = {name for group in run.groups.values() for name in group.reported}
    unsent_ends = frozenset(it for it in reported if it in alerts and alerts[it].status is AlertStatus.RESOLVED)
    found = run.policy.inhibitor.inhibited(alerts, run.now, unsent_ends, isolation)
    reasons, wake_at = [], []
    for name, by in found.items():
        source = alerts[by.source]
        if by.until is not None:
            wake_at.append(by.until)
            reason = f"inhibited by {source.name}, which is resolved, until {run.local_time(by.until)}"
        elif source.status is AlertStatus.RESOLVED:
            reason = f"inhibited by {source.name} until its end is sent"
        else:
            reason = f"inhibited by {source.name} while that fires"
        reasons.append((name, reason))
    inhibited_by = {name: by.source for name, by in found.items()}
    lingering = frozenset(name for name, by in found.items() if by.until)
    return replace(run, inhibited_by=inhibited_by, lingering=lingering).noted("inhibit", reasons, wake_at)
