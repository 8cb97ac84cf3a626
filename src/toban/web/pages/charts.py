"""Small charts as SVG, drawn without a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import Final

from toban.core.samples import milliseconds, moment
from toban.health.sales import SalesHour
from toban.web.api.review_models import TrueIncidentModel, ValueCurveModel

SPARK_WIDTH: Final = 100.0
SPARK_HEIGHT: Final = 24.0


def sparkline(values: Sequence[float | None]) -> str:
    """Return the path of a line within 100 × 24; where a value is missing the line is broken."""
    known = [it for it in values if it is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    commands, is_drawing = [], False
    for place, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        x = place * SPARK_WIDTH / (len(values) - 1)
        # A flat line is in the middle: it is neither high nor low.
        y = SPARK_HEIGHT / 2 if high == low else SPARK_HEIGHT - 2 - (value - low) / span * (SPARK_HEIGHT - 4)
        commands.append(f"{'L' if is_drawing else 'M'}{x:.1f} {y:.1f}")
        is_drawing = True
    return "".join(commands)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar within 100 × 100: its place and height, and the hour that it shows."""

    x: float
    width: float
    height: float
    hour: SalesHour


@dataclass(frozen=True, slots=True)
class SalesChart:
    """Orders of today by the hour as bars, over the band of what is usual; within 100 × 100."""

    bars: Sequence[Bar]
    band: str
    """The path of the area between the least and the most of the last weeks."""
    median: str
    highest: float

    @classmethod
    def of(cls, hours: Sequence[SalesHour]) -> "SalesChart":
        """Return the chart of a day."""
        most = [max(it.orders or 0.0, it.usual.most if it.usual else 0.0) for it in hours]
        highest = max(1.0, *most)
        slot = 100.0 / len(hours)
        bars = [
            Bar(place * slot + slot * 0.15, slot * 0.7, it.orders / highest * 100, it)
            for place, it in enumerate(hours)
            if it.orders is not None
        ]

        def line(values: Sequence[tuple[int, float]]) -> list[str]:
            return [f"{(place + 0.5) * slot:.2f} {100 - value / highest * 100:.2f}" for place, value in values]

        usual = [(place, it.usual) for place, it in enumerate(hours) if it.usual]
        upper = line([(place, it.most) for place, it in usual])
        lower = line([(place, it.least) for place, it in reversed(usual)])
        median = line([(place, it.median) for place, it in usual])
        return cls(
            bars, f"M{' L'.join([*upper, *lower])}Z" if usual else "", f"M{' L'.join(median)}" if usual else "", highest
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
        finite = [(time, value) for time, value in zip(times, values, strict=True) if isfinite(value)]
        shown = [value for _, value in finite] or [0.0]
        if limit is not None and isfinite(limit):
            shown.append(limit)
        low, high = min(shown), max(shown)
        pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        low, high = (low - pad if low < 0 or low - pad > 0 else 0.0), high + pad
        first, span = start.timestamp() * 1000, max(1.0, (end - start).total_seconds() * 1000)

        def y(value: float) -> float:
            return 100 - (value - low) / (high - low) * 100

        gap = 3 * min((b - a for a, b in pairwise(times)), default=0)
        commands, before = [], None
        for time, value in finite:
            is_joined = before is not None and time - before <= gap
            commands.append(f"{'L' if is_joined else 'M'}{(time - first) / span * 100:.2f} {y(value):.2f}")
            before = time
        return cls(
            "".join(commands),
            y(limit) if limit is not None and isfinite(limit) else None,
            max(0.0, (began.timestamp() * 1000 - first) / span * 100),
            low,
            high,
            limit,
            finite[-1][1] if finite else 0.0,
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
        shown: list[float] = [*known, limit, *([] if new_limit is None else [new_limit])]
        low, high = min(shown), max(shown)
        pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        low, high = low - pad, high + pad
        length = max(1, len(curve.values) * curve.step)

        def x(at: datetime) -> float:
            return min(100.0, max(0.0, (milliseconds(at) - curve.begins) / length * 100))

        def y(value: float) -> float:
            return 100 - (value - low) / (high - low) * 100

        commands, is_drawing = [], False
        for place, value in enumerate(curve.values):
            if value is not None:
                at = (place + 0.5) / len(curve.values) * 100
                commands.append(f"{'L' if is_drawing else 'M'}{at:.2f} {y(value):.2f}")
            is_drawing = value is not None
        return cls(
            "".join(commands),
            y(limit),
            None if new_limit is None else y(new_limit),
            [Stretch(x(it.begins), max(0.3, x(it.ends) - x(it.begins)), it.name) for it in incidents],
            [x(it) for it in curve.kept],
            [x(it) for it in curve.saved],
            low,
            high,
            moment(curve.begins),
            moment(curve.begins + length),
        )
