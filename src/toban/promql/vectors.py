"""Vectors over all steps of a query at once, as numpy arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toban.core.errors import QueryError
from toban.core.labels import NAME, Labels

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Times: TypeAlias = NDArray[np.int64]
Index: TypeAlias = NDArray[np.intp]

SAME_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True, slots=True, eq=False)
class StepGrid:
    """The times at which an expression is evaluated (milliseconds), and the start and end of the whole query."""

    times: Times
    start: int
    end: int

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times)

    def at(self, times: Times) -> "StepGrid":
        """Return a grid of other times in the same query."""
        return StepGrid(times, self.start, self.end)


@dataclass(frozen=True, slots=True, eq=False)
class InstantVector:
    """
    Series, each with a value at some of the steps.

    ``values[i, j]`` is valid where ``present[i, j]``: NaN is a value like others. A series whose name an expression
    removes is ``nameless``; the label itself is removed at the end of the query, as in Prometheus (delayed name
    removal). ``ordered`` says that the order of the series is part of the result.
    """

    series: tuple[Labels, ...]
    values: Floats
    present: Bools
    nameless: Bools
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.series)

    def take(self, rows: Sequence[int] | Index | Bools) -> "InstantVector":
        """Return some of the series."""
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        index = index.astype(np.intp)
        series = tuple(self.series[row] for row in index)
        return InstantVector(series, self.values[index], self.present[index], self.nameless[index], self.ordered)

    def unnamed(self, values: Floats, present: Bools | None = None) -> "InstantVector":
        """Return the same series with other values and without names."""
        there = self.present if present is None else present
        return InstantVector(self.series, values, there, np.ones(len(self), np.bool_), self.ordered)

    def only(self, present: Bools) -> "InstantVector":
        """Return the same series at fewer steps."""
        return InstantVector(self.series, self.values, present, self.nameless, self.ordered)


def empty(steps: int) -> InstantVector:
    """Return no series."""
    nothing = np.zeros((0, steps))
    return InstantVector((), nothing, nothing.astype(np.bool_), np.zeros(0, np.bool_))


def constant(values: Floats, present: Bools | None = None, labels: Labels | None = None) -> InstantVector:
    """Return one series."""
    there = np.ones(len(values), np.bool_) if present is None else present
    return InstantVector((labels or Labels(),), values[np.newaxis], there[np.newaxis], np.zeros(1, np.bool_))


def joined(blocks: Iterable[InstantVector], steps: int) -> InstantVector:
    """Return the series of several blocks as one vector, without those that are present at no step."""
    kept = []
    for block in blocks:
        some: Bools = np.any(block.present, axis=1)
        if some.any():
            kept.append(block if some.all() else block.take(some))
    if len(kept) < 2:
        return kept[0] if kept else empty(steps)
    return InstantVector(
        tuple(labels for block in kept for labels in block.series),
        np.concatenate([block.values for block in kept]),
        np.concatenate([block.present for block in kept]),
        np.concatenate([block.nameless for block in kept]),
        any(block.ordered for block in kept),
    )


def merged(vector: InstantVector) -> InstantVector:
    """
    Return the vector with series of equal labels merged; a nameless series is not merged with one that keeps its name.

    Raises ``QueryError`` when two of them are present at the same step.
    """
    first: dict[tuple[Labels, bool], int] = {}
    keys = zip(vector.series, vector.nameless.tolist(), strict=True)
    target = np.array([first.setdefault(key, len(first)) for key in keys], np.intp)
    if len(first) == len(vector):
        return vector
    values = np.zeros((len(first), vector.values.shape[1]))
    present = np.zeros(values.shape, np.bool_)
    for row, into in enumerate(target):
        here = vector.present[row]
        if (present[into] & here).any():
            raise QueryError(SAME_LABELS)
        values[into, here] = vector.values[row, here]
        present[into] |= here
    series = tuple(labels for labels, _ in first)
    return InstantVector(series, values, present, np.array([gone for _, gone in first], np.bool_), vector.ordered)


def without_names(vector: InstantVector) -> InstantVector:
    """Remove the names of nameless series, at the end of the query. Raises like ``merged``."""
    series = tuple(
        labels.drop(NAME) if gone else labels for labels, gone in zip(vector.series, vector.nameless, strict=True)
    )
    return merged(InstantVector(series, vector.values, vector.present, np.zeros(len(series), np.bool_), vector.ordered))
