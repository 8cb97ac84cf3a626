"""Alerts and notifications to tell of, in tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.notify.notification import Fact, Link, Notification, NotificationKind

NIGHT = datetime(2026, 3, 1, 18, 12, tzinfo=UTC)
"""Three in the morning in Tokyo, a little later."""


def alert(name: str = "order_failure_rate", **fields: Any) -> Alert:
    """An alert that fires; what is given takes the place of what it has."""
    labels = {"alertname": name, "severity": "critical", "instance": "shop-1", **fields.pop("labels", {})}
    told = {"summary": "Orders fail", "summary_ja": "注文が失敗しています", **fields.pop("annotations", {})}
    made = Alert(Labels(labels), told, AlertStatus.FIRING, NIGHT, NIGHT + timedelta(minutes=5), value=0.125)
    return replace(made, **fields)


def notification(kind: NotificationKind = NotificationKind.FIRING, number: int = 0, **fields: Any) -> Notification:
    """A message of one thread; what is given takes the place of what it says."""
    over = kind is NotificationKind.RESOLVED
    about = alert().resolved(NIGHT + timedelta(minutes=30)) if over else alert()
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
        alerts=(about,),
        group_labels=Labels(alertname="order_failure_rate"),
        receiver="ops",
    )
    return replace(made, **fields)
