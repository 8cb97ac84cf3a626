"""Binary operators: arithmetic, comparisons, and set operators, with vector matching."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np

from toban.core.errors import QueryError
from toban.core.labels import NAME, Labels, quote
from toban.core.query_result import ResultType
from toban.promql.evaluator_protocol import Evaluator
from toban.promql.syntax_tree import BinaryExpression, Matching, result_type_of
from toban.promql.vectors import Bools, Floats, Index, InstantVector, StepGrid, merged

Signature: TypeAlias = tuple[object, ...]

ARITHMETIC: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
"""Operators whose result is a new value without a metric name."""

COMPARISONS: Final[dict[str, Callable[[Floats, Floats], Bools]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
"""Operators that filter series, or return 0 or 1 with ``bool``."""

_SETS = frozenset({"and", "or", "unless"})


def scalars(evaluator: Evaluator, node: BinaryExpression, grid: StepGrid) -> Floats:
    """Evaluate an operator between two scalars."""
    left, right = evaluator.scalars(node.left, grid), evaluator.scalars(node.right, grid)
    if node.operator in ARITHMETIC:
        return ARITHMETIC[node.operator](left, right)
    return COMPARISONS[node.operator](left, right).astype(np.float64)


def vectors(evaluator: Evaluator, node: BinaryExpression, grid: StepGrid) -> Iterator[InstantVector]:
    """Evaluate an operator with a vector on at least one side."""
    if result_type_of(node.right) is ResultType.SCALAR:
        return _with_scalar(evaluator, node, grid, scalar_first=False)
    if result_type_of(node.left) is ResultType.SCALAR:
        return _with_scalar(evaluator, node, grid, scalar_first=True)
    return iter([_between(evaluator, node, grid)])


def _with_scalar(
    evaluator: Evaluator, node: BinaryExpression, grid: StepGrid, *, scalar_first: bool
) -> Iterator[InstantVector]:
    side, other = (node.right, node.left) if scalar_first else (node.left, node.right)
    scalar = evaluator.scalars(other, grid)
    for block in evaluator.blocks(side, grid):
        left, right = (scalar, block.values) if scalar_first else (block.values, scalar)
        if node.operator in ARITHMETIC:
            yield block.unnamed(ARITHMETIC[node.operator](left, right))
            continue
        kept = COMPARISONS[node.operator](left, right)
        if node.bool:
            yield block.unnamed(kept.astype(np.float64))
        else:
            yield block.only(block.present & kept)


def _between(evaluator: Evaluator, node: BinaryExpression, grid: StepGrid) -> InstantVector:
    left, right = evaluator.vector(node.left, grid), evaluator.vector(node.right, grid)
    if node.operator in _SETS:
        return _set(node, left, right)
    return merged(_matched(node, left, right))


def signature(labels: Labels, matching: Matching) -> Signature:
    """Return the labels that must be equal for two series to match."""
    if matching.on:
        return tuple([labels.get(name) for name in matching.labels])
    ignored = matching.labels
    return tuple([pair for pair in labels.items() if pair[0] != NAME and pair[0] not in ignored])


def _signatures(matching: Matching, *sides: InstantVector) -> tuple[list[Index], int]:
    """Number the signatures of both sides: one number for each series, and how many there are."""
    numbers: dict[Signature, int] = {}
    found = [
        np.array([numbers.setdefault(signature(labels, matching), len(numbers)) for labels in side.series], np.intp)
        for side in sides
    ]
    return found, len(numbers)


def _set(node: BinaryExpression, left: InstantVector, right: InstantVector) -> InstantVector:
    (of_left, of_right), count = _signatures(node.matching, left, right)
    other, of_other = (left, of_left) if node.operator == "or" else (right, of_right)
    there = np.zeros((count, left.values.shape[1]), np.bool_)
    np.logical_or.at(there, of_other, other.present)
    if node.operator == "and":
        return left.only(left.present & there[of_left])
    if node.operator == "unless":
        return left.only(left.present & ~there[of_left])
    return merged(
        InstantVector(
            left.series + right.series,
            np.concatenate([left.values, right.values]),
            np.concatenate([left.present, right.present & ~there[of_right]]),
            np.concatenate([left.nameless, right.nameless]),
        )
    )


def _matched(node: BinaryExpression, left: InstantVector, right: InstantVector) -> InstantVector:
    matching = node.matching
    swapped = matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    (of_many, of_one), count = _signatures(matching, many, one)
    _refuse_duplicates(matching, many, one, of_one, count)

    by_signature: list[list[int]] = [[] for _ in range(count)]
    for row, number in enumerate(of_one.tolist()):
        by_signature[number].append(row)
    pairs = [(row, match) for row, number in enumerate(of_many.tolist()) for match in by_signature[number]]
    rows = np.array([row for row, _ in pairs], np.intp)
    matches = np.array([match for _, match in pairs], np.intp)

    present = many.present[rows] & one.present[matches]
    series = tuple(_labels(node, many.series[row], one.series[match]) for row, match in pairs)
    sides = many.values[rows], one.values[matches]
    here, there = sides[::-1] if swapped else sides
    if node.operator in ARITHMETIC:
        values = ARITHMETIC[node.operator](here, there)
    else:
        kept = COMPARISONS[node.operator](here, there)
        values = kept.astype(np.float64) if node.bool else here
        # A pair that the comparison filters out is no second match.
        present = present if node.bool else present & kept
    _refuse_ambiguity(matching, of_many[rows], series, present)
    return InstantVector(series, values, present, many.nameless[rows] | node.bool)


def _labels(node: BinaryExpression, many: Labels, one: Labels) -> Labels:
    """Return the labels of the result of a pair."""
    matching = node.matching
    labels = dict(many)
    if node.operator in ARITHMETIC:
        labels.pop(NAME, None)
    if not matching.many:
        if matching.on:
            labels = {name: value for name, value in labels.items() if name in matching.labels}
        else:
            labels = {name: value for name, value in labels.items() if name not in matching.labels}
    for name in matching.include:
        labels[name] = one.get(name, "")
    return Labels(labels)


def _refuse_duplicates(matching: Matching, many: InstantVector, one: InstantVector, of_one: Index, count: int) -> None:
    """Raise ``QueryError`` for two series with the same signature at a step, on the side that may have only one."""
    if len(np.unique(of_one)) == len(one):
        return
    seen = np.full((count, one.present.shape[1]), -1)
    # At steps where one side is empty, Prometheus does not check the other.
    checked = many.present.any(axis=0)
    for row, number in enumerate(of_one.tolist()):
        here = one.present[row] & checked
        twice = here & (seen[number] >= 0)
        if twice.any():
            first = one.series[int(seen[number][twice][0])]
            second = one.series[row]
            shared = _shared(second, matching)
            raise QueryError(
                f"found duplicate series for the match group {shared} on the "
                f"{'left' if matching.many == 'right' else 'right'} hand-side of the operation: "
                f"[{', '.join(sorted([_in_full(first), _in_full(second)]))}]"
                ";many-to-many matching not allowed: matching labels must be unique on one side"
            )
        seen[number][here] = row


def _shared(labels: Labels, matching: Matching) -> str:
    kept = labels.keep(*matching.labels) if matching.on else labels.drop(NAME, *matching.labels)
    return _in_full(kept)


def _in_full(labels: Labels) -> str:
    """Format labels with ``__name__`` among them, as Prometheus does in its errors."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in labels.items()) + "}"


def _refuse_ambiguity(matching: Matching, numbers: Index, series: tuple[Labels, ...], present: Bools) -> None:
    """Raise ``QueryError`` for two results with a signature at a step; with grouping only if their labels are equal."""
    occupied: dict[object, Bools] = {}
    for row, number in enumerate(numbers.tolist()):
        key = (number, series[row]) if matching.many else number
        before = occupied.get(key)
        occupied[key] = present[row] if before is None else before | present[row]
        if before is not None and (before & present[row]).any():
            if matching.many:
                raise QueryError("multiple matches for labels: grouping labels must ensure unique matches")
            raise QueryError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
