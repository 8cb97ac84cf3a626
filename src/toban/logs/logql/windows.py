"""
The lines and samples that a range aggregation reads, and what it makes of those of each step.

The window of a step at ``t`` is (t - range, t] of nanoseconds. A line has its place within its millisecond as the
nanoseconds behind it, so that in milliseconds the window is [t - range, t).
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of all steps: where each begins, and where it ends (exclusive), in milliseconds."""

    starts: Times
    ends: Times

    @property
    def seconds(self) -> float:
        """The length of each window."""
        return float(self.ends[0] - self.starts[0]) / 1000


@dataclass(slots=True)
class LineCounts:
    """How many lines a series has, and how many bytes, by time; no bin of time crosses the end of a window."""

    bins: dict[int, list[int]] = field(default_factory=dict)

    def add(self, at: int, lines: int, size: int) -> bool:
        """Add lines, and tell whether that made a new bin."""
        found = self.bins.get(at)
        if found is None:
            self.bins[at] = [lines, size]
            return True
        found[0] += lines
        found[1] += size
        return False

    def totals(self, windows: Windows) -> tuple[Floats, Floats]:
        """Return how many lines and bytes are in each window."""
        times = np.array(sorted(self.bins), np.int64)
        sums = np.zeros((len(times) + 1, 2), np.int64)
        np.cumsum([self.bins[at] for at in times.tolist()], axis=0, out=sums[1:])
        first, last = np.searchsorted(times, windows.starts), np.searchsorted(times, windows.ends)
        found = (sums[last] - sums[first]).astype(np.float64)
        return found[:, 0], found[:, 1]


@dataclass(slots=True)
class Samples:
    """The values that ``unwrap`` read for a series, in the order of time."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, at: int, value: float) -> None:
        """Add the newest value."""
        self.times.append(at)
        self.values.append(value)

    def fold(self, windows: Windows, function: Callable[[Floats], float]) -> tuple[Floats, Flags]:
        """Return a function's result over the values of each window, and which windows have some."""
        times, values = np.frombuffer(self.times, np.int64), np.frombuffer(self.values, np.float64)
        first, last = np.searchsorted(times, windows.starts), np.searchsorted(times, windows.ends)
        present = last > first
        results = np.zeros(len(first))
        with np.errstate(all="ignore"):
            for place in np.flatnonzero(present).tolist():
                results[place] = function(values[first[place] : last[place]])
        return results, present


def quantile(rank: float) -> Callable[[Floats], float]:
    """Return the function that interpolates a quantile, as Prometheus' ``quantile_over_time`` does."""
    if not 0 <= rank <= 1:
        extreme = -np.inf if rank < 0 else np.inf
        return lambda _: extreme
    return lambda values: float(np.quantile(values, rank))


FUNCTIONS: Final[dict[str, Callable[[Floats], float]]] = {
    "sum_over_time": np.sum,
    "avg_over_time": np.mean,
    "min_over_time": np.min,
    "max_over_time": np.max,
    "stddev_over_time": np.std,
    "stdvar_over_time": np.var,
    "first_over_time": lambda values: float(values[0]),
    "last_over_time": lambda values: float(values[-1]),
}
"""Functions over the values of a window, of which there is at least one."""
