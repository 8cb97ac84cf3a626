"""Series over all steps of a query: aggregation, and binary operators."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from toban.core.labels import Labels
from toban.logs.logql.operators import COMPARISONS, apply
from toban.logs.logql.syntax_tree import Grouping
from toban.logs.logql.windows import Flags, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The values of a series, one for each step, and which of them exist."""

    values: Floats
    present: Flags


Vector: TypeAlias = Mapping[Labels, Points]
"""Series by their labels."""


def group(labels: Labels, grouping: Grouping) -> Labels:
    """Return the labels of the group to which a series belongs."""
    return labels.drop(*grouping.labels) if grouping.without else labels.keep(*grouping.labels)


def aggregate(vector: Vector, operator: str, grouping: Grouping, parameter: int = 0) -> Vector:
    """Return the aggregation of each group of series."""
    groups: dict[Labels, list[Labels]] = {}
    for labels in vector:
        groups.setdefault(group(labels, grouping), []).append(labels)
    if operator in {"topk", "bottomk"}:
        sign = -1 if operator == "topk" else 1
        return {
            labels: points
            for members in groups.values()
            for labels, points in _extremes(vector, members, sign, parameter).items()
            if points.present.any()
        }
    function = _AGGREGATIONS[operator]
    result = {}
    for labels, members in groups.items():
        values, present = _stacked(vector, members)
        exists: Flags = np.logical_or.reduce(present, axis=0)
        result[labels] = Points(function(values, present), exists)
    return result


def _stacked(vector: Vector, members: Iterable[Labels]) -> tuple[Floats, Flags]:
    """Return the values and their presence as arrays of shape (series, steps)."""
    points = [vector[labels] for labels in members]
    return np.stack([it.values for it in points]), np.stack([it.present for it in points])


def _extremes(vector: Vector, members: list[Labels], sign: int, count: int) -> Vector:
    """Return the series of a group with only their values that are among the first in order."""
    values, present = _stacked(vector, members)
    order = np.argsort(np.where(present & ~np.isnan(values), sign * values, np.inf), axis=0, kind="stable")
    chosen = np.zeros_like(present)
    np.put_along_axis(chosen, order[:count], True, axis=0)
    return {labels: Points(values[place], chosen[place] & present[place]) for place, labels in enumerate(members)}


def _sum(values: Floats, present: Flags) -> Floats:
    sums: Floats = np.where(present, values, 0.0).sum(axis=0)
    return sums


def _count(values: Floats, present: Flags) -> Floats:
    counts: Floats = present.sum(axis=0).astype(np.float64)
    return counts


def _avg(values: Floats, present: Flags) -> Floats:
    return _sum(values, present) / np.maximum(_count(values, present), 1)


def _min(values: Floats, present: Flags) -> Floats:
    smallest: Floats = np.where(present, values, np.inf).min(axis=0)
    return smallest


def _max(values: Floats, present: Flags) -> Floats:
    return -_min(-values, present)


def _stdvar(values: Floats, present: Flags) -> Floats:
    return _avg((values - _avg(values, present)) ** 2, present)


def _stddev(values: Floats, present: Flags) -> Floats:
    deviations: Floats = np.sqrt(_stdvar(values, present))
    return deviations


_AGGREGATIONS: Final[dict[str, Callable[[Floats, Flags], Floats]]] = {
    "sum": _sum,
    "count": _count,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "stdvar": _stdvar,
    "stddev": _stddev,
}


def combine(operator: str, left: Vector, right: Vector, *, returns_bool: bool) -> Vector:
    """Return the result of a binary operator between series of equal labels."""
    if operator == "or":
        return _union(left, right)
    if operator in {"and", "unless"}:
        return _filtered(left, right, is_kept=operator == "and")
    return {
        labels: _results(operator, left[labels], left[labels].values, right[labels].values, returns_bool=returns_bool,
                         present=left[labels].present & right[labels].present)
        for labels in left
        if labels in right
    }  # fmt: skip


def combine_number(operator: str, vector: Vector, number: float, *, is_left: bool, returns_bool: bool) -> Vector:
    """Return the result of a binary operator between series and a number, which is on the left side or on the right."""
    constant = np.float64(number)
    return {
        labels: _results(
            operator,
            points,
            constant if is_left else points.values,
            points.values if is_left else constant,
            returns_bool=returns_bool,
            present=points.present,
        )
        for labels, points in vector.items()
    }


def _results(operator: str, kept: Points, left: Any, right: Any, *, returns_bool: bool, present: Flags) -> Points:
    """Return results; a comparison without ``bool`` keeps the values for which it holds."""
    results = apply(operator, left, right)
    if operator not in COMPARISONS:
        return Points(results, present)
    if returns_bool:
        return Points(results.astype(np.float64), present)
    return Points(kept.values, present & results)


def _union(left: Vector, right: Vector) -> Vector:
    result = dict(left)
    for labels, points in right.items():
        if labels in left:
            own = left[labels]
            points = Points(np.where(own.present, own.values, points.values), own.present | points.present)
        result[labels] = points
    return result


def _filtered(left: Vector, right: Vector, *, is_kept: bool) -> Vector:
    result = {}
    for labels, points in left.items():
        other = right[labels].present if labels in right else np.zeros_like(points.present)
        result[labels] = Points(points.values, points.present & (other if is_kept else ~other))
    return result
