"""
Limits that quiet time suggests: quantiles, and extrapolation by peaks over a threshold (POT).

POT is that of Siffer et al., KDD 2017, with the moments of the generalised Pareto distribution. Values are badness: the
higher, the worse; a rule that fires below its limit has its values negated.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

QUANTILES: Final = (0.99, 0.995, 0.999)
THRESHOLD: Final = 0.98
"""The quantile above which values are excesses."""
LEAST_EXCESSES: Final = 50
HEAVIEST_TAIL: Final = 0.3
"""The largest shape of a tail: of a heavier one the moments say nothing."""
LEAST_DAYS: Final = 14
DECLUSTERED: Final = 10 * 60_000
"""Excesses that are closer than ten minutes (milliseconds) are one: neighbours are not independent."""
MONTH: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A limit, and what it comes from."""

    limit: float
    source: str


def candidates(times: NDArray[np.int64], values: Values, peaks: Values) -> list[Candidate]:
    """
    Return limits by the values of quiet time at some times (milliseconds, ascending).

    ``peaks`` are the worst values of the incidents that the rule found: the highest limit that still finds all of them
    is a candidate too.
    """
    found = []
    if len(values):
        found += [Candidate(rounded(float(np.quantile(values, it))), f"quantile {it:.1%}") for it in QUANTILES]
        extrapolated = pot_limit(times, values)
        if isinstance(extrapolated, float):
            found.append(Candidate(rounded(extrapolated), "peaks over threshold: one in a month"))
    if len(peaks):
        found.append(Candidate(_below(float(peaks.min())), "the highest that finds all incidents"))
    return list({it.limit: it for it in reversed(found)}.values())[::-1]


def pot_limit(times: NDArray[np.int64], values: Values) -> float | str:
    """Return the limit that quiet time exceeds once in a month; or why none can be said."""
    if len(values) < 2 or times[-1] - times[0] < LEAST_DAYS * 86_400_000:
        return f"less than {LEAST_DAYS} days of quiet time"
    threshold = float(np.quantile(values, THRESHOLD))
    over = np.flatnonzero(values > threshold)
    if not len(over):
        return "no excesses"
    clusters = np.split(over, np.flatnonzero(np.diff(times[over]) >= DECLUSTERED) + 1)
    excesses = np.array([values[it].max() - threshold for it in clusters])
    if len(excesses) < LEAST_EXCESSES:
        return f"only {len(excesses)} excesses"
    mean, variance = float(excesses.mean()), float(excesses.var())
    if variance <= 0 or mean <= 0:
        return "all excesses are the same"
    shape, scale = 0.5 * (1 - mean**2 / variance), 0.5 * mean * (mean**2 / variance + 1)
    if shape > HEAVIEST_TAIL:
        return f"the tail is heavy ({shape:.2f})"
    step = float(np.median(np.diff(times)))
    wished = step / MONTH * len(values) / len(excesses)
    if abs(shape) < 1e-6:
        return threshold - scale * math.log(wished)
    return float(threshold + scale / shape * (wished**-shape - 1))


def _below(value: float) -> float:
    """Return a value with three digits that is less than another one: a limit must be exceeded."""
    found = rounded(value, up=False)
    if found < value:
        return found
    if value == 0 or not math.isfinite(value):
        return value - 0.001
    return rounded(value - 10.0 ** (math.floor(math.log10(abs(value))) - 2), up=False)


def rounded(value: float, *, up: bool = True) -> float:
    """Return a value with three digits, rounded up or down: a limit that people read."""
    if value == 0 or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    steps = value / unit
    return float(f"{(math.ceil(steps - 1e-9) if up else math.floor(steps + 1e-9)) * unit:.12g}")
