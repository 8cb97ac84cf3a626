"""
Burn rates: how many times faster than allowed an error budget is spent.

The windows and shares are those of the SRE workbook, "Alerting on SLOs", method 6, as Sloth writes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

MIN, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

_WINDOWS: Final = ((HOUR, 5 * MIN), (6 * HOUR, 30 * MIN), (DAY, 2 * HOUR), (3 * DAY, 6 * HOUR))
"""The long and the short windows; the first two are those of the fast alert."""
_SHARES: Final = (Fraction(2, 100), Fraction(5, 100), Fraction(10, 100), Fraction(10, 100))
_SHARES_OF_A_WEEK: Final = (Fraction(8, 100), Fraction(125, 1000), Fraction(20, 100), Fraction(42, 100))
"""The shares of a budget of about a week: with those of a month each alert would come too late."""
_WEEK: Final = timedelta(days=10)
"""The period up to which a budget is one of about a week."""


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """
    An arm of a burn-rate alert: it is met while both windows burn faster than ``factor``.

    ``share`` is the part of the budget that is spent when the long window has burnt so fast. The short one ends the
    alert soon after recovery.
    """

    share: Fraction
    long: timedelta
    short: timedelta
    factor: Fraction


def budget(target: float) -> Fraction:
    """Return the share of events that may be bad: 0.005 for a target of 99.5 %."""
    return (100 - Fraction(Decimal(repr(target)))) / 100


def burn_windows(period: timedelta) -> Sequence[BurnWindow]:
    """Return the arms of both alerts for the period of a budget: two fast ones, and two slow ones."""
    shares = _SHARES_OF_A_WEEK if period <= _WEEK else _SHARES
    return [
        BurnWindow(share, long, short, share * Fraction(period // MIN, long // MIN))
        for share, (long, short) in zip(shares, _WINDOWS, strict=True)
    ]


def arms(target: float, period: timedelta, *, fast: bool) -> Sequence[BurnWindow]:
    """Return the arms of an alert that can be met: not those that would take more than all events to be bad."""
    found = burn_windows(period)[:2] if fast else burn_windows(period)[2:]
    return [it for it in found if it.factor * budget(target) < 1]


def events_for_one_failure(target: float, window: BurnWindow) -> int:
    """Return how many events the long window must have for one bad event not to exceed the factor."""
    return math.ceil(1 / (window.factor * budget(target)))
