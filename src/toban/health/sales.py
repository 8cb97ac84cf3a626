"""Orders and revenue of today by the hour, against the same hours of the last weeks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from statistics import median
from typing import Final

from toban.core.ports import Clock, QueryEngine
from toban.core.samples import MetricFamily, milliseconds
from toban.health.counter_growth import read_growth, rounded
from toban.instruments.metric_families import ORDERS_CREATED, REVENUE

WEEKS: Final = 4
"""How many weeks the usual is taken from."""

HOUR: Final = timedelta(hours=1)

KEPT: Final = 300_000
"""Milliseconds for which what past weeks came to is kept."""


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
    """An hour of today, or another interval: its orders, None where they are not known, and what is usual."""

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
    """
    A day of a counter: how much it grew until each full hour, and until now or the day's end; None where not known.

    ``hour`` is the one of now, 24 or so where the day is over.
    """

    at_hours: Sequence[float | None]
    until_now: float | None
    hour: int

    def increase(self, hour: int) -> float | None:
        """Return the increase within a full hour, both ends of which were observed."""
        first, last = self.at_hours[hour], self.at_hours[hour + 1]
        return None if first is None or last is None else rounded(last - first)

    def counted(self, hour: int) -> float | None:
        """Return the increase within an hour: in that of now until now, in the first one since it is counted."""
        first, last = self.at_hours[hour], self.until_now if hour == self.hour else self.at_hours[hour + 1]
        if first is None and all(it is None for it in self.at_hours[:hour]):
            first = 0.0
        return None if first is None or last is None else rounded(last - first)

    @property
    def so_far(self) -> float | None:
        """The increase since midnight, or since it is counted, until now."""
        return None if self.until_now is None else rounded(self.until_now - (self.at_hours[0] or 0.0))

    @property
    def known(self) -> float | None:
        """As ``so_far``; where toban stopped, until then."""
        last = next((it for it in (self.until_now, *self.at_hours[::-1]) if it is not None), None)
        return None if last is None else rounded(last - (self.at_hours[0] or 0.0))


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
        past = await self._weeks(begin, now, many)
        weeks = [it[""] for it, _ in past if "" in it]
        shown = []
        for hour in range(many):
            usual = [it for it in (week.increase(hour) for week in weeks) if it is not None]
            shown.append(
                SalesHour(begin + hour * HOUR, orders[""].counted(hour), UsualRange.of(usual) if usual else None)
            )
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
        Return the orders of a day under ``""``, and its revenue by currency; of today until now.

        Raises ``QueryError`` or ``StoreError``.
        """
        now = self._clock.now()
        return await self._day(begin, min(end, now), (end - begin) // HOUR) if begin < now else ({}, {})

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
        """Return the day of a counter; that of a past week is read to its end, beyond its time of day of now."""
        hours = [it for hour in range(many + 1) if (it := begin + hour * HOUR) <= self._clock.now()]
        times = [milliseconds(it) for it in (*hours, now)]
        unknown: list[float | None] = [None] * (many + 1 - len(hours))
        return {
            of: Day([*growth[:-1], *unknown], growth[-1], (now - begin) // HOUR)
            for (of,), growth in (await read_growth(self._engine, counter.name, (by,), times)).items()
        }


def _amount(today: Day, weeks: Sequence[Day]) -> Amount:
    usual = [it for it in (week.so_far for week in weeks) if it is not None]
    return Amount(today.so_far, UsualRange.of(usual) if usual else None)
