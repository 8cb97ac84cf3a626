"""Where the lines and bars of a chart are, as shares of its width and height, from its lower left corner."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

GAP: Final = 0.25
"""The share of a bar's place that is empty."""

Point = tuple[float, float]
Run = Sequence[Point]
"""Points that a line joins; between two runs there is a gap."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The axis of values, from ``low`` to ``high``."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return an axis with zero, unless the values vary little far from it."""
        known = list(values)
        low, high = min(known, default=0.0), max(known, default=0.0)
        if low > 0 and not (low < high and low > 0.75 * high):
            low = 0.0
        if high < 0 and not (low < high and high < 0.75 * low):
            high = 0.0
        return cls(low, high) if low < high else cls(low, low + (abs(low) * 0.1 or 1.0))

    def share(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        if math.isfinite(self.high - self.low):
            return (value - self.low) / (self.high - self.low)
        # The difference of large floats overflows; half of the smallest one would be zero.
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def ticks(self, *, is_binary: bool = False) -> list[float]:
        """Return round values within the ends, four or so; ``is_binary`` ones are powers of two."""
        size = (self.high - self.low) / 4
        if not (math.isfinite(size) and size > sys.float_info.min * 1e3):
            return [self.low, self.high]
        if is_binary:
            step = 2.0 ** math.ceil(math.log2(size))
        else:
            power = 10.0 ** math.floor(math.log10(size))
            step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda it: abs(math.log(it / size)))
        if self.low + step == self.low:
            return [self.low, self.high]
        first = math.ceil(self.low / step)
        return [place * step for place in range(first, first + 8) if place * step <= self.high]


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its place among the values, where it begins, how wide and how high it is."""

    place: int
    left: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class BarChart:
    """
    Values as bars, one after the other, over zero; None is a gap.

    ``names`` are those of the first and the last value, ``highest`` is the text of the highest one.
    """

    values: Sequence[float | None]
    names: tuple[str, str] = ("", "")
    highest: str = ""

    def bars(self, most: float = 0.0) -> Iterator[Bar]:
        """Yield the bars of the values that are known; the axis reaches ``most`` at least."""
        high = max([most, *(it for it in self.values if it is not None)]) or 1.0
        slot = 1 / max(1, len(self.values))
        for place, value in enumerate(self.values):
            if value is not None:
                yield Bar(place, (place + GAP / 2) * slot, (1 - GAP) * slot, max(0.0, value) / high)


def line(values: Sequence[float | None], scale: Scale) -> list[Run]:
    """Return a line through values at equal distances; where one is missing the line is broken."""
    last = max(1, len(values) - 1)
    return _runs(None if it is None else (place / last, scale.share(it)) for place, it in enumerate(values))


def line_in_time(
    times: Sequence[float], values: Sequence[float], scale: Scale, period: tuple[float, float]
) -> list[Run]:
    """Return a line through values at times; it is broken where several samples are missing."""
    start, length = period[0], max(1e-9, period[1] - period[0])
    gap = 3 * min((after - before for before, after in pairwise(times)), default=0)
    points: list[Point | None] = []
    before = -math.inf
    for time, value in zip(times, values, strict=True):
        if math.isfinite(value):
            if time - before > gap:
                points.append(None)
            points.append(((time - start) / length, scale.share(value)))
            before = time
    return _runs(points)


def _runs(points: Iterable[Point | None]) -> list[Run]:
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
