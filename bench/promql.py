"""
How long queries take over series in memory: 6 hours at 15 s, asked at every minute, or once.

``python bench/promql.py [SERIES ...]`` prints milliseconds, the median of five.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import numpy as np

from toban.core.labels import Labels
from toban.core.matchers import Matcher, matches_all
from toban.core.samples import MetricFamily, SeriesBlock
from toban.promql.engine import PromqlEngine
from toban.promql.query_limits import QueryLimits

HOURS, SCRAPE, STEP = 6, 15_000, 60_000
END = 1_800_000_000_000
START = END - HOURS * 3_600_000

RANGES = {
    "sum by (status)(rate(x[5m]))": "sum by (status) (rate(x_total[5m]))",
    "sum(x)": "sum(x_total)",
    "error ratio": 'sum(rate(x_total{status=~"5.."}[5m])) / sum(rate(x_total[5m]))',
    "max by (status)(max_over_time(x[30m]))": "max by (status) (max_over_time(x_total[30m]))",
}
INSTANTS = {
    "alert rule": 'sum by (instance) (rate(x_total{status="500"}[5m])) > 0.5',
    "rate of all": "rate(x_total[5m])",
}


class Store:
    """Counters in groups of one target each, as a store of scrapes has them."""

    def __init__(self, series: int) -> None:
        random = np.random.default_rng(7)
        times = np.arange(START - 3_600_000, END + 1, SCRAPE, dtype=np.int64)
        self.groups = []
        for first in range(0, series, 500):
            rows = min(500, series - first)
            labels = tuple(
                Labels(
                    __name__="x_total",
                    instance=f"shop-{first // 500}",
                    path=f"/{row // 5}",
                    status=("200", "201", "302", "404", "500")[row % 5],
                )
                for row in range(rows)
            )
            values = np.cumsum(random.poisson(3.0, (rows, len(times))), axis=1).astype(np.float64)
            self.groups.append(SeriesBlock(labels, times, values))

    def select(self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None) -> list[SeriesBlock]:
        found = []
        for group in self.groups:
            rows = [row for row, labels in enumerate(group.series) if matches_all(matchers, labels)]
            first, last = np.searchsorted(group.times, [start, end + 1])
            values = group.values[:, first:last] if len(rows) == len(group.series) else group.values[rows, first:last]
            found.append(SeriesBlock(tuple(group.series[row] for row in rows), group.times[first:last], values))
        return found

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> list[Labels]:
        return [labels for group in self.select(matchers, start, end) for labels in group.series]

    def oldest(self, matchers: Sequence[Matcher]) -> int:
        return int(self.groups[0].times[0])

    def families(self) -> Mapping[str, MetricFamily]:
        return {}


def took(ask: Callable[[], object]) -> float:
    """Return the median of five, in milliseconds, after one to warm up."""
    ask()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def main(sizes: list[int]) -> None:
    for size in sizes:
        engine = PromqlEngine(Store(size), QueryLimits(samples=500_000_000))
        print(f"{size} series")
        for name, query in RANGES.items():
            print(f"  range   {name:40} {took(partial(engine.range, query, START, END, STEP)):8.1f} ms")
        for name, query in INSTANTS.items():
            print(f"  instant {name:40} {took(partial(engine.instant, query, END)):8.1f} ms")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, the samples among them")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000])
