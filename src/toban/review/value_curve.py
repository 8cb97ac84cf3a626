"""The worst value of a rule over time, in as few points as a chart shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import milliseconds

POINTS: Final = 540
"""Of 90 days each is four hours."""
MOST_MARKS: Final = 500
"""How many firings are marked, the newest."""


@dataclass(frozen=True, slots=True)
class ValueCurve:
    """
    The worst value of each part of a time, None where there is none, with the times at which the rule fired.

    ``begins`` and ``step`` are milliseconds. ``kept`` and ``saved`` are the times of firings that would still have
    been, and of those that would not.
    """

    begins: int
    step: int
    values: tuple[float | None, ...]
    kept: tuple[datetime, ...] = ()
    saved: tuple[datetime, ...] = ()


def value_curve(
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    begins: datetime,
    ends: datetime,
    *,
    lowest: bool,
    kept: Sequence[datetime] = (),
    saved: Sequence[datetime] = (),
) -> ValueCurve:
    """Return the curve of values at some times (milliseconds); with ``lowest`` the worst is the lowest of a part."""
    first, last = milliseconds(begins), milliseconds(ends)
    step = max(1, -(-(last - first) // POINTS))
    parts = np.clip((times - first) // step, 0, POINTS - 1)
    worst = np.full(POINTS, np.inf if lowest else -np.inf)
    (np.minimum if lowest else np.maximum).at(worst, parts, values)
    found = tuple(float(f"{it:.6g}") if np.isfinite(it) else None for it in worst.tolist())
    return ValueCurve(first, step, found, tuple(kept[-MOST_MARKS:]), tuple(saved[-MOST_MARKS:]))
