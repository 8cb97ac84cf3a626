"""What is left of an error budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.samples import moment
from toban.review.metric_families import SHORTEST
from toban.review.service_level import ServiceLevel

STEP: Final = SHORTEST
"""The resolution of a budget: the shortest window, so that each event is counted once."""

Span = tuple[datetime, datetime]
Values = NDArray[np.float64]


class BudgetState(StrEnum):
    """What a budget allows, by the policy of the SRE workbook."""

    NO_DATA = "no data"
    FREE = "free"
    """More than half is left: changes may be made as usual."""
    CAREFUL = "careful"
    """Less than half is left."""
    SPENT = "spent"
    """Nothing is left: only repairs, and what makes the shop more reliable, until there is some again."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Events and bad events at each step of a period; NaN where none were recorded. Steps end at ``times``."""

    times: NDArray[np.int64]
    total: Values
    bad: Values
    observed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """
    The error budget of a service level over its period.

    ``ratio`` is the share of bad events, ``outside_planned`` that without planned windows, ``left`` the share of the
    budget that is left: negative when it is overspent. ``burn`` is how many times faster than allowed it was spent in
    the last hour, ``lasts`` how long it lasts at this rate. ``blind`` is for how long nothing was observed since
    ``since``. None is what is not known.
    """

    level: ServiceLevel
    since: datetime | None
    events: float
    bad: float
    ratio: float | None
    outside_planned: float | None
    left: float | None
    burn: float | None
    lasts: timedelta | None
    blind: timedelta
    planned: timedelta
    error: str = ""
    """Why it could not be read."""

    @property
    def state(self) -> BudgetState:
        """What it allows."""
        if self.left is None:
            return BudgetState.NO_DATA
        if self.left <= 0:
            return BudgetState.SPENT
        return BudgetState.FREE if self.left > 0.5 else BudgetState.CAREFUL


def unknown_budget(level: ServiceLevel, error: str) -> ErrorBudget:
    """Return a budget that could not be read."""
    nothing = timedelta()
    return ErrorBudget(level, None, 0.0, 0.0, None, None, None, None, None, nothing, nothing, error)


def error_budget(
    level: ServiceLevel, counts: Counts, planned: Sequence[Span], last_hour: float | None, now: datetime
) -> ErrorBudget:
    """Return a budget from the counts of its period; ``last_hour`` is the share of bad events of the last hour."""
    budget, period = float(level.budget), level.settings.period
    seen = np.flatnonzero(counts.observed)
    since = moment(int(counts.times[seen[0]])) - STEP if len(seen) else None
    blind = STEP * int(np.count_nonzero(~counts.observed[seen[0] :])) if len(seen) else timedelta()
    in_window = _inside(counts.times, planned)
    total, bad = np.nan_to_num(counts.total), np.nan_to_num(counts.bad)
    ratio = _ratio(bad, total)
    left = None if ratio is None else 1 - ratio / budget
    burn = None if last_hour is None or np.isnan(last_hour) else last_hour / budget
    lasts = None
    if burn and left is not None:
        lasts = min(timedelta(days=10_000), period * max(0.0, left) / burn)
    return ErrorBudget(
        level,
        since,
        float(total.sum()),
        float(bad.sum()),
        ratio,
        _ratio(bad[~in_window], total[~in_window]),
        left,
        burn,
        lasts,
        blind,
        _length(planned, now - period, now),
    )


def _ratio(bad: Values, total: Values) -> float | None:
    events = float(total.sum())
    return min(1.0, max(0.0, float(bad.sum()) / events)) if events > 0 else None


def _inside(times: NDArray[np.int64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Return which steps touch one of some spans."""
    found, step = np.zeros(len(times), bool), STEP / timedelta(milliseconds=1)
    for begins, ends in spans:
        found |= (times > begins.timestamp() * 1000) & (times - step < ends.timestamp() * 1000)
    return found


def _length(spans: Sequence[Span], begins: datetime, ends: datetime) -> timedelta:
    """Return for how long any of some spans, in order of their beginnings, was between two times."""
    covered, until = timedelta(), begins
    for first, last in sorted(spans):
        first, last = max(first, until), min(last, ends)
        if last > first:
            covered, until = covered + (last - first), last
    return covered
