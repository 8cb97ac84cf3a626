"""Alerts and notifications for tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.core.notification import Fact, Link, Notification, NotificationKind

NIGHT = datetime(2026, 3, 1, 18, 12, tzinfo=UTC)
"""Shortly after three in the morning in Tokyo."""


def alert(name: str = "order_failure_rate", **fields: Any) -> Alert:
    """Return a firing alert; ``fields`` replace its own."""
    labels = {"alertname": name, "severity": "critical", "instance": "shop-1", **fields.pop("labels", {})}
    annotations = {"summary": "Orders fail", "summary_ja": "注文が失敗しています", **fields.pop("annotations", {})}
    made = Alert(Labels(labels), annotations, AlertStatus.FIRING, NIGHT, NIGHT + timedelta(minutes=5), value=0.125)
    return replace(made, **fields)


def notification(kind: NotificationKind = NotificationKind.FIRING, number: int = 0, **fields: Any) -> Notification:
    """Return a notification of one group; ``fields`` replace its own."""
    resolved = kind is NotificationKind.RESOLVED
    subject = alert().resolved(NIGHT + timedelta(minutes=30)) if resolved else alert()
    made = Notification(
        group_id="orders-1",
        number=number,
        key=f"orders-1/{number}",
        kind=kind,
        severity="critical",
        title="Orders fail",
        lines=("Now: 12.5 % (limit: 10 %).", "Since 03:12 JST, for 5 min."),
        facts=(Fact("Priority", "P1"),),
        links=(Link("Runbook", "https://wiki.example/orders"),),
        at=NIGHT + timedelta(minutes=5 + number),
        since=NIGHT,
        alerts=(subject,),
        group_labels=Labels(alertname="order_failure_rate"),
        receiver="ops",
    )
    return replace(made, **fields)
