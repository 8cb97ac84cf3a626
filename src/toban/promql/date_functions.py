"""The calendar functions, in UTC: ``hour``, ``day_of_week`` and the others."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.promql.evaluator_protocol import Evaluator, Function
from toban.promql.syntax_tree import Call
from toban.promql.vectors import Floats, InstantVector, StepGrid, constant

_MAX_TIMESTAMP = float(2**53)
"""The latest timestamp in seconds: beyond it a float can't hold every second."""


def _since(moments: NDArray[np.datetime64], unit: str, whole: str) -> Floats:
    """Count the units since the year, month or day began."""
    began = moments.astype(f"datetime64[{whole}]")
    return np.asarray(moments.astype(f"datetime64[{unit}]") - began.astype(f"datetime64[{unit}]"), np.float64)


def _days_in_month(moments: NDArray[np.datetime64]) -> Floats:
    month = moments.astype("datetime64[M]")
    return np.asarray((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]"), np.float64)


_PARTS: Final[dict[str, Callable[[NDArray[np.datetime64]], Floats]]] = {
    "day_of_month": lambda moments: _since(moments, "D", "M") + 1,
    # The epoch was a Thursday.
    "day_of_week": lambda moments: np.asarray((moments.astype("datetime64[D]").astype(np.int64) + 4) % 7, np.float64),
    "day_of_year": lambda moments: _since(moments, "D", "Y") + 1,
    "days_in_month": _days_in_month,
    "hour": lambda moments: _since(moments, "h", "D"),
    "minute": lambda moments: _since(moments, "m", "h"),
    "month": lambda moments: _since(moments, "M", "Y") + 1,
    "year": lambda moments: moments.astype("datetime64[Y]").astype(np.float64) + 1970,
}


def _part(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    part = _PARTS[call.name]
    if not call.arguments:
        yield constant(part((grid.times // 1000).astype("datetime64[s]")))
        return
    for block in evaluator.blocks(call.arguments[0], grid):
        dated = np.abs(block.values) < _MAX_TIMESTAMP
        seconds = np.where(dated, block.values, 0.0).astype(np.int64)
        yield block.unnamed(np.where(dated, part(seconds.astype("datetime64[s]")), np.nan))


FUNCTIONS: Final[dict[str, Function]] = dict.fromkeys(_PARTS, _part)
"""The calendar functions, by name."""
