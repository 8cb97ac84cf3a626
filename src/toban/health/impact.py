"""Estimates what an outage costs: orders and revenue against the same hours of the last weeks."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from toban.core.errors import QueryError, StoreError
from toban.core.impact import Impact
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import MetricFamily, milliseconds
from toban.health.counter_growth import LOOKBACK
from toban.health.sales import HOUR, WEEKS
from toban.instruments.metric_families import ORDERS_CREATED, REVENUE

LEAST_WEEKS: Final = 2
"""Weeks with data without which nothing is claimed."""
LEAST_ORDERS: Final = 1.0
"""Usual orders in the time of the outage without which nothing is claimed."""
LATELY: Final = timedelta(minutes=15)
"""The time from which the cost a minute is taken."""


class ShopImpact:
    """Estimates from the exact counters of orders and revenue."""

    def __init__(self, engine: QueryEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def estimate(self, start: datetime, end: datetime) -> Impact | None:
        """Return what is missing between two times; nothing where there is too little to compare with."""
        try:
            return await self._estimate(start, end)
        except (QueryError, StoreError):
            return None  # the health of the engines has the error

    async def _estimate(self, start: datetime, end: datetime) -> Impact | None:
        orders, usual_orders = await self._compared(ORDERS_CREATED, "", start, end)
        if len(usual_orders.get("", ())) < LEAST_WEEKS or median(usual_orders[""]) < LEAST_ORDERS:
            return None
        revenue, usual = await self._compared(REVENUE, "currency", start, end)
        known = {of: it for of, it in usual.items() if len(it) >= LEAST_WEEKS}
        if not known:
            return None
        currency = max(known, key=lambda of: median(known[of]))
        actual, weeks = revenue.get(currency, 0.0), known[currency]
        recent, usual_recent = await self._compared(REVENUE, "currency", max(start, end - LATELY), end)
        minutes = max((end - max(start, end - LATELY)) / timedelta(minutes=1), 1.0)
        lately = median(usual_recent.get(currency) or [0.0]) - recent.get(currency, 0.0)
        return Impact(
            currency,
            max(0.0, median(weeks) - actual),
            max(0.0, min(weeks) - actual),
            max(0.0, max(weeks) - actual),
            max(0.0, lately / minutes),
            max(0.0, median(usual_orders[""]) - orders.get("", 0.0)),
            self._clock.now(),
        )

    async def _compared(
        self, counter: MetricFamily, by: str, start: datetime, end: datetime
    ) -> tuple[Mapping[str, float], Mapping[str, Sequence[float]]]:
        """Return the increase of a counter between two times, and those of the same times of the last weeks."""
        now = await self._increase(counter, by, start, end)
        past: dict[str, list[float]] = {}
        for week in range(1, WEEKS + 1):
            shift = timedelta(weeks=week)
            for of, value in (await self._increase(counter, by, start - shift, end - shift)).items():
                past.setdefault(of, []).append(value)
        return now, past

    async def _increase(self, counter: MetricFamily, by: str, start: datetime, end: datetime) -> Mapping[str, float]:
        total = f"sum by ({by}) (last_over_time({counter.name}[{LOOKBACK // HOUR}h]))"
        first = await self._engine.instant(total, milliseconds(start))
        last = await self._engine.instant(total, milliseconds(end))
        before = {it.labels.get(by, ""): it.last for it in first.series}
        return {of: max(0.0, it.last - before[of]) for it in last.series if (of := it.labels.get(by, "")) in before}
