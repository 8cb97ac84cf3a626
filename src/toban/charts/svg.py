"""Charts as parts of an SVG, which needs no script: paths and rectangles within 100 × 100, or a height of their own."""

from collections.abc import Iterable, Sequence
from typing import Final

from toban.charts.plot import BarChart, Run, Scale, line

SPARK_HEIGHT: Final = 24.0
SPARK_MARGIN: Final = 2.0


def path(runs: Iterable[Run], *, height: float = 100.0, margin: float = 0.0) -> str:
    """Return the path of lines; ``margin`` stays empty above and below."""
    return "".join(
        f"{'L' if place else 'M'}{100 * x:.2f} {height - margin - y * (height - 2 * margin):.2f}"
        for run in runs
        for place, (x, y) in enumerate(run)
    )


def area(upper: Run, lower: Run) -> str:
    """Return the path of the area between two lines."""
    return f"{path([[*upper, *reversed(lower)]])}Z" if upper else ""


def sparkline(values: Sequence[float | None]) -> str:
    """Return the path of a small line within 100 × 24; a flat one is in the middle: it is neither high nor low."""
    known = [it for it in values if it is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    scale = Scale(low, high) if low < high else Scale(low - 1, low + 1)
    return path(line(values, scale), height=SPARK_HEIGHT, margin=SPARK_MARGIN)


def rectangles(chart: BarChart, most: float = 0.0) -> list[tuple[int, float, float, float, float]]:
    """Return the bars: the place of each value, and x, y, width and height."""
    return [
        (it.place, _hundredths(it.left), _hundredths(1 - it.height), _hundredths(it.width), _hundredths(it.height))
        for it in chart.bars(most)
    ]


def _hundredths(share: float) -> float:
    return round(100 * share, 2)
