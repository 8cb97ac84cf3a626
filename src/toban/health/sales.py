"""Orders and revenue of today by the hour, against the same hours of the last weeks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import median
from typing import Final

from toban.core.ports import Clock, QueryEngine
from toban.core.samples import MetricFamily, milliseconds
from toban.health.key_figures import CounterFigure, increase_since
from toban.instruments.metric_families import ORDERS_CREATED, REVENUE

WEEKS: Final = 4
"""How many weeks the usual is taken from."""

HOUR: Final = timedelta(hours=1)

KEPT: Final = 300_000
"""Milliseconds for which what past weeks came to is kept."""

LOOKBACK: Final = "6h"
"""How long the last value of a counter counts where toban did not run."""


@dataclass(frozen=True, slots=True)
class UsualRange:
    """The least, the median and the most of the same hours of the last weeks."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "UsualRange":
        """Return the range of some values."""
        return cls(min(values), median(values), max(values))


@dataclass(frozen=True, slots=True)
class SalesHour:
    """An hour of today: its orders, None while it has not begun or was not observed, and what is usual."""

    starts: datetime
    orders: float | None
    usual: UsualRange | None


@dataclass(frozen=True, slots=True)
class Amount:
    """
    A sum of today so far, and the usual sum until the same time.

    It is None before it is known, and what is usual where there are no weeks to compare with.
    """

    value: float | None
    usual: UsualRange | None

    @property
    def missing(self) -> float:
        """How much less it is than the least of the last weeks: 0 where that is usual, or nothing is known."""
        return max(0.0, self.usual.least - self.value) if self.usual and self.value is not None else 0.0


@dataclass(frozen=True, slots=True)
class Sales:
    """Orders of today by the hour and in all, and revenue by currency."""

    hours: Sequence[SalesHour]
    orders: Amount
    revenue: Mapping[str, Amount]


@dataclass(frozen=True, slots=True)
class Day:
    """The totals of a counter at the full hours of a day, as far as they are known, and at the time of day of now."""

    at_hours: Sequence[float | None]
    until_now: float | None
    this_hour: float | None = None
    """The increase within the hour of now, where that is today."""

    def increase(self, hour: int) -> float | None:
        """Return the increase within a full hour."""
        first, last = self.at_hours[hour], self.at_hours[hour + 1]
        return None if first is None or last is None else max(0.0, last - first)

    @property
    def so_far(self) -> float | None:
        """The increase since midnight, or since it is counted."""
        first = next((it for it in self.at_hours if it is not None), None)
        return self.this_hour if first is None or self.until_now is None else max(0.0, self.until_now - first)


class SalesReport:
    """Reads sales from the exact counters; past weeks are read every five minutes at most."""

    def __init__(self, engine: QueryEngine, clock: Clock, zone: tzinfo) -> None:
        """``zone`` is that in which a day begins."""
        self._engine = engine
        self._clock = clock
        self._zone = zone
        self._past: tuple[int, Sequence[tuple[Mapping[str, Day], Mapping[str, Day]]]] = (0, ())

    async def today(self) -> Sales | None:
        """Return the sales of today; None where no orders are counted. Raises ``QueryError`` or ``StoreError``."""
        now = self._clock.now()
        midnight = now.astimezone(self._zone).replace(hour=0, minute=0, second=0, microsecond=0)
        begin, end = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
        many = (end - begin) // HOUR
        orders, revenue = await self._day(begin, now, many)
        if "" not in orders:
            return None
        hour_begin = begin + (now - begin) // HOUR * HOUR
        orders = await self._with_this_hour(ORDERS_CREATED, "", orders, hour_begin)
        revenue = await self._with_this_hour(REVENUE, "currency", revenue, hour_begin)
        past = await self._weeks(begin, now, many)
        weeks = [it[""] for it, _ in past if "" in it]
        passed = (now - begin) // HOUR
        shown = []
        for hour in range(many):
            usual = [it for it in (week.increase(hour) for week in weeks) if it is not None]
            increase = orders[""].this_hour if hour == passed else orders[""].increase(hour)
            shown.append(SalesHour(begin + hour * HOUR, increase, UsualRange.of(usual) if usual else None))
        return Sales(
            shown,
            _amount(orders[""], weeks),
            {
                currency: _amount(day, [it[currency] for _, it in past if currency in it])
                for currency, day in sorted(revenue.items())
            },
        )

    async def of_day(self, begin: datetime, end: datetime) -> tuple[Mapping[str, Day], Mapping[str, Day]]:
        """
        Return the orders of a day that is over under ``""``, and its revenue by currency.

        Raises ``QueryError`` or ``StoreError``.
        """
        return await self._day(begin, end, (end - begin) // HOUR)

    async def _with_this_hour(
        self, counter: MetricFamily, by: str, days: Mapping[str, Day], begin: datetime
    ) -> dict[str, Day]:
        """Return days with the exact increase since the last full hour, before which there may be no sample."""
        figure = CounterFigure("", counter, by)
        result = await self._engine.instant(figure.expression, milliseconds(self._clock.now()))
        sums = dict.fromkeys(days, 0.0)
        for points in result.series:
            of = points.labels.get(by, "") if by else ""
            sums[of] = sums.get(of, 0.0) + increase_since(points, milliseconds(begin))
        return {of: replace(day, this_hour=sums[of]) for of, day in days.items()}

    async def _weeks(
        self, begin: datetime, now: datetime, many: int
    ) -> Sequence[tuple[Mapping[str, Day], Mapping[str, Day]]]:
        """Return the same days of the last weeks."""
        slot = milliseconds(now) // KEPT
        if self._past[0] != slot:
            weeks = [timedelta(weeks=it) for it in range(1, WEEKS + 1)]
            self._past = slot, [await self._day(begin - it, now - it, many) for it in weeks]
        return self._past[1]

    async def _day(self, begin: datetime, now: datetime, many: int) -> tuple[dict[str, Day], dict[str, Day]]:
        """Return the orders of a day under ``""``, and its revenue by currency."""
        return (
            await self._totals(ORDERS_CREATED, "", begin, now, many),
            await self._totals(REVENUE, "currency", begin, now, many),
        )

    async def _totals(
        self, counter: MetricFamily, by: str, begin: datetime, now: datetime, many: int
    ) -> dict[str, Day]:
        start, step = milliseconds(begin), HOUR // timedelta(milliseconds=1)
        end = min(start + many * step, milliseconds(self._clock.now()))
        total = f"sum by ({by}) (last_over_time({counter.name}[{LOOKBACK}]))"
        result = await self._engine.range(total, start, end, step)
        at_now = await self._engine.instant(total, milliseconds(now))
        latest = {it.labels.get(by, ""): it.last for it in at_now.series}
        found = {of: Day([None] * (many + 1), value) for of, value in latest.items()}
        for series in result.series:
            of, values = series.labels.get(by, ""), list[float | None]([None] * (many + 1))
            for time, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
                values[(time - start) // step] = value
            found[of] = Day(values, latest.get(of))
        return found


def _amount(today: Day, weeks: Sequence[Day]) -> Amount:
    usual = [it for it in (week.so_far for week in weeks) if it is not None]
    return Amount(today.so_far, UsualRange.of(usual) if usual else None)
