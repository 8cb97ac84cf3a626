"""Evaluates a query's syntax tree over all steps at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from toban.core.ports import SeriesSource
from toban.core.query_result import ResultType
from toban.core.samples import ABSENT, SeriesBlock, is_absent, is_stale
from toban.promql import (
    binary_operators,
    date_functions,
    elementwise_functions,
    histogram_functions,
    label_functions,
    range_functions,
)
from toban.promql.aggregation import aggregate
from toban.promql.evaluator_protocol import Function
from toban.promql.query_limits import QueryBudget
from toban.promql.range_windows import RangeWindows, range_windows
from toban.promql.series_chunks import SeriesChunk, gather, split_chunks
from toban.promql.syntax_tree import (
    Aggregation,
    Anchor,
    BinaryExpression,
    Call,
    Negation,
    Node,
    NumberLiteral,
    Range,
    Selector,
    Subquery,
    result_type_of,
)
from toban.promql.vectors import Floats, Index, InstantVector, StepGrid, Times, constant, joined

FUNCTIONS: Final[dict[str, Function]] = {
    **elementwise_functions.FUNCTIONS,
    **date_functions.FUNCTIONS,
    **histogram_functions.FUNCTIONS,
    **label_functions.FUNCTIONS,
    **range_functions.FUNCTIONS,
}
"""All functions over vectors, by name."""

FUNCTION_NAMES: Final = FUNCTIONS.keys() | elementwise_functions.SCALARS.keys()
"""The names of all functions."""


_STEP_COST: Final = 8
"""What a step of a subquery costs of the query's budget, in samples: its time, and the indexes of samples."""


@dataclass(frozen=True, slots=True)
class QueryEvaluation:
    """The evaluation of one query over one source; ``lookback`` in milliseconds."""

    source: SeriesSource
    lookback: int
    budget: QueryBudget

    def blocks(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to a vector, block by block; a series is in one block."""
        for block in self._blocks(node, grid):
            self.budget.spend(block.values.size)
            if len(block):
                yield block

    def _blocks(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        if result_type_of(node) is ResultType.SCALAR:
            return iter([constant(self.scalars(node, grid))])
        match node:
            case Selector():
                return self._newest(node, grid, with_timestamps=False)
            case Negation(inner=inner):
                return (block.unnamed(-block.values) for block in self.blocks(inner, grid))
            case BinaryExpression():
                return binary_operators.vectors(self, node, grid)
            case Call():
                return iter(FUNCTIONS[node.name](self, node, grid))
            case Aggregation():
                return aggregate(self, node, grid)
            case _:
                raise TypeError(f"{type(node).__name__} is not a vector")

    def vector(self, node: Node, grid: StepGrid) -> InstantVector:
        """Evaluate to a vector with all series."""
        return joined(self.blocks(node, grid), grid.steps)

    def scalars(self, node: Node, grid: StepGrid) -> Floats:
        """Evaluate to a scalar for each step."""
        self.budget.spend(grid.steps)
        match node:
            case NumberLiteral(value=value):
                return np.full(grid.steps, value)
            case Negation(inner=inner):
                return -self.scalars(inner, grid)
            case BinaryExpression():
                return binary_operators.scalars(self, node, grid)
            case Call():
                return elementwise_functions.SCALARS[node.name](self, node, grid)
            case _:
                raise TypeError(f"{type(node).__name__} is not a scalar")

    def windows(self, node: Range | Subquery, grid: StepGrid) -> Iterator[tuple[RangeWindows, bool]]:
        """Evaluate to the windows of a range, some series at a time, and whether these have lost their names."""
        place = node.selector if isinstance(node, Range) else node
        ends = _read_times(place, grid)
        starts = ends - node.span
        for groups, nameless in self._ranged(node, starts, ends, grid):
            for chunk in split_chunks(groups, starts, ends):
                self.budget.check()
                yield range_windows(chunk, ends, node.span, grid.times, self.budget.check), nameless

    def _ranged(
        self, node: Range | Subquery, starts: Times, ends: Times, grid: StepGrid
    ) -> Iterator[tuple[Sequence[SeriesBlock], bool]]:
        first, last = int(starts.min()) + 1, int(ends.max())
        if isinstance(node, Range):
            yield self._select(node.selector, first, last), False
            return
        # The steps of a subquery are multiples of its step, wherever the query itself begins.
        begin = -(-first // node.step) * node.step
        if begin > last:
            return
        self.budget.spend(((last - begin) // node.step + 1) * _STEP_COST)
        times = np.arange(begin, last + 1, node.step, dtype=np.int64)
        for block in self.blocks(node.inner, grid.at(times)):
            for nameless in (False, True):
                some = block.take(block.nameless == nameless)
                if len(some):
                    yield [SeriesBlock(some.series, times, np.where(some.present, some.values, ABSENT))], nameless

    def timestamps(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to the timestamps of the samples, in seconds, instead of their values."""
        if isinstance(node, Selector):
            return self._newest(node, grid, with_timestamps=True)
        seconds = grid.times / 1000
        return (block.unnamed(np.broadcast_to(seconds, block.values.shape)) for block in self.blocks(node, grid))

    def _newest(self, node: Selector, grid: StepGrid, *, with_timestamps: bool) -> Iterator[InstantVector]:
        # With `@` all steps read the same samples: one step is enough.
        places = _read_times(node, grid)
        times = places if node.at is None else places[:1]
        groups = self._select(node, int(times.min()) - self.lookback + 1, int(times.max()))
        for chunk in split_chunks(groups, times):
            block = _newest(chunk, times, self.lookback, with_timestamps=with_timestamps)
            if times is not places:
                shape = len(block), grid.steps
                block = replace(
                    block,
                    values=np.broadcast_to(block.values, shape),
                    present=np.broadcast_to(block.present, shape),
                )
            yield block

    def _select(self, node: Selector, first: int, last: int) -> Sequence[SeriesBlock]:
        self.budget.check()
        groups = self.source.select(node.matchers, first, last, self.budget.available)
        self.budget.spend(sum(group.values.size for group in groups))
        return groups


def _read_times(node: Selector | Subquery, grid: StepGrid) -> Times:
    """Return the times that a selector reads: the steps, or the time of ``@``, less the offset."""
    if node.at is None:
        return grid.times - node.offset
    at = {Anchor.START: grid.start, Anchor.END: grid.end}[node.at] if isinstance(node.at, Anchor) else node.at
    return np.full(grid.steps, at - node.offset, np.int64)


def _newest(chunk: SeriesChunk, times: Times, lookback: int, *, with_timestamps: bool) -> InstantVector:
    """Return the newest sample of each series within ``lookback``, unless it is a staleness marker."""
    index: Index = chunk.upto[0] - 1
    absent = is_absent(chunk.values)
    if absent.any():
        filled = np.maximum.accumulate(np.where(absent, -1, np.arange(absent.shape[1])), axis=1)
        index = np.where(index < 0, -1, gather(filled, np.maximum(index, 0)))
    at = np.maximum(index, 0)
    values, found = gather(chunk.values, at), gather(chunk.times, at)
    fresh = (index >= 0) & (found > times - lookback)
    present = np.broadcast_to(fresh, values.shape) & ~is_stale(values)
    if with_timestamps:
        values = np.broadcast_to(found / 1000, values.shape)
    return InstantVector(chunk.series, values, present, np.full(len(chunk.series), with_timestamps))
