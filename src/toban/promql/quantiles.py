"""Quantiles of plain values."""

import numpy as np

from toban.promql.vectors import Bools, Floats


def quantiles(values: Floats, present: Bools, rank: Floats | np.float64) -> Floats:
    """
    Return the quantile of the present values along the last axis, interpolated between neighbours.

    NaN is less than any number. A rank below 0 is -Inf, above 1 +Inf, NaN NaN; ``rank`` fits the other axes.
    """
    counts = present.sum(axis=-1)
    numbers = np.sort(np.where(present, values, np.nan), axis=-1)
    nans = (present & np.isnan(values)).sum(axis=-1)
    place = np.clip(np.nan_to_num(rank), 0.0, 1.0) * (counts - 1)
    below = np.maximum(np.floor(place), 0).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    weight = place - np.floor(place)
    result = _nth(numbers, below - nans) * (1 - weight) + _nth(numbers, above - nans) * weight
    result = np.where(rank < 0, -np.inf, np.where(rank > 1, np.inf, result))
    return np.asarray(np.where(np.isnan(rank), np.nan, result), np.float64)


def _nth(numbers: Floats, place: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Floats:
    found = np.take_along_axis(numbers, np.maximum(place, 0)[..., np.newaxis], axis=-1)[..., 0]
    return np.where(place < 0, np.nan, found)
