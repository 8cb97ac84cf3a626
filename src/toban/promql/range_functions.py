"""The functions over ranges, ``absent``, and their kernels."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from toban.core.labels import NAME, Labels
from toban.core.matchers import MatchOperator
from toban.promql import over_time_functions, rate_functions
from toban.promql.evaluator_protocol import Evaluator, Function
from toban.promql.range_windows import RangeWindows
from toban.promql.syntax_tree import Call, Node, Range, Selector, Subquery
from toban.promql.vectors import Bools, Floats, InstantVector, StepGrid, constant

Kernel: TypeAlias = Callable[[RangeWindows], tuple[Floats, Bools]]

_COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")


def _first(windows: RangeWindows) -> tuple[Floats, Bools]:
    return windows.first(windows.values), windows.present()


def _last(windows: RangeWindows) -> tuple[Floats, Bools]:
    return windows.last(windows.values), windows.present()


def _count(windows: RangeWindows) -> tuple[Floats, Bools]:
    present = windows.present()
    return np.broadcast_to(windows.counts.astype(np.float64), present.shape), present


def _present(windows: RangeWindows) -> tuple[Floats, Bools]:
    present = windows.present()
    return np.ones(present.shape), present


def _deriv(windows: RangeWindows) -> tuple[Floats, Bools]:
    slope, _, present = rate_functions.linear_regression(windows, at_step=False)
    return slope, present


def _stddev(windows: RangeWindows) -> tuple[Floats, Bools]:
    values, present = over_time_functions.variance(windows)
    return np.sqrt(values), present


KERNELS: Final[dict[str, Kernel]] = {
    "avg_over_time": over_time_functions.avg_over_time,
    "changes": partial(rate_functions.count_changes, fall=False),
    "count_over_time": _count,
    "delta": partial(rate_functions.extrapolated_rate, counter=False, per_second=False),
    "deriv": _deriv,
    "first_over_time": _first,
    "idelta": partial(rate_functions.instant_rate, counter=False),
    "increase": partial(rate_functions.extrapolated_rate, counter=True, per_second=False),
    "irate": partial(rate_functions.instant_rate, counter=True),
    "last_over_time": _last,
    "max_over_time": over_time_functions.max_over_time,
    "min_over_time": over_time_functions.min_over_time,
    "present_over_time": _present,
    "rate": partial(rate_functions.extrapolated_rate, counter=True, per_second=True),
    "resets": partial(rate_functions.count_changes, fall=True),
    "stddev_over_time": _stddev,
    "stdvar_over_time": over_time_functions.variance,
    "sum_over_time": over_time_functions.sum_over_time,
}
"""The functions whose only argument is a range."""

_KEEPS_NAME = frozenset({"first_over_time", "last_over_time"})


def over_range(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    """Evaluate a function whose only argument is a range."""
    ranged = _range(call.arguments[0])
    kernel = KERNELS[call.name]
    # With `@` all steps read the same samples: one step is enough.
    same = grid if _selector_of(ranged).at is None else grid.at(grid.times[:1])
    for windows, nameless in evaluator.windows(ranged, same):
        values, present = kernel(windows)
        block = _vector(windows, values, present, nameless or call.name not in _KEEPS_NAME)
        if call.name in {"rate", "increase"}:
            _inform_of_non_counters(evaluator, block)
        if same is not grid:
            shape = len(windows.series), grid.steps
            block = InstantVector(
                block.series, np.broadcast_to(values, shape), np.broadcast_to(present, shape), block.nameless
            )
        yield block


def _vector(windows: RangeWindows, values: Floats, present: Bools, nameless: bool) -> InstantVector:
    return InstantVector(windows.series, values, present, np.full(len(windows.series), nameless))


def _inform_of_non_counters(evaluator: Evaluator, block: InstantVector) -> None:
    some: Bools = np.any(block.present, axis=1)
    for name in {labels.name for labels, there in zip(block.series, some, strict=True) if there}:
        if name and not name.endswith(_COUNTER_ENDINGS):
            evaluator.budget.inform(
                f'metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "{name}"'
            )


def _predict_linear(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    ahead = evaluator.scalars(call.arguments[1], grid)
    for windows, _ in evaluator.windows(_range(call.arguments[0]), grid):
        slope, height, present = rate_functions.linear_regression(windows, at_step=True)
        yield _vector(windows, slope * ahead + height, present, True)


def _quantile_over_time(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    ranks = evaluator.scalars(call.arguments[0], grid)
    for windows, _ in evaluator.windows(_range(call.arguments[1]), grid):
        if windows.present().any():
            warn_of_ranks(evaluator, ranks)
        values, present = over_time_functions.quantile(windows, ranks)
        yield _vector(windows, values, present, True)


def warn_of_ranks(evaluator: Evaluator, ranks: Floats) -> None:
    """Warn of ranks of quantiles outside of 0 to 1."""
    for rank in np.unique(ranks[~((ranks >= 0) & (ranks <= 1))]):
        text = "NaN" if np.isnan(rank) else f"{rank:g}".replace("inf", "Inf")
        evaluator.budget.warn(f"quantile value should be between 0 and 1, got {text}")


def _absent(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    missing = np.ones(grid.steps, np.bool_)
    for block in evaluator.blocks(call.arguments[0], grid):
        missing &= ~block.present.any(axis=0)
    yield constant(np.ones(grid.steps), missing, _absent_labels(call.arguments[0]))


def _absent_over_time(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    missing = np.ones(grid.steps, np.bool_)
    for windows, _ in evaluator.windows(_range(call.arguments[0]), grid):
        missing &= ~windows.present().any(axis=0)
    yield constant(np.ones(grid.steps), missing, _absent_labels(call.arguments[0]))


def _absent_labels(node: Node) -> Labels:
    """Return the labels of an ``absent`` result: those with exactly one equality matcher."""
    if isinstance(node, Range):
        node = node.selector
    if not isinstance(node, Selector):
        return Labels()
    known: dict[str, str] = {}
    equal: set[str] = set()
    for matcher in node.matchers:
        if matcher.name == NAME:
            continue
        if matcher.operator is MatchOperator.EQUAL and matcher.name not in equal:
            known[matcher.name] = matcher.value
            equal.add(matcher.name)
        else:
            known.pop(matcher.name, None)
    return Labels(known)


def _range(node: Node) -> Range | Subquery:
    if not isinstance(node, Range | Subquery):
        raise TypeError(f"{type(node).__name__} is not a range: the parser must refuse it")
    return node


def _selector_of(node: Range | Subquery) -> Selector | Subquery:
    return node.selector if isinstance(node, Range) else node


FUNCTIONS: Final[dict[str, Function]] = {
    **dict.fromkeys(KERNELS, over_range),
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "predict_linear": _predict_linear,
    "quantile_over_time": _quantile_over_time,
}
"""The functions over ranges, and ``absent``, by name."""
