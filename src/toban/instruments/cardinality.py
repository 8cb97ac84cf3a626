"""Cardinality limits of labels from outside."""

from collections.abc import Iterable, Mapping
from typing import Final

from toban.core.labels import VALUE_LENGTH
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Recorder
from toban.core.samples import counter

OTHER: Final = "other"
"""The label value of all values over the limit."""

OVER: Final = counter(
    "toban_label_values_over_limit_total",
    "Label values counted under `other` (gauges are dropped) because the label was over its limit.",
    labels=("label",),
)
LIMITS: Final[Mapping[str, int]] = {
    "productId": 1000,
    "customerId": 500,
    "campaignId": 100,
    "endpoint": 60,
    "operation": 100,
    "method": 30,
    "status": 60,
    "action": 50,
    "period": 50,
    "code": 60,
    "channel": 50,
    "customerType": 30,
    "currency": 30,
    "event": 100,
    "command": 150,
    "service_method": 150,
    "queue": 100,
    "context": 60,
    "service": 30,
}
"""The most values of each label; the rest is counted under `other`."""


class CardinalityLimits:
    """
    Limits the values of labels from outside, each label by itself, first come first served.

    A label without a limit here is limited by whoever sets it.
    """

    def __init__(self, meters: Recorder, limits: Mapping[str, int] = LIMITS) -> None:
        self._meters = meters
        self._limits = limits
        self._known: dict[str, set[str]] = {}

    def limited(self, label: str, value: str) -> str:
        """Return a label value: itself within the limit, `other` over it."""
        return value if self.admits(label, value) else OTHER

    def admits(self, label: str, value: str) -> bool:
        """Return whether a value is within the limit; count one that is not."""
        limit = self._limits.get(label)
        if limit is None or value == OTHER:
            return True
        known = self._known.setdefault(label, set())
        if value in known:
            return True
        if len(known) < limit and len(value) <= VALUE_LENGTH:
            known.add(value)
            return True
        self._meters.add(OVER, label=label)
        return False

    def learn(self, meters: MetricRegistry) -> None:
        """Accept all values of a registry: after a restart they are the same as before."""
        for _, labels, _ in meters.series():
            self.remember(labels.items())

    def remember(self, labels: Iterable[tuple[str, str]]) -> None:
        """Accept label values."""
        for label, value in labels:
            if label in self._limits and value != OTHER:
                self._known.setdefault(label, set()).add(value)
