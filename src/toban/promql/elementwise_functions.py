"""The functions that map each value of a vector by itself, and those between vectors and scalars."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from toban.promql.evaluator_protocol import Evaluator, Function, ScalarFunction
from toban.promql.syntax_tree import Call
from toban.promql.vectors import Floats, InstantVector, StepGrid, constant


def _round(values: Floats, nearest: Floats | float = 1.0) -> Floats:
    # Prometheus inverts first, and so does toban: it decides the last digit.
    inverse = 1.0 / np.asarray(nearest)
    return np.asarray(np.floor(values * inverse + 0.5) / inverse, np.float64)


def _clamp(values: Floats, low: Floats, high: Floats) -> Floats:
    return np.maximum(low, np.minimum(high, values))


_ELEMENTWISE: Final[dict[str, Callable[..., Floats]]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "clamp": _clamp,
    "clamp_max": lambda values, high: np.minimum(high, values),
    "clamp_min": lambda values, low: np.maximum(low, values),
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": lambda values: values * 180 / np.pi,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": lambda values: values * np.pi / 180,
    "round": _round,
    "sgn": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}


def _elementwise(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    function = _ELEMENTWISE[call.name]
    scalars = [evaluator.scalars(argument, grid) for argument in call.arguments[1:]]
    # With a minimum above the maximum, `clamp` returns no series.
    possible = ~(scalars[1] < scalars[0]) if call.name == "clamp" else np.ones(grid.steps, np.bool_)
    for block in evaluator.blocks(call.arguments[0], grid):
        yield block.unnamed(function(block.values, *scalars), block.present & possible)


def _timestamp(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    return evaluator.timestamps(call.arguments[0], grid)


def _vector(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    yield constant(evaluator.scalars(call.arguments[0], grid))


def _sort(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    vector = evaluator.vector(call.arguments[0], grid)
    if grid.steps != 1 or not len(vector):
        yield vector
        return
    values = vector.values[:, 0]
    keys = np.where(np.isnan(values), 0.0, -values if call.name == "sort_desc" else values)
    # NaN is last in both orders.
    yield replace(vector.take(np.lexsort((keys, np.isnan(values)))), ordered=True)


def _scalar(evaluator: Evaluator, call: Call, grid: StepGrid) -> Floats:
    found, values = np.zeros(grid.steps, np.intp), np.full(grid.steps, np.nan)
    for block in evaluator.blocks(call.arguments[0], grid):
        found += block.present.sum(axis=0)
        for row, here in zip(block.values, block.present, strict=True):
            values[here] = row[here]
    return np.where(found == 1, values, np.nan)


def _time(evaluator: Evaluator, call: Call, grid: StepGrid) -> Floats:
    return grid.times / 1000


def _pi(evaluator: Evaluator, call: Call, grid: StepGrid) -> Floats:
    return np.full(grid.steps, np.pi)


FUNCTIONS: Final[dict[str, Function]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    "sort": _sort,
    "sort_desc": _sort,
    "timestamp": _timestamp,
    "vector": _vector,
}
"""The functions over vectors, by name."""

SCALARS: Final[dict[str, ScalarFunction]] = {"pi": _pi, "scalar": _scalar, "time": _time}
"""The functions that return a scalar, by name."""
