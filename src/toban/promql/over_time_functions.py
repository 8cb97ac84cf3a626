"""The ``_over_time`` functions."""

from collections.abc import Callable

import numpy as np

from toban.promql.compensated_sums import are_integers, row_means, row_sums
from toban.promql.quantiles import quantiles
from toban.promql.range_windows import RangeWindow, RangeWindows
from toban.promql.series_chunks import gather
from toban.promql.vectors import Bools, Floats


def reduce_windows(windows: RangeWindows, reduce: Callable[[RangeWindow], Floats]) -> tuple[Floats, Bools]:
    """Apply a function to each window that returns one value."""
    values = np.zeros((len(windows.series), len(windows.ends)))
    for step, window in windows.each():
        values[:, step] = reduce(window)
    return values, windows.present()


def sum_over_time(windows: RangeWindows) -> tuple[Floats, Bools]:
    """Return the sum."""
    if are_integers(windows.values):
        return _integer_sums(windows), windows.present()
    return reduce_windows(windows, lambda window: row_sums(window.filled(0.0)))


def avg_over_time(windows: RangeWindows) -> tuple[Floats, Bools]:
    """Return the mean."""
    if are_integers(windows.values):
        return _integer_sums(windows) / windows.counts, windows.present()
    return reduce_windows(windows, lambda window: row_means(window.filled(0.0), window.counts, window.inside))


def _integer_sums(windows: RangeWindows) -> Floats:
    """Return the sums of integers: cumulative sums are exact, so a window's sum is the difference of two."""
    upto = np.zeros((len(windows.values), windows.values.shape[1] + 1))
    np.cumsum(windows.values, axis=1, out=upto[:, 1:])
    inside: Floats = gather(upto, windows.hi) - gather(upto, windows.lo)
    return inside


def min_over_time(windows: RangeWindows) -> tuple[Floats, Bools]:
    """Return the lowest value; NaN only where there is no other."""
    return _extreme(windows, np.fmin), windows.present()


def max_over_time(windows: RangeWindows) -> tuple[Floats, Bools]:
    """Return the highest value; NaN only where there is no other."""
    return _extreme(windows, np.fmax), windows.present()


def _extreme(windows: RangeWindows, choose: np.ufunc) -> Floats:
    """Return the extreme of each window, from two stretches that cover it and whose length is a power of two."""
    values = np.zeros((len(windows.series), len(windows.ends)))
    powers = np.frexp(np.maximum(windows.counts, 1))[1] - 1
    best, length = windows.values, 1
    for power in range(int(powers.max(initial=0)) + 1):
        windows.check()
        here = np.flatnonzero((powers == power).any(axis=0))
        if len(here):
            lo, hi = np.minimum(windows.lo[:, here], best.shape[1] - 1), np.maximum(windows.hi[:, here] - length, 0)
            found = choose(gather(best, lo), gather(best, np.minimum(hi, best.shape[1] - 1)))
            values[:, here] = np.where(powers[:, here] == power, found, values[:, here])
        best, length = choose(best[:, :-length], best[:, length:]), 2 * length
    return values


def variance(windows: RangeWindows) -> tuple[Floats, Bools]:
    """Return the population variance."""
    return reduce_windows(windows, _variance)


def _variance(window: RangeWindow) -> Floats:
    # Relative to the first sample, so that the variance of a constant is exactly zero.
    relative = window.values - window.values[:, :1]
    if window.inside is not None:
        relative = np.where(window.inside, relative, 0.0)
    deviation = relative - (relative.sum(axis=1) / window.counts)[:, np.newaxis]
    if window.inside is not None:
        deviation = np.where(window.inside, deviation, 0.0)
    return np.asarray((deviation * deviation).sum(axis=1) / window.counts, np.float64)


def quantile(windows: RangeWindows, ranks: Floats) -> tuple[Floats, Bools]:
    """Return the quantile of the rank of each step."""
    values = np.zeros((len(windows.series), len(windows.ends)))
    for step, window in windows.each():
        inside = np.ones(window.values.shape, np.bool_) if window.inside is None else window.inside
        values[:, step] = quantiles(window.values, inside, ranks[step])
    return values, windows.present()
