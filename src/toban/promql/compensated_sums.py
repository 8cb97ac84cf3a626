"""Sums and means by Neumaier's compensated summation, as Prometheus computes them."""

import math
from collections.abc import Iterable

import numpy as np

from toban.promql.vectors import Bools, Floats


def are_integers(values: Floats) -> bool:
    """Return whether these add up exactly in any order: integers whose sum a float holds exactly."""
    return bool((values == np.rint(values)).all()) and bool(np.abs(values).sum() < 2.0**53)


def compensated_add(term: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    """Do one step of Neumaier's summation: return the new total, and the digits lost so far."""
    result = total + term
    bigger = np.abs(total) >= np.abs(term)
    error = np.where(bigger, (total - result) + term, (term - result) + total)
    return result, np.where(np.isinf(result), 0.0, lost + error)


def row_sums(rows: Floats) -> Floats:
    """Return the sum of each row, added from left to right as by ``compensated_add``."""
    totals, lost = _running(rows)
    total = totals[:, -1]
    return np.where(np.isinf(total), total, total + lost)


def continue_sums(rows: Floats, total: Floats, lost: Floats) -> tuple[Floats, Floats]:
    """Do a step of ``compensated_add`` for each column of ``rows`` in turn, to totals that have a row each."""
    totals, errors = _errors(np.column_stack([total, rows]))
    errors[:, 0] = lost
    total = totals[:, -1]
    return total, np.where(np.isinf(total), 0.0, np.cumsum(errors, axis=1)[:, -1])


def row_means(rows: Floats, counts: Floats, inside: Bools | None) -> Floats:
    """Return the mean of each row, whose fillers are zero; where the sum would overflow, by ``incremental_mean``."""
    totals, lost = _running(rows)
    result = totals[:, -1] / counts + lost / counts
    for row in np.flatnonzero(np.isinf(totals).any(axis=1)):
        result[row] = incremental_mean((rows[row] if inside is None else rows[row, inside[row]]).tolist())
    return result


def _running(rows: Floats) -> tuple[Floats, Floats]:
    totals, errors = _errors(rows)
    return totals, np.cumsum(errors, axis=1)[:, -1]


def _errors(rows: Floats) -> tuple[Floats, Floats]:
    totals = np.cumsum(rows, axis=1)
    before = np.zeros(totals.shape)
    before[:, 1:] = totals[:, :-1]
    bigger = np.abs(before) >= np.abs(rows)
    return totals, np.where(bigger, (before - totals) + rows, (rows - totals) + before)


def incremental_mean(values: Iterable[float]) -> float:
    """Return a mean that is computed incrementally from where the sum would overflow."""
    total = lost = mean = 0.0
    count, incremental = 0, False
    for count, value in enumerate(values, start=1):
        if count == 1:
            total = value
            continue
        if not incremental:
            result, error = _add(value, total, lost)
            if not math.isinf(result):
                total, lost = result, error
                continue
            incremental, mean, lost = True, total / (count - 1), lost / (count - 1)
        share = (count - 1) / count
        mean, lost = _add(value / count, share * mean, share * lost)
    return mean + lost if incremental else total / count + lost / count


def _add(term: float, total: float, lost: float) -> tuple[float, float]:
    result = total + term
    if math.isinf(result):
        return result, 0.0
    if abs(total) >= abs(term):
        return result, lost + ((total - result) + term)
    return result, lost + ((term - result) + total)
