"""What judging writes down as series: recorded rules, ``ALERTS`` and ``ALERTS_FOR_STATE``."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from toban.alerting.states import Standing
from toban.core.alerts import Status
from toban.core.labels import NAME, Labels
from toban.core.samples import STALE, Batch, Family, Layout, Type, gauge, milliseconds

ALERTS: Final = gauge("ALERTS", "1 for each alert that is pending or firing, by its labels and `alertstate`.")
FOR_STATE: Final = gauge("ALERTS_FOR_STATE", "Since when an alert's condition is met, in seconds since the epoch.")


class Series:
    """The series of one writer, in batches: what was there the last time and is not now ends."""

    def __init__(self, *families: Family) -> None:
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


def recorded(name: str) -> Series:
    """Return the series that a recording rule writes."""
    return Series(Family(name, Type.UNKNOWN, "Recorded by a rule."))


def alerts() -> Series:
    """Return the series that tell of alerts."""
    return Series(ALERTS, FOR_STATE)


def told(standings: Iterable[Standing]) -> dict[Labels, float]:
    """Return the numbers that tell of alerts, as Prometheus writes them."""
    found: dict[Labels, float] = {}
    for standing in standings:
        alert = standing.alert
        if alert.status is Status.RESOLVED:
            continue
        found[Labels({**alert.labels, NAME: ALERTS.name, "alertstate": alert.status.value})] = 1.0
        found[Labels({**alert.labels, NAME: FOR_STATE.name})] = float(milliseconds(alert.starts) // 1000)
    return found
