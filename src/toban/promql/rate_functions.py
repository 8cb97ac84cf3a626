"""Rates, changes and regressions: ``rate``, ``increase``, ``delta``, ``irate``, ``resets``, ``deriv``."""

import numpy as np

from toban.promql.range_windows import RangeWindows
from toban.promql.vectors import Bools, Floats

_CLOSE = 1 + 1e-9
"""A tolerance for rounding in a comparison that may include a little too much."""


def extrapolated_rate(windows: RangeWindows, *, counter: bool, per_second: bool) -> tuple[Floats, Bools]:
    """
    Return the increase over each window, extrapolated to its ends as Prometheus does.

    It is extrapolated up to an end that is less than 1.1 sample intervals away, else by half an interval; a counter
    never below zero.
    """
    values = windows.values
    first, growth = windows.first(values), windows.last(values) - windows.first(values)
    if counter and (lost := _lost_to_resets(windows)) is not None:
        growth = growth + lost
    began, ended = windows.first(windows.times), windows.last(windows.times)
    sampled = (ended - began) / 1000
    between = sampled / (windows.counts - 1)
    to_start = (began - (windows.ends - windows.span)) / 1000
    to_start = np.where(to_start >= between * 1.1, between / 2, to_start)
    to_end = (windows.ends - ended) / 1000
    to_end = np.where(to_end >= between * 1.1, between / 2, to_end)
    seconds = windows.span / 1000 if per_second else 1.0
    result = growth * ((sampled + to_start + to_end) / sampled / seconds)
    if counter:
        # Few counters are near zero; for all others, one factor holds for the series that share their times.
        near = np.flatnonzero((first <= growth * (to_start / sampled * _CLOSE)).any(axis=0))
        if len(near):
            first, growth, sampled, to_start, to_end = (
                each[:, near] for each in (first, growth, sampled, to_start, to_end)
            )
            to_zero = np.where((growth > 0) & (first >= 0), sampled * (first / growth), to_start)
            to_start = np.where(to_zero < to_start, to_zero, to_start)
            result[:, near] = growth * ((sampled + to_start + to_end) / sampled / seconds)
    return result, windows.present(2)


def _lost_to_resets(windows: RangeWindows) -> Floats | None:
    """Return the sum of the values before each reset in a window; None if there was no reset."""
    values = windows.values
    drops = values[:, 1:] < values[:, :-1]
    if not drops.any():
        return None
    lost = np.zeros((len(values), values.shape[1]))
    np.cumsum(np.where(drops, values[:, :-1], 0.0), axis=1, out=lost[:, 1:])
    if np.isfinite(lost[:, -1]).all():
        return windows.last(lost) - windows.first(lost)
    # An infinite value in one window would make NaN of all later ones.
    total = np.zeros((len(values), len(windows.ends)))
    for step, window in windows.each():
        inside = window.values[:, 1:] < window.values[:, :-1]
        if window.inside is not None:
            inside &= window.inside[:, 1:]
        total[:, step] = np.where(inside, window.values[:, :-1], 0.0).sum(axis=1)
    return total


def instant_rate(windows: RangeWindows, *, counter: bool) -> tuple[Floats, Bools]:
    """Return the difference of the last two samples; of a ``counter`` per second, and from zero after a reset."""
    last, before = windows.last(windows.values), windows.last(windows.values, back=2)
    change = last - before
    if counter:
        change = np.where(last < before, last, change)
        apart = windows.last(windows.times) - windows.last(windows.times, back=2)
        change = change / (apart / 1000)
    return change, windows.present(2)


def count_changes(windows: RangeWindows, *, fall: bool) -> tuple[Floats, Bools]:
    """Count how often a value was followed by a lower one (``fall``), or by a different one."""
    values = windows.values
    before, after = values[:, :-1], values[:, 1:]
    found = after < before if fall else (after != before) & ~(np.isnan(after) & np.isnan(before))
    upto = np.zeros(values.shape)
    np.cumsum(found, axis=1, out=upto[:, 1:])
    return windows.last(upto) - windows.first(upto), windows.present()


def linear_regression(windows: RangeWindows, *, at_step: bool) -> tuple[Floats, Floats, Bools]:
    """
    Fit a line through each window: return slope per second, and value at the first sample or ``at_step``.

    A constant has slope zero, an infinite one NaN.
    """
    shape = len(windows.series), len(windows.ends)
    slope, height = np.zeros(shape), np.zeros(shape)
    for step, window in windows.each():
        origin = windows.steps[step] if at_step else window.times[:, :1]
        x, y = (window.times - origin) / 1000, window.values
        counts = window.counts
        if window.inside is not None:
            x, y = np.where(window.inside, x, 0.0), np.where(window.inside, y, 0.0)
        sum_x, sum_y = x.sum(axis=1), y.sum(axis=1)
        covariance = (x * y).sum(axis=1) - sum_x * sum_y / counts
        variance = (x * x).sum(axis=1) - sum_x * sum_x / counts
        level = window.values[:, 0]
        same = window.values == level[:, np.newaxis]
        flat = (same if window.inside is None else same | ~window.inside).all(axis=1)
        constant = np.where(np.isinf(level), np.nan, level)
        slope[:, step] = np.where(flat, np.where(np.isinf(level), np.nan, 0.0), covariance / variance)
        height[:, step] = np.where(flat, constant, sum_y / counts - slope[:, step] * sum_x / counts)
    return slope, height, windows.present(2)
