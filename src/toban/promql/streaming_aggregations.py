"""The aggregations that are computed block by block, with one row for each group."""

from typing import Final

import numpy as np

from toban.promql.aggregation_groups import GroupLayers
from toban.promql.compensated_sums import are_integers, compensated_add, continue_sums
from toban.promql.vectors import Bools, Floats, Index, InstantVector


class _Rows:
    """Arrays with one row per group, which grow by doubling."""

    fillers: tuple[float, ...] = (0.0,)

    def __init__(self, steps: int) -> None:
        self.groups = 0
        self.rows = [np.full((0, steps), filler) for filler in self.fillers]
        self._present = np.zeros((0, steps), np.bool_)

    @property
    def present(self) -> Bools:
        """Where each group has a value."""
        return self._present[: self.groups]

    def reserve(self, groups: int) -> None:
        """Allocate rows for so many groups."""
        self.groups = groups
        missing = groups - len(self._present)
        if missing > 0:
            more = max(missing, len(self._present))
            steps = self._present.shape[1]
            self._present = np.concatenate([self._present, np.zeros((more, steps), np.bool_)])
            self.rows = [
                np.concatenate([rows, np.full((more, steps), filler)])
                for rows, filler in zip(self.rows, self.fillers, strict=True)
            ]

    def mark_present(self, block: InstantVector, layers: GroupLayers) -> None:
        """Record the steps at which the groups of a block are present."""
        self._present[layers.groups] |= np.logical_or.reduceat(block.present[layers.order], layers.starts, axis=0)


class StreamingSum(_Rows):
    """The sum, by Neumaier's summation: total and lost digits."""

    fillers = (0.0, 0.0)

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        total, lost = self.rows
        values = np.where(block.present, block.values, 0.0)
        if are_integers(values):
            sums = np.add.reduceat(values[layers.order], layers.starts, axis=0)
            total[layers.groups], lost[layers.groups] = compensated_add(sums, total[layers.groups], lost[layers.groups])
        elif layers.deep:
            for group, rows in layers.each():
                total[group], lost[group] = continue_sums(values[rows].T, total[group], lost[group])
        else:
            for rows, groups in layers:
                total[groups], lost[groups] = compensated_add(values[rows], total[groups], lost[groups])
        self.mark_present(block, layers)

    def result(self) -> Floats:
        """Return the sums."""
        total, lost = (rows[: self.groups] for rows in self.rows)
        return np.where(np.isinf(total), total, total + lost)


class StreamingMean(_Rows):
    """The mean: total, lost digits and count; and the incremental mean where the total would overflow."""

    fillers = (0.0, 0.0, 0.0, 0.0, 0.0)

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        values = np.where(block.present, block.values, 0.0)
        if are_integers(values) and not self.rows[4][layers.groups].any():
            total, lost, count, _, _ = self.rows
            sums = np.add.reduceat(values[layers.order], layers.starts, axis=0)
            total[layers.groups], lost[layers.groups] = compensated_add(sums, total[layers.groups], lost[layers.groups])
            count[layers.groups] += np.add.reduceat(block.present[layers.order], layers.starts, axis=0, dtype=np.intp)
        else:
            for rows, groups in layers:
                self._layer(values[rows], block.present[rows], groups)
        self.mark_present(block, layers)

    def _layer(self, values: Floats, present: Bools, groups: Index) -> None:
        total, lost, count, mean, incremental = (rows[groups] for rows in self.rows)
        number = count + present
        result, error = compensated_add(values, total, lost)
        # From the second value on, an infinite total means that the mean is computed incrementally.
        grow = present & ((incremental > 0) | np.isinf(result) & (count > 0))
        if grow.any():
            fresh = incremental == 0
            share = count / number
            mean, lost_mean = np.where(fresh, total / count, mean), np.where(fresh, lost / count, lost)
            grown, grown_error = compensated_add(values / number, share * mean, share * lost_mean)
            result, error = np.where(grow, total, result), np.where(grow, grown_error, error)
            self.rows[3][groups] = np.where(grow, grown, mean)
            self.rows[4][groups] = np.where(grow, 1.0, incremental)
        self.rows[0][groups] = np.where(present, result, total)
        self.rows[1][groups] = np.where(present, error, lost)
        self.rows[2][groups] = number

    def result(self) -> Floats:
        """Return the means."""
        total, lost, count, mean, incremental = (rows[: self.groups] for rows in self.rows)
        return np.asarray(np.where(incremental > 0, mean + lost, total / count + lost / count), np.float64)


class StreamingMin(_Rows):
    """The lowest value; NaN only where there is no other."""

    fillers = (np.nan,)
    choose: np.ufunc = np.fmin

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        values = np.where(block.present, block.values, np.nan)
        best = self.choose.reduceat(values[layers.order], layers.starts, axis=0)
        self.rows[0][layers.groups] = self.choose(self.rows[0][layers.groups], best)
        self.mark_present(block, layers)

    def result(self) -> Floats:
        """Return the values."""
        return self.rows[0][: self.groups]


class StreamingMax(StreamingMin):
    """The highest value; NaN only where there is no other."""

    choose = np.fmax


class StreamingCount(_Rows):
    """The number of series."""

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        counts = np.add.reduceat(block.present[layers.order], layers.starts, axis=0, dtype=np.intp)
        self.rows[0][layers.groups] += counts
        self.mark_present(block, layers)

    def result(self) -> Floats:
        """Return the counts."""
        return self.rows[0][: self.groups]


class StreamingGroup(_Rows):
    """1 where any series is present."""

    fillers = (1.0,)

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        self.mark_present(block, layers)

    def result(self) -> Floats:
        """Return ones."""
        return self.rows[0][: self.groups]


class StreamingVariance(_Rows):
    """The population variance, by Welford's method: count, mean, and the sum of squares around it."""

    fillers = (0.0, 0.0, 0.0)

    def update(self, block: InstantVector, layers: GroupLayers) -> None:
        """Add a block of series."""
        for rows, groups in layers:
            here, values = block.present[rows], block.values[rows]
            count, mean, squares = (each[groups] for each in self.rows)
            number = count + here
            off = values - mean
            # A single value has variance zero, and NaN if it is infinite.
            first = np.where(np.isfinite(values), 0.0, np.nan)
            moved = np.where(count == 0, values, mean + off / number)
            grown = np.where(count == 0, first, squares + off * (values - moved))
            self.rows[0][groups] = number
            self.rows[1][groups] = np.where(here, moved, mean)
            self.rows[2][groups] = np.where(here, grown, squares)
        self.mark_present(block, layers)

    def result(self) -> Floats:
        """Return the variances."""
        count, _, squares = (rows[: self.groups] for rows in self.rows)
        return np.asarray(squares / count, np.float64)


class StreamingDeviation(StreamingVariance):
    """The population standard deviation."""

    def result(self) -> Floats:
        """Return the deviations."""
        return np.sqrt(super().result())


AGGREGATIONS: Final[
    dict[str, type[StreamingSum | StreamingMean | StreamingMin | StreamingCount | StreamingGroup | StreamingVariance]]
] = {
    "avg": StreamingMean,
    "count": StreamingCount,
    "group": StreamingGroup,
    "max": StreamingMax,
    "min": StreamingMin,
    "stddev": StreamingDeviation,
    "stdvar": StreamingVariance,
    "sum": StreamingSum,
}
"""The streaming aggregations, by name."""
