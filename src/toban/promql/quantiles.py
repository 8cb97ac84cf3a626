"""Quantiles of values."""

import numpy as np

from toban.promql.vectors import Bools, Floats


def quantiles(values: Floats, present: Bools, rank: Floats | np.float64) -> Floats:
    """
    Return the quantile of the present values along the last axis, interpolated between neighbours.

    NaN sorts before any number. The result is -Inf for a rank below 0, +Inf for one above 1, and NaN for NaN. ``rank``
    has the shape of the other axes.
    """
    counts = present.sum(axis=-1)
    ordered = np.sort(np.where(present, values, np.nan), axis=-1)
    nans = (present & np.isnan(values)).sum(axis=-1)
    position = np.clip(np.nan_to_num(rank), 0.0, 1.0) * (counts - 1)
    below = np.maximum(np.floor(position), 0).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    weight = position - np.floor(position)
    result = _nth(ordered, below - nans) * (1 - weight) + _nth(ordered, above - nans) * weight
    result = np.where(rank < 0, -np.inf, np.where(rank > 1, np.inf, result))
    return np.asarray(np.where(np.isnan(rank), np.nan, result), np.float64)


def _nth(ordered: Floats, position: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Floats:
    found = np.take_along_axis(ordered, np.maximum(position, 0)[..., np.newaxis], axis=-1)[..., 0]
    return np.where(position < 0, np.nan, found)
