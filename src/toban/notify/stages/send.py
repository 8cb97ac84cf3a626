"""Send: write the notifications that are due, one message for each channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import ItemIsolation
from toban.core.notification import Notification, NotificationKind, worst
from toban.notify.flap_detection import ReportedAs
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import SOON, PendingNotification, PipelineRun
from toban.notify.rendering import OTHERS, RenderedText, render, render_fallback, urgency


def send(run: PipelineRun, isolation: ItemIsolation) -> PipelineRun:
    """Write the messages of each pending notification, and note in its group what was reported."""
    result = _Result(_Context.of(run), dict(run.groups))
    for pending in run.pending:
        with isolation.item("group", pending.group.id):
            _send_group(run, pending, result, isolation)
    messages = (*run.messages, *result.messages)
    return replace(run, groups=result.groups, messages=messages).noted("send", result.reasons, result.wake_at)


@dataclass(frozen=True, slots=True)
class _Context:
    """What messages say of alerts in other groups."""

    firing: Sequence[Alert]
    """Alerts that fire and are not inhibited, the most urgent first."""
    inhibited: Mapping[str, Sequence[tuple[int, Alert]]]
    """By source, the alerts that it inhibits, each with its place among all of them."""

    @classmethod
    def of(cls, run: PipelineRun) -> "_Context":
        """Return the context of a run; empty where it sends nothing."""
        if not run.pending:
            return cls((), {})
        inhibited: dict[str, list[tuple[int, Alert]]] = {}
        for place, (name, source) in enumerate(run.inhibited_by.items()):
            inhibited.setdefault(source, []).append((place, run.alerts[name].alert))
        firing = [
            it.alert
            for name, it in run.alerts.items()
            if it.alert.status is AlertStatus.FIRING and it.alert.severity != "info" and name not in run.inhibited_by
        ]
        return cls(sorted(firing, key=urgency), inhibited)

    def inhibited_by(self, sources: Sequence[str]) -> list[Alert]:
        """Return the alerts that some sources inhibit."""
        found = [it for source in sources for it in self.inhibited.get(source, ())]
        return [alert for _, alert in sorted(found, key=lambda it: it[0])]

    def others(self, known: set[str]) -> list[Alert]:
        """Return the most urgent alerts that fire, without some: one of them may be the cause."""
        return list(islice((it for it in self.firing if it.fingerprint not in known), OTHERS))


@dataclass(slots=True)
class _Result:
    context: _Context
    groups: dict[str, NotificationGroup]
    messages: list[Notification] = field(default_factory=list)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    wake_at: list[datetime] = field(default_factory=list)


def _send_group(run: PipelineRun, pending: PendingNotification, result: _Result, isolation: ItemIsolation) -> None:
    group, kind, reports = pending.group, pending.kind, pending.reports
    resolved = {name for name, it in reports.items() if it is ReportedAs.RESOLVED}
    live = [name for name in reports if name not in resolved]
    named = [*live, *(set(pending.changes) - set(live))]
    alerts = sorted((run.alerts[name].alert for name in named if name in run.alerts), key=_order)
    severities = [run.alerts[name].alert.severity for name in live if name in run.alerts]
    severity = worst([*severities, group.severity] if group.severity else severities)
    text = _text(run, pending, alerts, live, result.context, isolation)
    for channel in group.channels:
        result.messages.append(
            Notification(
                group_id=group.id,
                number=group.number,
                key=f"{group.id}.{group.number}.{channel}",
                kind=kind,
                severity=severity,
                title=text.title,
                lines=text.lines,
                facts=text.facts,
                links=text.links,
                at=run.now,
                since=group.opened,
                language=run.policy.settings.language,
                alerts=tuple(alerts),
                group_labels=group.labels,
                receiver=channel,
            )
        )
    reason = f"{kind.value} to {', '.join(group.channels)} at {run.local_time(run.now)}"
    result.reasons += [(name, reason) for name in {*live, *pending.changes}]
    if resolved:
        # What it inhibited may be notified now.
        result.wake_at.append(run.now + SOON)
    if kind is NotificationKind.RESOLVED:
        del result.groups[group.id]
        return
    if ReportedAs.FIRING in reports.values():
        result.wake_at.append(run.now + pending.timing.repeat_interval)
    result.groups[group.id] = replace(
        group,
        reported={name: reports[name] for name in live},
        members=group.members - resolved,
        number=group.number + 1,
        notified=run.now,
        severity=severity,
        title=text.title,
    )


def _order(alert: Alert) -> tuple[bool, datetime, str]:
    return alert.status is AlertStatus.RESOLVED, alert.fired or alert.starts, alert.fingerprint


def _text(
    run: PipelineRun,
    pending: PendingNotification,
    alerts: Sequence[Alert],
    live: Sequence[str],
    context: _Context,
    isolation: ItemIsolation,
) -> RenderedText:
    group, settings = pending.group, run.policy.settings
    known = {alert.fingerprint for alert in alerts} | group.members
    try:
        return render(
            alerts,
            pending.kind,
            language=settings.language,
            zone=run.policy.zone,
            now=run.now,
            since=group.opened,
            inhibited=context.inhibited_by(live),
            others=context.others(known),
            acknowledged=next((alert.acknowledged for alert in alerts if alert.acknowledged), None),
            group=group.labels,
            title=group.title,
            address=settings.address or "",
        )
    except Exception as error:
        # Whoever should be notified of the alerts still is.
        isolation.record("message", group.id, error)
        return render_fallback(alerts, group.title, settings.language)
