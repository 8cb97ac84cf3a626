"""What judging writes down as series: recorded rules, ``ALERTS`` and ``ALERTS_FOR_STATE``."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from toban.alerting.states import ActiveAlert
from toban.core.alerts import AlertStatus
from toban.core.labels import NAME, Labels
from toban.core.samples import STALE, Batch, Layout, MetricFamily, MetricType, gauge, milliseconds

ALERTS: Final = gauge("ALERTS", "1 for each alert that is pending or firing, by its labels and `alertstate`.")
FOR_STATE: Final = gauge("ALERTS_FOR_STATE", "Since when an alert's condition is met, in seconds since the epoch.")


class SeriesWriter:
    """The series of one writer, in batches: what was there the last time and is not now ends."""

    def __init__(self, *families: MetricFamily) -> None:
        self._families = families
        self._layout = Layout(())

    def batches(self, found: Mapping[Labels, float], at: int) -> list[Batch]:
        """Return what to append for these numbers at a time (milliseconds)."""
        before = self._layout.series
        if tuple(found) != before:
            self._layout = Layout(found, self._families)
        ended = [labels for labels in before if labels not in found]
        batches = [Batch(self._layout, at, np.array(list(found.values()), np.float64))] if found else []
        return [*batches, Batch(Layout(ended), at, np.full(len(ended), STALE))] if ended else batches


def recorded_metric_writer(name: str) -> SeriesWriter:
    """Return the series that a recording rule writes."""
    return SeriesWriter(MetricFamily(name, MetricType.UNKNOWN, "Recorded by a rule."))


def alerts_writer() -> SeriesWriter:
    """Return the series that tell of alerts."""
    return SeriesWriter(ALERTS, FOR_STATE)


def alert_samples(standings: Iterable[ActiveAlert]) -> dict[Labels, float]:
    """Return the numbers that tell of alerts, as Prometheus writes them."""
    found: dict[Labels, float] = {}
    for standing in standings:
        alert = standing.alert
        if alert.status is AlertStatus.RESOLVED:
            continue
        found[Labels({**alert.labels, NAME: ALERTS.name, "alertstate": alert.status.value})] = 1.0
        found[Labels({**alert.labels, NAME: FOR_STATE.name})] = float(milliseconds(alert.starts) // 1000)
    return found
