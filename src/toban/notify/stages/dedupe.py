"""Dedupe: compare each group with its last notification, and find what is due."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from toban.core.item_isolation import ItemIsolation
from toban.core.notification import NotificationKind
from toban.notify.flap_detection import ReportedAs, next_change, reported_as
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import PendingNotification, PipelineRun
from toban.notify.routing import GroupTiming

RESOLVED_WAIT: Final = timedelta(minutes=5)
"""How long the ends of some alerts of a group wait for those of the others, so that one repair is one message."""


def dedupe(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """
    Find the notifications that are due; what is new and has to wait is due later.

    A group that ended before its first notification is closed without one.
    """
    result = _Result()
    groups = dict(run.groups)
    for name, group in run.groups.items():
        with isolation.item("group", name):
            if _dedupe_group(run, group, result):
                del groups[name]
    return replace(run, groups=groups, pending=tuple(result.pending)).noted("dedupe", result.reasons, result.wake_at)


@dataclass(slots=True)
class _Result:
    pending: list[PendingNotification] = field(default_factory=list)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    wake_at: list[datetime] = field(default_factory=list)


def _dedupe_group(run: PipelineRun, group: NotificationGroup, result: _Result) -> bool:
    """Add what is due of a group, or why nothing is; return whether the group is closed without a notification."""
    current: dict[str, ReportedAs] = {}
    for name in group.members:
        if (report := _report(run, group, name, result)) is not None:
            current[name] = report
    changes = {name: it for name, it in current.items() if it is not group.reported.get(name)}
    reports = {**group.reported, **current}
    if not group.reported and all(it is ReportedAs.RESOLVED for it in reports.values()):
        result.reasons += [
            (name, "resolved before it was notified") for name in group.members if not run.is_suppressed(name)
        ]
        return True
    pending = PendingNotification(group, _kind(reports, changes), reports, changes, _timing(run, group))
    due = _due(run, pending)
    if due is not None and due <= run.now:
        result.pending.append(pending)
        return False
    if due is not None:
        result.wake_at.append(due)
    reason = _reason_to_wait(run, group, due)
    result.reasons += [(name, reason) for name in group.members if not run.is_suppressed(name)]
    return False


def _report(run: PipelineRun, group: NotificationGroup, name: str, result: _Result) -> ReportedAs | None:
    """Return how to report an alert now; nothing when it isn't reported."""
    tracked, last = run.alerts.get(name), group.reported.get(name)
    if tracked is None:
        # It was resolved for so long that it was forgotten; who was notified of it is notified of its end.
        return ReportedAs.RESOLVED if last else None
    flapping = run.policy.settings.flapping
    if (later := next_change(tracked, run.now, flapping)) is not None:
        result.wake_at.append(later)
    report = reported_as(tracked, last, run.now, flapping)
    if report is ReportedAs.RESOLVED:
        return report if last else None
    # While it is suppressed it stays as it was reported; its end is notified all the same.
    return last if run.is_suppressed(name) else report


def _kind(reports: Mapping[str, ReportedAs], changes: Mapping[str, ReportedAs]) -> NotificationKind:
    if all(it is ReportedAs.RESOLVED for it in reports.values()):
        return NotificationKind.RESOLVED
    if changes and all(it is ReportedAs.ACKNOWLEDGED for it in changes.values()):
        return NotificationKind.ACKNOWLEDGED
    if ReportedAs.FLAPPING in changes.values():
        return NotificationKind.FLAPPING
    return NotificationKind.FIRING if changes else NotificationKind.REMINDER


def _due(run: PipelineRun, pending: PendingNotification) -> datetime | None:
    """Return when a notification may be sent; nothing when none is wanted."""
    group, kind, changes, timing = pending.group, pending.kind, pending.changes, pending.timing
    if group.notified is None:
        return group.opened + timing.group_wait
    if kind is NotificationKind.ACKNOWLEDGED:
        return run.now
    if (
        kind is NotificationKind.FIRING
        and all(it is ReportedAs.RESOLVED for it in changes.values())
        # What is inhibited until an end is sent does not wait.
        and not any(source in changes for source in run.inhibited_by.values())
    ):
        ends = [at for name in changes if name in run.alerts and (at := run.alerts[name].alert.ends) is not None]
        return max([group.notified + timing.group_interval, *(at + RESOLVED_WAIT for at in ends)])
    if kind is not NotificationKind.REMINDER:
        return group.notified + timing.group_interval
    is_unanswered = any(it is ReportedAs.FIRING and not run.is_suppressed(name) for name, it in pending.reports.items())
    return group.notified + timing.repeat_interval if is_unanswered else None


def _timing(run: PipelineRun, group: NotificationGroup) -> GroupTiming:
    """Return the intervals of a group: those of the routes that its alerts take today."""
    for name in sorted(group.members):
        for destination in run.destinations.get(name, ()):
            if destination.key == group.key:
                return destination.timing
    settings = run.policy.settings
    return GroupTiming(settings.group_wait, settings.group_interval, settings.repeat_interval)


def _reason_to_wait(run: PipelineRun, group: NotificationGroup, due: datetime | None) -> str:
    if due is None:
        return f"notified at {run.local_time(group.notified)}; nothing to send until it changes"
    if group.notified is None:
        return f"waits for the group until {run.local_time(due)}"
    return f"notified at {run.local_time(group.notified)}; next at {run.local_time(due)}"
