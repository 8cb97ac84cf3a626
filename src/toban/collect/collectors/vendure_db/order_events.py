"""Orders, failed payments and failed orders, and which of the latter follow from which rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import orjson

from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.core.ports import Recorder
from toban.instruments.business_metrics import BusinessMetrics, Order
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.metric_families import (
    CAMPAIGN_DISCOUNT,
    CAMPAIGN_USAGE,
    ORDER_TOTAL,
    ORDERS_CREATED,
    ORDERS_FAILED,
    PAYMENTS_FAILED,
    REVENUE,
)

ORDERS: Final = (ORDER_TOTAL, ORDERS_CREATED, REVENUE, CAMPAIGN_USAGE, CAMPAIGN_DISCOUNT)
PAYMENTS: Final = (PAYMENTS_FAILED, ORDERS_FAILED)

FAILS_AFTER: Final = timedelta(minutes=15)
"""An order that isn't placed so long after a failed payment attempt has failed."""

GRACE: Final = timedelta(minutes=1)
"""Time until that is decided: an order may become visible a little after it was placed."""


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A placed order, and its discounts by campaign, in major units."""

    id: str
    at: datetime
    order: Order
    discounts: Mapping[str, Decimal] = field(default_factory=dict)

    def count(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        """Add it to the counters."""
        business = BusinessMetrics(recorder, limits)
        business.track_order(self.order)
        for campaign, discount in self.discounts.items():
            business.track_campaign_usage(campaign, discount)


@dataclass(frozen=True, slots=True)
class FailedPayment:
    """A failed payment attempt; ``order`` is the order's code, ``error`` a class."""

    id: str
    at: datetime
    order: str
    method: str
    error: str

    def count(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        """Add it to the counters."""
        BusinessMetrics(recorder, limits).track_failed_payment(self.method, self.error)


@dataclass(frozen=True, slots=True)
class FailedOrder:
    """A failed order (its code), with the payment method that failed last."""

    id: str
    at: datetime
    method: str

    def count(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        """Add it to the counters."""
        BusinessMetrics(recorder, limits).track_failed_order(self.method)


def newest_attempts(known: Mapping[str, FailedAttempt], payments: Iterable[FailedPayment]) -> dict[str, FailedAttempt]:
    """Return the newest failed attempt for each order."""
    newest = dict(known)
    for payment in payments:
        before = newest.get(payment.order)
        if payment.order and (before is None or before.at < payment.at):
            newest[payment.order] = FailedAttempt(payment.order, payment.method, payment.at)
    return newest


def decide_failures(
    attempts: Iterable[FailedAttempt], placed: Mapping[str, datetime | None], until: datetime
) -> tuple[list[FailedOrder], list[str]]:
    """
    Return the orders that have failed by ``until``, and those whose attempts are settled because they were placed.

    ``placed`` has the time at which each order that was looked up was placed, if it was; the others wait. One that is
    placed later than a quarter of an hour after its last failed attempt has failed all the same: its customer left
    and came back.
    """
    failures, settled = [], []
    for attempt in attempts:
        if attempt.order not in placed:
            continue
        due, at = attempt.at + FAILS_AFTER, placed[attempt.order]
        if at is not None and at <= due:
            settled.append(attempt.order)
        elif due + GRACE <= until:
            failures.append(FailedOrder(attempt.order, due, attempt.method))
    return failures, settled


def discounts(
    campaigns: Iterable[tuple[str, str]], lines: Iterable[tuple[str, str, str, bool]], unit: int, *, gross: bool
) -> dict[str, dict[str, Decimal]]:
    """
    Return the discount of each campaign on each order, in major units, as a positive amount.

    ``campaigns`` are pairs of order and promotion; ``lines`` an order, its line's adjustments and tax rates as
    Vendure writes them (JSON; amounts are of the whole line, and negative), and whether these amounts include tax.
    """
    found: dict[str, dict[str, Decimal]] = {}
    for order, promotion in campaigns:
        found.setdefault(order, {})[promotion] = Decimal(0)
    for order, adjustments, taxes, with_tax in lines:
        factor = 1 + sum(float(tax.get("taxRate", 0)) for tax in _parsed(taxes)) / 100
        for adjustment in _parsed(adjustments):
            source, _, promotion = str(adjustment.get("adjustmentSource", "")).partition(":")
            if source == "PROMOTION" and promotion in found.get(order, {}):
                amount = -float(adjustment.get("amount", 0))
                if with_tax and not gross:
                    amount = round(amount / factor)
                elif gross and not with_tax:
                    amount = round(amount * factor)
                found[order][promotion] += Decimal(repr(amount)) / unit
    return found


def _parsed(text: str) -> list[dict[str, float]]:
    """Return the objects in a JSON list; invalid JSON has none."""
    try:
        found = orjson.loads(text or "[]")
    except ValueError:
        return []
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
