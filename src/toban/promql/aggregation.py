"""The aggregation operators: ``sum``, ``topk``, ``quantile``, ``count_values`` and the others."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import numpy as np

from toban.core.errors import QueryError
from toban.core.labels import Labels
from toban.promql.aggregation_groups import AggregationGroups, GroupLayers
from toban.promql.evaluator_protocol import Evaluator
from toban.promql.quantiles import quantiles
from toban.promql.range_functions import warn_of_ranks
from toban.promql.streaming_aggregations import AGGREGATIONS
from toban.promql.syntax_tree import Aggregation, StringLiteral
from toban.promql.vectors import Bools, Floats, Index, InstantVector, StepGrid, empty, joined

_SERIES_COST: Final = 100
"""What the labels of a series cost of the query's budget, in samples."""


def aggregate(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Iterator[InstantVector]:
    """Evaluate an aggregation."""
    return _NON_STREAMING.get(node.operator, _streamed)(evaluator, node, grid)


def _streamed(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Iterator[InstantVector]:
    grouping, state = AggregationGroups.of(node), AGGREGATIONS[node.operator](grid.steps)
    for block in evaluator.blocks(node.inner, grid):
        layers = GroupLayers(grouping.target(block))
        evaluator.budget.spend((len(grouping) - state.groups) * grid.steps * len(state.fillers))
        state.reserve(len(grouping))
        state.update(block, layers)
    if len(grouping):
        yield grouping.vector(state.result(), state.present)


def _quantile(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Iterator[InstantVector]:
    ranks = _parameter(evaluator, node, grid)
    warn_of_ranks(evaluator, ranks)
    vector = evaluator.vector(node.inner, grid)
    grouping = AggregationGroups.of(node)
    target = grouping.target(vector)
    values = np.zeros((len(grouping), grid.steps))
    present = np.zeros(values.shape, np.bool_)
    for group in range(len(grouping)):
        evaluator.budget.check()
        rows = np.flatnonzero(target == group)
        here = vector.present[rows]
        values[group] = quantiles(vector.values[rows].T, here.T, ranks)
        present[group] = here.any(axis=0)
    yield grouping.vector(values, present)


def _extremes(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Iterator[InstantVector]:
    """Keep the k highest or lowest of each group at each step."""
    k = _parameter(evaluator, node, grid)
    if np.isnan(k).any():
        raise QueryError("Parameter value is NaN")
    for invalid, verb in ((k <= -(2.0**63), "underflows"), (k >= 2.0**63, "overflows")):
        if invalid.any():
            raise QueryError(f"Scalar value {k[invalid][0]:g} {verb} int64")
    k = np.trunc(k)
    sign = -1.0 if node.operator == "topk" else 1.0
    kept = empty(grid.steps)
    # A series that is not among the best of the blocks so far is not among the best of all.
    for block in evaluator.blocks(node.inner, grid):
        both = joined([kept, block], grid.steps)
        target = AggregationGroups.of(node).target(both)
        best = _best(both, target, sign, k)
        kept = joined([InstantVector(both.series, both.values, best, both.nameless)], grid.steps)
    yield kept if grid.steps > 1 else _in_order(kept, AggregationGroups.of(node).target(kept), sign)


def _best(vector: InstantVector, target: Index, sign: float, k: Floats) -> Bools:
    best = np.zeros(vector.present.shape, np.bool_)
    for group in range(int(target.max(initial=-1)) + 1):
        # Of equal values the first by its labels, wherever the store has it: a chart must not change on compaction.
        found = np.flatnonzero(target == group).tolist()
        rows = np.array(sorted(found, key=lambda row: tuple(vector.series[row].items())), np.intp)
        present = vector.present[rows]
        order = _order(vector.values[rows], present, sign)
        chosen = np.zeros(present.shape, np.bool_)
        places = np.broadcast_to(np.arange(len(rows))[:, np.newaxis] < k, present.shape)
        np.put_along_axis(chosen, order, places, axis=0)
        best[rows] = chosen & present
    return best


def _order(values: Floats, present: Bools, sign: float) -> Index:
    """Sort each column: the best values first, then NaN, then absent values."""
    nan = np.isnan(values)
    return np.lexsort((np.where(nan, 0.0, sign * values), nan, ~present), axis=0)


def _in_order(vector: InstantVector, target: Index, sign: float) -> InstantVector:
    values = vector.values[:, 0]
    nan = np.isnan(values)
    ordered = vector.take(np.lexsort((np.where(nan, 0.0, sign * values), nan, target)))
    return InstantVector(ordered.series, ordered.values, ordered.present, ordered.nameless, ordered=True)


def _count_values(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Iterator[InstantVector]:
    label = node.parameter.value if isinstance(node.parameter, StringLiteral) else ""
    if not label:
        raise QueryError(f'invalid label name "{label}"')
    labels = node.labels if node.without else (*node.labels, label)
    grouping = AggregationGroups(labels, without=node.without)
    counts: list[Floats] = []
    for block in evaluator.blocks(node.inner, grid):
        for row, series in enumerate(block.series):
            evaluator.budget.check()
            found, which = np.unique(block.values[row, block.present[row]], return_inverse=True)
            steps = np.flatnonzero(block.present[row])
            valued = tuple(Labels({**series, label: format_value(value)}) for value in found.tolist())
            labelled = InstantVector(valued, *_nothing(len(valued)), np.full(len(valued), block.nameless[row]))
            target = grouping.target(labelled)
            evaluator.budget.spend((len(grouping) - len(counts)) * (grid.steps + _SERIES_COST))
            counts.extend(np.zeros(grid.steps) for _ in range(len(grouping) - len(counts)))
            for number, group in enumerate(target.tolist()):
                counts[group][steps[which == number]] += 1
    if counts:
        values = np.array(counts)
        yield grouping.vector(values, values > 0)


def _nothing(rows: int) -> tuple[Floats, Bools]:
    return np.zeros((rows, 0)), np.zeros((rows, 0), np.bool_)


def format_value(value: float) -> str:
    """Format a value as short as possible and without an exponent, as Prometheus writes it into a label."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _parameter(evaluator: Evaluator, node: Aggregation, grid: StepGrid) -> Floats:
    if node.parameter is None:
        raise TypeError(f"{node.operator} has no parameter: the parser must refuse it")
    return evaluator.scalars(node.parameter, grid)


_NON_STREAMING: Final[dict[str, Callable[[Evaluator, Aggregation, StepGrid], Iterator[InstantVector]]]] = {
    "bottomk": _extremes,
    "count_values": _count_values,
    "quantile": _quantile,
    "topk": _extremes,
}

OPERATORS: Final = AGGREGATIONS.keys() | _NON_STREAMING.keys()
"""The names of all aggregation operators."""
