"""When toban ran, by the samples about itself: while it did not, no rule was evaluated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.ports import SeriesSource
from toban.core.samples import is_absent, is_stale

STARTED: Final = "process_start_time_seconds"
"""toban's metric with the time of its start: each value is one process."""
LEAST_GAP: Final = timedelta(minutes=1)
MISSED: Final = 3
"""After how many missing samples in a row toban counts as not running: it was suspended."""


@dataclass(frozen=True, slots=True)
class Run:
    """A time in which toban ran (milliseconds, both included); ``started`` is when its process did."""

    first: int
    last: int
    started: int


class ObservedTime:
    """The times in which toban ran; without any samples about it, it is taken to have run always."""

    def __init__(self, runs: Sequence[Run], *, known: bool = True) -> None:
        self.runs = runs
        self.known = known

    def ran(self, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return at which of some times (milliseconds) it ran."""
        if not self.known:
            return np.ones(len(steps), bool)
        found = np.zeros(len(steps), bool)
        for run in self.runs:
            found |= (steps >= run.first) & (steps <= run.last)
        return found

    def by_process(self, steps: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield some times at which it ran, in parts: for each process its start, and those at which it ran."""
        if not self.known:
            yield 0, steps
            return
        for started in dict.fromkeys(it.started for it in self.runs):
            mine = [it for it in self.runs if it.started == started]
            part = steps[(steps >= mine[0].first) & (steps <= mine[-1].last)]
            if len(part):
                yield started, part

    def started_within(self, at: int, period: timedelta) -> bool:
        """Return whether the process that ran at a time had started less than so long before."""
        starts = [it.started for it in self.runs if it.first <= at]
        return bool(starts) and at - max(starts) < period / timedelta(milliseconds=1)


def observed_time(source: SeriesSource, begins: int, ends: int) -> ObservedTime:
    """Return when toban ran between two times (milliseconds). Raises ``StoreError``."""
    matchers = [
        Matcher(NAME, MatchOperator.EQUAL, STARTED),
        Matcher("job", MatchOperator.EQUAL, "toban"),
    ]
    times: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float64]] = []
    for block in source.select(matchers, begins, ends):
        for row in block.values:
            kept = ~(is_absent(row) | is_stale(row))
            times.append(block.times[kept])
            values.append(row[kept])
    if not times or not sum(map(len, times)):
        return ObservedTime((), known=False)
    at, started = np.concatenate(times), np.concatenate(values)
    order = np.argsort(at, kind="stable")
    return ObservedTime(_runs(at[order], (started[order] * 1000).round().astype(np.int64)))


def _runs(at: NDArray[np.int64], started: NDArray[np.int64]) -> list[Run]:
    """Return the runs of samples; the last sample of a process is the last time at which it is known to have run."""
    spacing = float(np.median(np.diff(at))) if len(at) > 1 else 0.0
    longest = max(MISSED * spacing, LEAST_GAP / timedelta(milliseconds=1))
    breaks = np.flatnonzero((np.diff(at) > longest) | (np.diff(started) != 0)) + 1
    found = []
    for part in np.split(np.arange(len(at)), breaks):
        first, last = part[0], part[-1]
        is_new = first == 0 or started[first] != started[first - 1]
        begins = (
            min(at[first], max(started[first], at[first - 1] + 1 if first else started[first])) if is_new else at[first]
        )
        found.append(Run(int(begins), int(at[last]), int(started[first])))
    return found
