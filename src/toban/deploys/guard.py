"""The deploy guard: compares the time after a deploy with the time before. Pure: numbers in, findings out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ERRORS_MORE: Final = 0.02
"""By how much the share of failed requests may rise."""
SLOWER: Final = 1.5
"""By which factor the 95th percentile may rise."""
SLOW_FROM: Final = 0.3
"""Seconds below which a 95th percentile is not slow, whatever it was before."""
FEWER_ORDERS: Final = 0.5
"""To which share of before, beyond what is usual at this hour, orders may fall."""
LEAST_REQUESTS: Final = 50
LEAST_ORDERS: Final = 5
"""Requests and orders without which nothing is claimed."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the shop did in a time: requests and their errors, the 95th percentile in seconds, orders."""

    requests: float = 0.0
    errors: float = 0.0
    p95: float | None = None
    orders: float | None = None

    @property
    def error_share(self) -> float:
        """The share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


class Aspect(StrEnum):
    """What became worse."""

    ERRORS = "errors"
    LATENCY = "latency"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Regression:
    """What became worse after a deploy: the values before and after."""

    aspect: Aspect
    before: float
    after: float

    @property
    def text(self) -> str:
        """It in a sentence."""
        if self.aspect is Aspect.ERRORS:
            return f"{self.after:.1%} of requests fail, {self.before:.1%} before"
        if self.aspect is Aspect.LATENCY:
            return f"the 95th percentile is {self.after:.2f} s, {self.before:.2f} s before"
        return f"{self.after:.0f} orders, where {self.before:.0f} are expected"


def regressions(before: Traffic, after: Traffic, usual_change: float | None) -> Sequence[Regression]:
    """
    Return what became worse.

    ``usual_change`` is by which factor orders change at this hour in other weeks: the evening has fewer than noon.
    """
    found = []
    if min(before.requests, after.requests) >= LEAST_REQUESTS:
        if after.error_share - before.error_share > ERRORS_MORE:
            found.append(Regression(Aspect.ERRORS, before.error_share, after.error_share))
        if before.p95 and after.p95 and after.p95 > max(before.p95 * SLOWER, SLOW_FROM):
            found.append(Regression(Aspect.LATENCY, before.p95, after.p95))
    if before.orders is not None and after.orders is not None and usual_change is not None:
        expected = before.orders * usual_change
        if expected >= LEAST_ORDERS and after.orders < expected * FEWER_ORDERS:
            found.append(Regression(Aspect.ORDERS, expected, after.orders))
    return found
