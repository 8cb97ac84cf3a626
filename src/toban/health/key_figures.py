"""Key figures of the shop."""

import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from toban.core.labels import Labels
from toban.core.ports import Clock, InstantQueryEngine
from toban.core.samples import MetricFamily, milliseconds
from toban.health.counter_growth import read_increase
from toban.instruments.metric_families import ORDERS_CREATED, ORDERS_FAILED, PAYMENTS_FAILED, REVENUE


class Unit(StrEnum):
    """How a figure is written."""

    COUNT = "count"
    MONEY = "money"
    SECONDS = "seconds"
    PERCENT = "percent"


HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A figure: its key in translations, its expression in PromQL, and its unit."""

    key: str
    expression: str
    unit: Unit = Unit.COUNT


@dataclass(frozen=True, slots=True)
class CounterFigure:
    """
    The exact increase of a counter in the last hour: its key in translations, the counter, and by which label it is
    split, where it is; zeros are then left out.

    ``increase`` extrapolates to the whole window: for a chart that is right, for a number of orders it is not.
    """

    key: str
    counter: MetricFamily
    by: str = ""
    unit: Unit = Unit.COUNT


@dataclass(frozen=True, slots=True)
class FigureValue:
    """The value of a figure, and of which currency, queue, … where there are several."""

    key: str
    of: str
    value: float
    unit: Unit

    @property
    def text(self) -> str:
        """The value with its unit."""
        if self.unit is Unit.SECONDS:
            return f"{self.value * 1000:,.0f} ms" if self.value < 2 else f"{self.value:,.0f} s"
        if self.unit is Unit.PERCENT:
            return f"{self.value:.1f} %"
        return f"{self.value:,.2f}" if self.unit is Unit.MONEY else f"{self.value:,.0f}"


FIGURES: Final = (
    CounterFigure("orders_hour", ORDERS_CREATED),
    CounterFigure("revenue_hour", REVENUE, "currency", Unit.MONEY),
    CounterFigure("orders_failed", ORDERS_FAILED),
    CounterFigure("payments_failed", PAYMENTS_FAILED, "method"),
    KeyFigure("requests_minute", "round(sum(rate(vendure_api_requests_total[5m])) * 60)"),
    KeyFigure(
        "slowest",
        "histogram_quantile(0.95, sum by (le) (rate(vendure_api_latency_seconds_bucket[5m])))",
        Unit.SECONDS,
    ),
    KeyFigure(
        "faults",
        '100 * sum(rate(vendure_graphql_errors_total{fault="shop"}[5m])) / sum(rate(vendure_api_requests_total[5m]))',
        Unit.PERCENT,
    ),
    KeyFigure("jobs_waiting", "sum by (queue) (vendure_jobs_waiting) > 0"),
    KeyFigure("oldest_job", "max(vendure_jobs_oldest_waiting_seconds) > 0", Unit.SECONDS),
)
"""The figures, in the order in which they are shown."""


async def evaluate_figures(engine: InstantQueryEngine, clock: Clock) -> list[FigureValue]:
    """Return the figures that have a value now. Raises ``QueryError`` or ``StoreError``."""
    at = milliseconds(clock.now())
    found: list[FigureValue] = []
    for figure in FIGURES:
        if isinstance(figure, CounterFigure):
            found += await increase_last_hour(figure, engine, at)
            continue
        result = await engine.instant(figure.expression, at)
        found += [
            FigureValue(figure.key, _of(points.labels), points.last, figure.unit)
            for points in result.series
            if not math.isnan(points.last)
        ]
    return found


async def increase_last_hour(figure: CounterFigure, engine: InstantQueryEngine, at: int) -> list[FigureValue]:
    """Return the increase of a counter in the hour before a time. Raises ``QueryError`` or ``StoreError``."""
    begin = at - HOUR // timedelta(milliseconds=1)
    # The last sample before the hour may be older than it.
    found = await read_increase(engine, figure.counter.name, (figure.by,), begin, at, HOUR)
    return [
        FigureValue(figure.key, of, value, figure.unit)
        for (of,), value in sorted(found.items())
        if value > 0 or not figure.by
    ]


def _of(labels: Labels) -> str:
    return ", ".join(labels.values())
