"""Reads the error budgets of service levels."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from toban.core.errors import NotFoundError, QueryError, StoreError
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds, moment
from toban.review.burn_rate import HOUR
from toban.review.error_budget import STEP, Counts, ErrorBudget, Span, error_budget, unknown_budget
from toban.review.metric_families import OBSERVED, TOTAL, bad, error_ratio
from toban.review.service_level import ServiceLevel

PlannedWindows = Callable[[datetime, datetime], Sequence[Span]]
"""Returns the planned maintenance windows between two times; it is called in a thread."""


class ServiceLevels:
    """The service levels of a configuration, and their budgets by what their rules have recorded."""

    def __init__(
        self, levels: Sequence[ServiceLevel], engine: QueryEngine, planned: PlannedWindows, clock: Clock
    ) -> None:
        self.levels = levels
        self._engine = engine
        self._planned = planned
        self._clock = clock

    async def budgets(self, name: str = "") -> list[ErrorBudget]:
        """
        Return the budgets of all service levels, or of one.

        One that can't be read has an error. Raises ``NotFoundError`` for a name that there is not.
        """
        found = [it for it in self.levels if not name or it.name == name]
        if name and not found:
            known = ", ".join(it.name for it in self.levels) or "none"
            raise NotFoundError(f"no service level {name[:100]!r}: there are {known}")
        return [await self._budget(it) for it in found]

    async def _budget(self, level: ServiceLevel) -> ErrorBudget:
        try:
            return await self._read(level)
        except (QueryError, StoreError) as error:
            return unknown_budget(level, str(error))

    async def _read(self, level: ServiceLevel) -> ErrorBudget:
        now = self._clock.now()
        step = STEP // timedelta(milliseconds=1)
        end = milliseconds(now)
        steps = level.settings.period // STEP
        start = end - (steps - 1) * step
        times = np.arange(start, end + 1, step, dtype=np.int64)

        async def values(metric: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            result = await self._engine.range(f"max({level.series(metric)})", start, end, step)
            found = np.full(len(times), np.nan)
            for series in result.series:
                found[(series.times - start) // step] = series.values
            return found

        counts = Counts(
            times,
            await values(TOTAL.name),
            await values(bad(STEP)),
            ~np.isnan(await values(OBSERVED.name)),
        )
        last_hour = await self._engine.instant(f"max({level.series(error_ratio(HOUR))})", milliseconds(now))
        burn = last_hour.series[0].last if last_hour.series else None
        planned = await asyncio.to_thread(self._planned, moment(start - step), now)
        return error_budget(level, counts, planned, burn, now)
