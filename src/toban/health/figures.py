"""The shop in a few figures: what its owner looks at first."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from toban.core.labels import Labels
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds


class Unit(StrEnum):
    """How a figure is written."""

    COUNT = "count"
    MONEY = "money"
    SECONDS = "seconds"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its word in translations, the question in PromQL, and how it is written."""

    key: str
    question: str
    unit: Unit = Unit.COUNT


@dataclass(frozen=True, slots=True)
class Value:
    """What a figure came to, and of what where there are several (a currency, a queue)."""

    key: str
    of: str
    value: float
    unit: Unit

    @property
    def text(self) -> str:
        """The value for people."""
        if self.unit is Unit.SECONDS:
            return f"{self.value * 1000:,.0f} ms" if self.value < 2 else f"{self.value:,.0f} s"
        if self.unit is Unit.PERCENT:
            return f"{self.value:.1f} %"
        return f"{self.value:,.2f}" if self.unit is Unit.MONEY else f"{self.value:,.0f}"


FIGURES: Final = (
    Figure("orders_hour", "round(sum(increase(vendure_orders_created_total[1h])))"),
    Figure(
        "revenue_hour",
        "sum by (currency) (increase(vendure_revenue_total[1h])) > 0",
        Unit.MONEY,
    ),
    Figure("orders_failed", "round(sum(increase(vendure_orders_failed_total[1h])))"),
    Figure(
        "payments_failed",
        "round(sum by (method) (increase(vendure_payments_failed_total[1h]))) > 0",
    ),
    Figure(
        "requests_minute",
        "sum(rate(vendure_api_requests_total[5m])) * 60",
    ),
    Figure(
        "slowest",
        "histogram_quantile(0.95, sum by (le) (rate(vendure_api_latency_seconds_bucket[5m])))",
        Unit.SECONDS,
    ),
    Figure(
        "faults",
        '100 * sum(rate(vendure_graphql_errors_total{fault="shop"}[5m])) / sum(rate(vendure_api_requests_total[5m]))',
        Unit.PERCENT,
    ),
    Figure("jobs_waiting", "sum by (queue) (vendure_jobs_waiting) > 0"),
    Figure("oldest_job", "max(vendure_jobs_oldest_waiting_seconds) > 0", Unit.SECONDS),
)
"""The figures, in the order in which they are read."""


async def figures(engine: QueryEngine, clock: Clock) -> list[Value]:
    """Return the figures that have a value now. Raises ``QueryError`` or ``StoreError``."""
    at = milliseconds(clock.now())
    found: list[Value] = []
    for figure in FIGURES:
        answer = await engine.instant(figure.question, at)
        found += [
            Value(figure.key, _of(points.labels), points.last, figure.unit)
            for points in answer.series
            if not math.isnan(points.last)
        ]
    return found


def _of(labels: Labels) -> str:
    return ", ".join(labels.values())
