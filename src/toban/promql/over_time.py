"""What a range comes to: the ``_over_time`` functions."""

from collections.abc import Callable

import numpy as np

from toban.promql.quantiles import quantiles
from toban.promql.sums import means, sums, whole_numbers
from toban.promql.values import Bools, Floats
from toban.promql.windows import Window, Windows


def reduced(windows: Windows, reduce: Callable[[Window], Floats]) -> tuple[Floats, Bools]:
    """Make one number of each window."""
    values = np.zeros((len(windows.series), len(windows.ends)))
    for step, window in windows.each():
        values[:, step] = reduce(window)
    return values, windows.present()


def total(windows: Windows) -> tuple[Floats, Bools]:
    """Return the sum."""
    if whole_numbers(windows.values):
        return reduced(windows, lambda window: window.filled(0.0).sum(axis=1))
    return reduced(windows, lambda window: sums(window.filled(0.0)))


def mean(windows: Windows) -> tuple[Floats, Bools]:
    """Return the mean."""
    if whole_numbers(windows.values):
        return reduced(windows, lambda window: window.filled(0.0).sum(axis=1) / window.counts)
    return reduced(windows, lambda window: means(window.filled(0.0), window.counts, window.inside))


def lowest(windows: Windows) -> tuple[Floats, Bools]:
    """Return the lowest value, NaN only where there is nothing else."""
    return reduced(windows, lambda window: np.fmin.reduce(window.filled(np.nan), axis=1))


def highest(windows: Windows) -> tuple[Floats, Bools]:
    """Return the highest value, NaN only where there is nothing else."""
    return reduced(windows, lambda window: np.fmax.reduce(window.filled(np.nan), axis=1))


def variance(windows: Windows) -> tuple[Floats, Bools]:
    """Return the population variance."""
    return reduced(windows, _variance)


def _variance(window: Window) -> Floats:
    # Seen from the first sample, so that a constant has none, to the last digit.
    apart = window.values - window.values[:, :1]
    if window.inside is not None:
        apart = np.where(window.inside, apart, 0.0)
    off = apart - (apart.sum(axis=1) / window.counts)[:, np.newaxis]
    if window.inside is not None:
        off = np.where(window.inside, off, 0.0)
    return np.asarray((off * off).sum(axis=1) / window.counts, np.float64)


def quantile(windows: Windows, ranks: Floats) -> tuple[Floats, Bools]:
    """Return the quantile that ``ranks`` asks for at each step."""
    values = np.zeros((len(windows.series), len(windows.ends)))
    for step, window in windows.each():
        inside = np.ones(window.values.shape, np.bool_) if window.inside is None else window.inside
        values[:, step] = quantiles(window.values, inside, ranks[step])
    return values, windows.present()
