"""Orders around an incident, interval by interval, against the same hours of the last weeks."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds, moment
from toban.health.counter_growth import read_growth, rounded
from toban.health.impact import LEAST_WEEKS
from toban.health.sales import WEEKS, SalesHour, UsualRange
from toban.instruments.metric_families import ORDERS_CREATED

INTERVALS: Final = tuple(timedelta(minutes=it) for it in (5, 10, 15, 30, 60, 120, 240))
MOST: Final = 48
"""Intervals that a chart shows."""
LONGEST: Final = MOST * INTERVALS[-1]
"""What is shown of the time around an incident: its begin."""


class OrdersAround:
    """Reads orders from their exact counter."""

    def __init__(self, engine: QueryEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def between(self, start: datetime, end: datetime) -> Sequence[SalesHour]:
        """
        Return the orders of the intervals between two times, and what is usual where two weeks at least are known.

        Empty where no orders are counted. An interval that is not over is not known yet. Raises ``QueryError`` or
        ``StoreError``.
        """
        end = min(end, start + LONGEST)
        interval = next(it for it in INTERVALS if it * (MOST - 1) >= end - start or it == INTERVALS[-1])
        size = interval // timedelta(milliseconds=1)
        first = milliseconds(start) // size
        many = min(MOST, -(-milliseconds(end) // size) - first)
        times = [(first + place) * size for place in range(many + 1)]
        now = await self._growth(times)
        weeks = [
            await self._growth([it - week * timedelta(weeks=1) // timedelta(milliseconds=1) for it in times])
            for week in range(1, WEEKS + 1)
        ]
        if all(it is None for week in (now, *weeks) for it in week):
            return ()
        found = []
        for place in range(many):
            usual = [it for it in (_increase(week, place) for week in weeks) if it is not None]
            known = UsualRange.of(usual) if len(usual) >= LEAST_WEEKS else None
            found.append(SalesHour(moment(times[place]), _increase(now, place), known))
        return found

    async def _growth(self, times: Sequence[int]) -> list[float | None]:
        """Return how much the counter has grown at some times; None for those that are still to come."""
        over = [it for it in times if it <= milliseconds(self._clock.now())]
        growth = await read_growth(self._engine, ORDERS_CREATED.name, (), over) if over else {}
        return [*growth.get((), [None] * len(over)), *[None] * (len(times) - len(over))]


def _increase(growth: Sequence[float | None], place: int) -> float | None:
    first, last = growth[place], growth[place + 1]
    return None if first is None or last is None else rounded(last - first)
