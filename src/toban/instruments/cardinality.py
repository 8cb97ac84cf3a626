"""How many values a label from outside may take."""

from collections.abc import Iterable, Mapping
from typing import Final

from toban.core.labels import VALUE_LENGTH
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Recorder
from toban.core.samples import counter

OTHER: Final = "other"
"""What counts the values that are over a label's budget."""

OVER: Final = counter(
    "toban_label_values_over_limit_total",
    "Values counted under `other` (or dropped, gauges) because a label had too many.",
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
"""How many values each label may take before `other` counts the rest."""


class CardinalityLimits:
    """
    Keeps the labels that come from outside within bounds, each label by itself, first come first served.

    A label without a limit here is bounded by whoever fills it.
    """

    def __init__(self, meters: Recorder, limits: Mapping[str, int] = LIMITS) -> None:
        self._meters = meters
        self._limits = limits
        self._known: dict[str, set[str]] = {}

    def limited(self, label: str, value: str) -> str:
        """Return a label's value: itself while there is room, `other` when there is none."""
        return value if self.admits(label, value) else OTHER

    def admits(self, label: str, value: str) -> bool:
        """Tell whether a value may stand for itself; one that may not is counted."""
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
        """Take what is counted already as known: after a restart the same values stand for themselves."""
        for _, labels, _ in meters.series():
            self.remember(labels.items())

    def remember(self, labels: Iterable[tuple[str, str]]) -> None:
        """Take values as known."""
        for label, value in labels:
            if label in self._limits and value != OTHER:
                self._known.setdefault(label, set()).add(value)
