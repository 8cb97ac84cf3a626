"""The charts of pages that need no script: orders of today against the usual, and a value against its limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite, nan

from toban.charts.plot import BarChart, Point, Scale, line_in_time
from toban.charts.svg import area, path, rectangles
from toban.core.samples import milliseconds, moment
from toban.health.sales import SalesHour
from toban.web.api.review_models import TrueIncidentModel, ValueCurveModel


@dataclass(frozen=True, slots=True)
class SalesChart:
    """Orders of today by the hour as bars, over the band of what is usual; within 100 × 100."""

    bars: Sequence[tuple[SalesHour, float, float, float, float]]
    """The hour of each bar, and its x, y, width and height."""
    band: str
    """The path of the area between the least and the most of the last weeks."""
    median: str
    highest: float

    @classmethod
    def of(cls, hours: Sequence[SalesHour]) -> "SalesChart":
        """Return the chart of a day."""
        highest = max(1.0, *(max(it.orders or 0.0, it.usual.most if it.usual else 0.0) for it in hours))
        usual = [((place + 0.5) / len(hours), it.usual) for place, it in enumerate(hours) if it.usual]

        def points(values: Sequence[tuple[float, float]]) -> list[Point]:
            return [(x, value / highest) for x, value in values]

        upper, lower = points([(x, it.most) for x, it in usual]), points([(x, it.least) for x, it in usual])
        bars = rectangles(BarChart([it.orders for it in hours]), highest)
        median = path([points([(x, it.median) for x, it in usual])])
        return cls(
            [(hours[place], x, y, width, height) for place, x, y, width, height in bars],
            area(upper, lower),
            median,
            highest,
        )


@dataclass(frozen=True, slots=True)
class ThresholdChart:
    """A value over time with its limit, within 100 × 100."""

    path: str
    limit_y: float | None
    begin_x: float
    """Where the alert began."""
    lowest: float
    highest: float
    limit: float | None
    last: float
    start: datetime
    end: datetime

    @classmethod
    def of(
        cls,
        times: Sequence[int],
        values: Sequence[float],
        limit: float | None,
        start: datetime,
        end: datetime,
        began: datetime,
    ) -> "ThresholdChart":
        """Return the chart of some values, the times of which are milliseconds."""
        has_limit = limit is not None and isfinite(limit)
        finite = [it for it in values if isfinite(it)]
        scale = _padded([*(finite or [0.0]), *([limit] if limit is not None and has_limit else [])])
        first, last = start.timestamp() * 1000, end.timestamp() * 1000
        return cls(
            path(line_in_time(times, values, scale, (first, last))),
            100 * (1 - scale.share(limit)) if limit is not None and has_limit else None,
            max(0.0, (began.timestamp() * 1000 - first) / max(1.0, last - first) * 100),
            scale.low,
            scale.high,
            limit,
            finite[-1] if finite else 0.0,
            start,
            end,
        )


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time within 100, with its name."""

    x: float
    width: float
    name: str


@dataclass(frozen=True, slots=True)
class LimitChart:
    """The worst values of a rule over time, with the present limit and a proposed one, within 100 × 100."""

    path: str
    limit_y: float
    new_y: float | None
    """None where the limit stays, and `for` changes."""
    incidents: Sequence[Stretch]
    kept: Sequence[float]
    saved: Sequence[float]
    """Where it fired and would still have fired, and where it would not have."""
    lowest: float
    highest: float
    start: datetime
    end: datetime

    @classmethod
    def of(
        cls,
        curve: ValueCurveModel,
        limit: float,
        new_limit: float | None,
        incidents: Sequence[TrueIncidentModel],
    ) -> "LimitChart":
        """Return the chart of a curve."""
        known = [it for it in curve.values if it is not None]
        scale = _padded([*known, limit, *([] if new_limit is None else [new_limit])])
        length = max(1, len(curve.values) * curve.step)
        times = [curve.begins + (place + 0.5) * curve.step for place in range(len(curve.values))]
        values = [nan if it is None else it for it in curve.values]

        def x(at: datetime) -> float:
            return min(100.0, max(0.0, (milliseconds(at) - curve.begins) / length * 100))

        return cls(
            path(line_in_time(times, values, scale, (curve.begins, curve.begins + length))),
            100 * (1 - scale.share(limit)),
            None if new_limit is None else 100 * (1 - scale.share(new_limit)),
            [Stretch(x(it.begins), max(0.3, x(it.ends) - x(it.begins)), it.name) for it in incidents],
            [x(it) for it in curve.kept],
            [x(it) for it in curve.saved],
            scale.low,
            scale.high,
            moment(curve.begins),
            moment(curve.begins + length),
        )


def _padded(shown: Sequence[float]) -> Scale:
    """Return an axis with some room above and below; one without negative values does not reach below zero."""
    low, high = min(shown), max(shown)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return Scale(low - pad if low < 0 or low - pad > 0 else 0.0, high + pad)
