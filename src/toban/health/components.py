"""The components of a shop, each with its key figure of the last hour."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from toban.core.ports import Clock, HealthState, QueryEngine
from toban.core.samples import milliseconds

STEP: Final = 60_000
"""Milliseconds between two points of a figure."""

POINTS: Final = 60
"""How many points a figure has: an hour."""


@dataclass(frozen=True, slots=True)
class Component:
    """
    A part of a shop: its key in translations, the targets and the metrics by which it is known, and its key figure.

    An alert belongs to the first component one of whose targets it is about, or one of whose metrics its rule reads.
    """

    key: str
    targets: frozenset[str]
    """Kinds of targets, or names of those that exist without being configured."""
    metrics: tuple[str, ...]
    """Prefixes of the names of its metrics."""
    expression: str
    """Its key figure, in PromQL."""
    unit: str
    """The unit of the figure, by Grafana's names."""
    board: str
    """The dashboard that shows more."""

    def owns_target(self, kind: str, name: str) -> bool:
        """Tell whether a target belongs to it."""
        return kind in self.targets or name in self.targets

    def owns_rule(self, metrics: Collection[str]) -> bool:
        """Tell whether a rule that reads some metrics belongs to it."""
        return any(metric.startswith(self.metrics) for metric in metrics)


COMPONENTS: Final = (
    Component(
        "shop_api",
        frozenset({"shop_api"}),
        ("vendure_api_", "vendure_graphql_", "vendure_shop_check", "vendure_order", "vendure_payment"),
        "histogram_quantile(0.95, sum by (le) (rate(vendure_api_latency_seconds_bucket[5m])))",
        "s",
        "api",
    ),
    Component(
        "storefront",
        frozenset({"storefront"}),
        ("storefront_", "probe_http_"),
        'max(probe_duration_seconds{job="storefront"})',
        "s",
        "storefront",
    ),
    Component(
        "database",
        frozenset({"postgres", "vendure_db"}),
        ("postgres_",),
        "max(postgres_connections_used / postgres_connections_limit)",
        "percentunit",
        "postgres",
    ),
    Component(
        "redis",
        frozenset({"redis", "upstash"}),
        ("redis_", "upstash_"),
        "sum(redis_memory_usage_bytes)",
        "bytes",
        "redis",
    ),
    Component(
        "worker",
        frozenset({"worker"}),
        ("vendure_worker", "vendure_scheduled"),
        "sum(rate(vendure_jobs_completed_total[5m]))",
        "ops",
        "worker",
    ),
    Component("queues", frozenset({"bullmq"}), ("vendure_jobs_",), "sum(vendure_jobs_waiting)", "short", "worker"),
    Component(
        "storage",
        frozenset({"files"}),
        ("system_disk_", "backup", "file"),
        "max(1 - system_disk_available_bytes / system_disk_size_bytes)",
        "percentunit",
        "hosts",
    ),
    Component(
        "machines",
        frozenset({"host", "fly"}),
        ("system_", "fly_", "nodejs_", "process_"),
        "max(system_cpu_usage_percent)",
        "percent",
        "hosts",
    ),
)
"""The components, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class ComponentFigure:
    """The key figure of a component: its values of the last hour, oldest first, None where there is none."""

    component: Component
    values: Sequence[float | None]

    @property
    def last(self) -> float | None:
        """The value now."""
        return self.values[-1] if self.values else None


def component_state(figure: ComponentFigure, targets: Collection[HealthState], *, is_alerting: bool) -> HealthState:
    """Return the state of a component from its targets' and whether an alert fires that belongs to it."""
    if is_alerting or HealthState.UNHEALTHY in targets:
        return HealthState.UNHEALTHY
    if targets:
        return HealthState.NO_DATA if HealthState.NO_DATA in targets else HealthState.HEALTHY
    return HealthState.NOT_CONFIGURED if figure.last is None else HealthState.HEALTHY


async def evaluate_components(engine: QueryEngine, clock: Clock) -> list[ComponentFigure]:
    """Return the figures of all components. Raises ``QueryError`` or ``StoreError``."""
    end = milliseconds(clock.now()) // STEP * STEP
    start = end - (POINTS - 1) * STEP
    found = []
    for component in COMPONENTS:
        values: list[float | None] = [None] * POINTS
        result = await engine.range(component.expression, start, end, STEP)
        for series in result.series[:1]:
            places = (series.times - start) // STEP
            for place, value in zip(places.tolist(), series.values.tolist(), strict=True):
                values[place] = value if np.isfinite(value) else None
        found.append(ComponentFigure(component, values if result.series else ()))
    return found


def component_of(kind: str, metrics: Collection[str]) -> str:
    """Return the component that an alert is about, by the kind of its target and the metrics that its rule reads."""
    found = (it.key for it in COMPONENTS if it.owns_target(kind, kind) or it.owns_rule(metrics))
    return next(found, "")
