"""Quantiles and fractions of classic histograms, from their ``le`` buckets."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from toban.core.labels import Labels
from toban.promql.evaluator_protocol import Evaluator, Function
from toban.promql.range_functions import warn_of_ranks
from toban.promql.syntax_tree import Call, Node
from toban.promql.vectors import Bools, Floats, Index, InstantVector, StepGrid

_TOLERANCE: Final = 1e-12
"""A relative difference of counts that counts as a rounding error."""

_LE = "le"

HISTOGRAMS_AT_ONCE: Final = 64
"""How many histograms are computed at once."""

Name = Callable[[int], str]
"""Returns the metric's name of a column."""

BucketFunction = Callable[[Floats, Floats, Index, Name], Floats]
"""Returns a value for each column, from ascending bounds, cumulative counts, each column's step, and its name."""


def _histogram_quantile(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    ranks = evaluator.scalars(call.arguments[0], grid)
    warn_of_ranks(evaluator, ranks)

    def quantile(bounds: Floats, counts: Floats, steps: Index, name: Name) -> Floats:
        values, forced = bucket_quantile(bounds, counts, ranks[steps])
        for metric in dict.fromkeys(name(column) for column in forced.tolist()):
            evaluator.budget.inform(
                "input to histogram_quantile needed to be fixed for monotonicity (see "
                "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) "
                f'for metric name "{metric}"'
            )
        return values

    yield _of_buckets(evaluator, call.arguments[1], grid, quantile)


def _histogram_fraction(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    lower, upper = (evaluator.scalars(argument, grid) for argument in call.arguments[:2])

    def fraction(bounds: Floats, counts: Floats, steps: Index, _: Name) -> Floats:
        return bucket_fraction(bounds, counts, lower[steps], upper[steps])

    yield _of_buckets(evaluator, call.arguments[2], grid, fraction)


def _of_buckets(evaluator: Evaluator, node: Node, grid: StepGrid, function: BucketFunction) -> InstantVector:
    """Return one series for each histogram; a histogram may lack some buckets at some steps."""
    vector = evaluator.vector(node, grid)
    histograms = _gathered(evaluator, vector)
    values = np.zeros((len(histograms), grid.steps))
    present = np.zeros(values.shape, np.bool_)
    by_bounds: dict[tuple[float, ...], list[tuple[int, list[int]]]] = {}
    for into, each in enumerate(histograms.values()):
        in_order = sorted(each)
        bounds = tuple(bound for bound, _ in in_order)
        by_bounds.setdefault(bounds, []).append((into, [row for _, row in in_order]))
    for bounds, some in by_bounds.items():
        # Histograms with the same bounds are placed side by side, like one histogram with more steps.
        for first in range(0, len(some), HISTOGRAMS_AT_ONCE):
            evaluator.budget.check()
            part = some[first : first + HISTOGRAMS_AT_ONCE]
            target = np.array([into for into, _ in part])
            table = np.array([rows for _, rows in part], np.intp).T
            there = vector.present[table].reshape(len(bounds), -1)
            counts = vector.values[table].reshape(len(bounds), -1)
            found = np.zeros(there.shape[1])
            for pattern, columns in _patterns(there):
                name = partial(_name, vector, table[0, columns // grid.steps])
                buckets = _coalesced(np.array(bounds)[pattern], counts[np.ix_(pattern, columns)])
                found[columns] = function(*buckets, columns % grid.steps, name)
            values[target] = found.reshape(len(part), -1)
            present[target] = there.any(axis=0).reshape(len(part), -1)
    return InstantVector(tuple(histograms), values, present, np.ones(len(histograms), np.bool_))


def _name(vector: InstantVector, rows: Index, column: int) -> str:
    return vector.series[int(rows[column])].name


def _gathered(evaluator: Evaluator, vector: InstantVector) -> dict[Labels, list[tuple[float, int]]]:
    """Return the buckets of each histogram: bound and row."""
    histograms: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
    bounds: dict[str, float | None] = {}
    for row, labels in enumerate(vector.series):
        text = labels.get(_LE, "")
        bound = bounds[text] if text in bounds else bounds.setdefault(text, _bound(text))
        if bound is None:
            evaluator.budget.warn(
                f'bucket label "le" is missing or has a malformed value of "{text}" for metric name "{labels.name}"'
            )
            continue
        key = tuple([pair for pair in labels.items() if pair[0] != _LE])
        histograms.setdefault(key, []).append((bound, row))
    return {Labels(key): rows for key, rows in histograms.items()}


def _bound(text: str) -> float | None:
    """Parse a bucket's bound. Unlike Python, Go accepts no underscores and no spaces around the number."""
    try:
        return float(text) if text.strip("_ ") == text and "_" not in text else None
    except ValueError:
        return None


def _patterns(there: Bools) -> Iterator[tuple[Index, Index]]:
    """Return each set of buckets that are present together: their rows, and the columns at which they are."""
    full = there.all(axis=0)
    if full.any():
        yield np.arange(there.shape[0]), np.flatnonzero(full)
    rest = np.flatnonzero(~full & there.any(axis=0))
    if not len(rest):
        return
    packed = np.ascontiguousarray(np.packbits(there[:, rest], axis=0).T)
    patterns, which = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_inverse=True)
    for number in range(len(patterns)):
        columns = rest[which == number]
        yield np.flatnonzero(there[:, columns[0]]), columns


def _coalesced(bounds: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Merge buckets whose bounds are equal but written differently."""
    distinct = np.flatnonzero(np.diff(bounds, prepend=np.nan) != 0)
    if len(distinct) == len(bounds):
        return bounds, counts
    return bounds[distinct], np.add.reduceat(counts, distinct, axis=0)


def bucket_quantile(bounds: Floats, counts: Floats, ranks: Floats) -> tuple[Floats, Index]:
    """
    Return the quantile of each column of cumulative ``counts`` under ascending ``bounds``.

    Linear within a bucket; the lowest begins at 0 if its bound is positive. NaN without a bucket up to +Inf, with no
    other, or without observations. Also returns the columns in which counts decreased and had to be raised.
    """
    result = np.full(len(ranks), np.nan)
    forced = np.zeros(0, np.intp)
    if np.isposinf(bounds[-1]) and len(bounds) > 1:
        counts, forced = _monotonic(counts)
        observations = counts[-1]
        wanted = ranks * observations
        bucket = (counts[:-1] < wanted).sum(axis=0)
        inner = np.minimum(bucket, len(bounds) - 2)
        below = np.where(inner > 0, np.take_along_axis(counts, np.maximum(inner - 1, 0)[np.newaxis], axis=0)[0], 0.0)
        start = np.where(inner > 0, bounds[np.maximum(inner - 1, 0)], 0.0)
        inside = np.take_along_axis(counts, inner[np.newaxis], axis=0)[0] - below
        result = start + (bounds[inner] - start) * ((wanted - below) / inside)
        result = np.where((inner == 0) & (bounds[0] <= 0), bounds[0], result)
        result = np.where(bucket == len(bounds) - 1, bounds[-2], result)
        result = np.where(observations == 0, np.nan, result)
    result = np.where(ranks < 0, -np.inf, np.where(ranks > 1, np.inf, result))
    return np.where(np.isnan(ranks), np.nan, result), forced


def _monotonic(counts: Floats) -> tuple[Floats, Index]:
    """Raise counts that decrease, and equalize those that differ by rounding; return the columns with a decrease."""
    fixed, forced = counts.copy(), np.zeros(counts.shape[1], np.bool_)
    for row in range(1, len(fixed)):
        before, here = fixed[row - 1], fixed[row]
        alike = np.abs(here - before) < _TOLERANCE * (np.abs(here) + np.abs(before))
        fell = (here < before) & ~alike
        forced |= fell
        fixed[row] = np.where(fell | alike, before, here)
    return fixed, np.flatnonzero(forced)


def bucket_fraction(bounds: Floats, counts: Floats, lower: Floats, upper: Floats) -> Floats:
    """Return the fraction of observations between ``lower`` and ``upper``, interpolated like a quantile."""
    if not np.isposinf(bounds[-1]):
        return np.full(len(lower), np.nan)
    total = counts[-1]
    share = (
        np.minimum(_below(bounds, counts, upper), total) - np.minimum(_below(bounds, counts, lower), total)
    ) / total
    share = np.where(lower >= upper, 0.0, share)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, share)


def _below(bounds: Floats, counts: Floats, values: Floats) -> Floats:
    """Count the observations below each value; a bucket that is open on one side can't be interpolated."""
    bucket = np.minimum(np.searchsorted(bounds, values, side="left"), len(bounds) - 1)
    columns = np.arange(counts.shape[1])
    here, end = counts[bucket, columns], bounds[bucket]
    before = np.where(bucket > 0, counts[np.maximum(bucket - 1, 0), columns], 0.0)
    start = np.where(bucket > 0, bounds[np.maximum(bucket - 1, 0)], 0.0 if bounds[0] > 0 else -np.inf)
    inside = before + (here - before) * (values - start) / (end - start)
    inside = np.where(np.isneginf(start), here, inside)
    inside = np.where(values == end, here, inside)
    return np.where(values <= start, before, inside)


FUNCTIONS: Final[dict[str, Function]] = {
    "histogram_fraction": _histogram_fraction,
    "histogram_quantile": _histogram_quantile,
}
"""The functions over classic histograms, by name."""
