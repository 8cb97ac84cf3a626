"""The series that evaluation writes: those of recording rules, ``ALERTS`` and ``ALERTS_FOR_STATE``."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from toban.alerting.states import ActiveAlert
from toban.core.alerts import AlertStatus
from toban.core.labels import NAME, Labels
from toban.core.samples import STALE, Batch, Layout, MetricFamily, MetricType, gauge, milliseconds

ALERTS: Final = gauge(
    "ALERTS",
    "1 for each alert that is pending or firing, by its labels and `alertstate`.",
    labels=("alertname", "alertstate"),
)
FOR_STATE: Final = gauge(
    "ALERTS_FOR_STATE",
    "Since when an alert's condition is met, in seconds since the epoch, by its labels.",
    labels=("alertname",),
)


class SeriesWriter:
    """Makes batches of one writer's series, and marks those as stale that were written last time and are not now."""

    def __init__(self, *families: MetricFamily) -> None:
        self._families = families
        self._layout = Layout(())

    def batches(self, found: Mapping[Labels, float], at: int) -> list[Batch]:
        """Return the batches to append for these values at a time (milliseconds)."""
        before = self._layout.series
        if tuple(found) != before:
            self._layout = Layout(found, self._families)
        ended = [labels for labels in before if labels not in found]
        batches = [Batch(self._layout, at, np.array(list(found.values()), np.float64))] if found else []
        return [*batches, Batch(Layout(ended), at, np.full(len(ended), STALE))] if ended else batches


def recorded_metric_writer(name: str) -> SeriesWriter:
    """Return the writer of a recording rule's series."""
    return SeriesWriter(MetricFamily(name, MetricType.UNKNOWN, "Recorded by a rule."))


def alerts_writer() -> SeriesWriter:
    """Return the writer of the series about alerts."""
    return SeriesWriter(ALERTS, FOR_STATE)


def alert_samples(alerts: Iterable[ActiveAlert]) -> dict[Labels, float]:
    """Return the values of the series about alerts, as Prometheus writes them."""
    found: dict[Labels, float] = {}
    for active in alerts:
        alert = active.alert
        if alert.status is AlertStatus.RESOLVED:
            continue
        found[Labels({**alert.labels, NAME: ALERTS.name, "alertstate": alert.status.value})] = 1.0
        found[Labels({**alert.labels, NAME: FOR_STATE.name})] = float(milliseconds(alert.starts) // 1000)
    return found
