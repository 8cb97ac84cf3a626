"""The windows of a range: the samples of each series at each step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.samples import is_absent, is_stale
from toban.promql.series_chunks import Number, SeriesChunk, gather
from toban.promql.vectors import Bools, Floats, Index, Times


@dataclass(frozen=True, slots=True, eq=False)
class RangeWindows:
    """
    The window of series ``i`` at step ``j`` holds the samples from ``lo[i, j]`` up to and excluding ``hi[i, j]``.

    ``times``, ``lo`` and ``hi`` have one row that all series share, or one for each. No window holds a staleness
    marker or an absent sample. ``ends`` are the right ends of the windows and ``span`` is their length; ``steps`` are
    the times of the evaluation, which differ from ``ends`` by offset and ``@``. All times are milliseconds.
    ``check`` is called between pieces of work and may raise.
    """

    series: tuple[Labels, ...]
    times: Times
    values: Floats
    lo: Index
    hi: Index
    ends: Times
    span: int
    steps: Times
    check: Callable[[], None]

    @property
    def counts(self) -> Index:
        """How many samples each window holds; one row where that is the same for all series."""
        return self.hi - self.lo

    def present(self, least: int = 1) -> Bools:
        """Return which windows hold at least so many samples."""
        return np.broadcast_to(self.counts >= least, (len(self.series), len(self.ends)))

    def first(self, array: NDArray[Number]) -> NDArray[Number]:
        """Return the element of each window's first sample (undefined for an empty window)."""
        return gather(array, np.minimum(self.lo, array.shape[1] - 1))

    def last(self, array: NDArray[Number], back: int = 1) -> NDArray[Number]:
        """Return the element of each window's last sample, or of the ``back``-th from the end."""
        return gather(array, np.maximum(self.hi - back, 0))

    def each(self) -> Iterator[tuple[int, "RangeWindow"]]:
        """Return each step at which any series has samples, with its windows."""
        for step in range(len(self.ends)):
            self.check()
            if len(self.lo) == 1:
                lo, hi = int(self.lo[0, step]), int(self.hi[0, step])
                if lo < hi:
                    yield step, RangeWindow(self.times[:, lo:hi], self.values[:, lo:hi], None)
                continue
            lows, highs = self.lo[:, step, np.newaxis], self.hi[:, step, np.newaxis]
            width = int((highs - lows).max())
            if width > 0:
                index = lows + np.arange(width)
                within = np.minimum(index, self.values.shape[1] - 1)
                inside = index < highs
                yield step, RangeWindow(gather(self.times, within), gather(self.values, within), inside)


@dataclass(frozen=True, slots=True, eq=False)
class RangeWindow:
    """The windows of all series at one step; ``inside`` is which columns belong to which series."""

    times: Times
    values: Floats
    inside: Bools | None

    def filled(self, filler: float) -> Floats:
        """Return the values, with a filler in columns that do not belong to a series."""
        return self.values if self.inside is None else np.where(self.inside, self.values, filler)

    @property
    def counts(self) -> Floats:
        """How many samples each series has here."""
        if self.inside is None:
            return np.full(len(self.values), float(self.values.shape[1]))
        return np.asarray(self.inside.sum(axis=1), np.float64)


def range_windows(chunk: SeriesChunk, ends: Times, span: int, steps: Times, check: Callable[[], None]) -> RangeWindows:
    """Return the windows over a chunk that was probed at their left and right ends."""
    lo, hi = chunk.upto
    made = RangeWindows(chunk.series, chunk.times, chunk.values, lo, hi, ends, span, steps, check)
    # If the sum is not NaN there is no NaN at all, so neither marker.
    if not np.isnan(chunk.values.sum()):
        return made
    gone = is_absent(chunk.values) | is_stale(chunk.values)
    if not gone.any():
        return made
    late = np.argmin(gone, axis=1)
    late[gone.all(axis=1)] = gone.shape[1]
    if (gone.sum(axis=1) == late).all():
        lo = np.maximum(lo, late[:, np.newaxis])
        values = np.where(gone, 0.0, chunk.values)
        return RangeWindows(chunk.series, chunk.times, values, lo, np.maximum(hi, lo), ends, span, steps, check)
    return _compacted(made, ~gone)


def _compacted(made: RangeWindows, kept: Bools) -> RangeWindows:
    """Move the kept samples to the left of their rows; each row gets its own times."""
    before = np.zeros((kept.shape[0], kept.shape[1] + 1), np.intp)
    np.cumsum(kept, axis=1, out=before[:, 1:])
    rows, columns = np.nonzero(kept)
    places = before[rows, columns]
    values = np.zeros(kept.shape)
    values[rows, places] = made.values[rows, columns]
    times = np.zeros(kept.shape, np.int64)
    times[rows, places] = np.broadcast_to(made.times, kept.shape)[rows, columns]
    lo, hi = gather(before, made.lo), gather(before, made.hi)
    return RangeWindows(made.series, times, values, lo, hi, made.ends, made.span, made.steps, made.check)
