"""What happened in the shop, in order: pure decisions over what its tables said."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from toban.collect.book import Attempt
from toban.instruments.business import BusinessMetrics, Order

FAILS_AFTER: Final = timedelta(minutes=15)
"""An order that isn't placed so long after a failed attempt to pay has failed."""

MARGIN: Final = timedelta(hours=1)
"""How far back is read again: an order may become visible later than its own time says."""

FINE: Final = timedelta(minutes=1)
"""The steps in which what happened within the newest day is told."""

COARSE: Final = timedelta(minutes=5)
"""The steps in which what is older is told."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that was placed, and what campaigns took off it, in major units."""

    id: str
    at: datetime
    order: Order
    discounts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Payment:
    """An attempt to pay that failed; ``order`` is the order's code, ``error`` a class."""

    id: str
    at: datetime
    order: str
    method: str
    error: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An order that failed, by the method that failed last."""

    order: str
    at: datetime
    method: str


Event = Placed | Payment | Failure


def tell(business: BusinessMetrics, event: Event) -> None:
    """Count one thing that happened."""
    if isinstance(event, Placed):
        business.track_order(event.order)
        for campaign, discount in event.discounts.items():
            business.track_campaign_usage(campaign, discount)
    elif isinstance(event, Payment):
        business.track_failed_payment(event.method, event.error)
    else:
        business.track_failed_order(event.method)


def newest_attempts(known: Mapping[str, Attempt], payments: Iterable[Payment]) -> dict[str, Attempt]:
    """Return the newest failed attempt for each order."""
    newest = dict(known)
    for payment in payments:
        before = newest.get(payment.order)
        if before is None or before.at < payment.at:
            newest[payment.order] = Attempt(payment.order, payment.method, payment.at)
    return newest


def decided(
    attempts: Iterable[Attempt], placed: Mapping[str, datetime], until: datetime
) -> tuple[list[Failure], list[str]]:
    """
    Return the orders that have failed by ``until``, and all whose end is known.

    ``placed`` holds when those of the orders were placed that were. One that is placed later than a quarter of an
    hour after its last failed attempt has failed all the same: its customer went away and came back.
    """
    failures, ended = [], []
    for attempt in attempts:
        due, at = attempt.at + FAILS_AFTER, placed.get(attempt.order)
        if at is not None and at <= due:
            ended.append(attempt.order)
        elif due <= until:
            failures.append(Failure(attempt.order, due, attempt.method))
            ended.append(attempt.order)
    return failures, ended


def steps(since: datetime, until: datetime, now: datetime) -> list[datetime]:
    """Return the times at which what happened between two times is told; the last is ``until``."""
    found, at = [], since
    while at < until:
        at = min(at + (FINE if now - at <= timedelta(days=1) else COARSE), until)
        found.append(at)
    return found
