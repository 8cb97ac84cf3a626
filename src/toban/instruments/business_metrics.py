"""Counts what the shop sells."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from toban.core.ports import Recorder
from toban.core.samples import Amount
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.metric_families import (
    CAMPAIGN_DISCOUNT,
    CAMPAIGN_USAGE,
    CUSTOMER_ACTIVITY,
    ORDER_TOTAL,
    ORDERS_CREATED,
    ORDERS_FAILED,
    PAYMENTS_FAILED,
    PRODUCT_VIEWS,
    REBATE_AMOUNT,
    REBATE_CALCULATIONS,
    REVENUE,
)

GENERAL: Final = "general"
"""The type of customers without one."""

DEFAULT: Final = "default"
"""The label value of Vendure's channel `__default_channel__`."""


MILLIONTH: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Order:
    """A placed order: its total in major units of its currency, and its state at that moment."""

    total: Amount
    state: str
    currency: str
    channel: str = DEFAULT
    customer_type: str = GENERAL


def money(amount: Amount) -> Decimal:
    """
    Return an amount of money as an exact decimal: a float as it was written, to the millionth.

    A negative amount is zero: a counter of money never falls.
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(amount)).quantize(MILLIONTH)
    return max(exact, Decimal(0))


def customer_type(custom_fields: Mapping[str, object] | None) -> str:
    """Return the type of a customer: `customerStatus` of the custom fields, else `general`."""
    status = (custom_fields or {}).get("customerStatus")
    return str(status) if status else GENERAL


class BusinessMetrics:
    """Counts orders, payments, views, rebates and campaigns."""

    def __init__(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        self._recorder = recorder
        self._limits = limits

    def track_order(self, order: Order) -> None:
        """Count a placed order."""
        limited = self._limits.limited
        channel = limited("channel", DEFAULT if order.channel == "__default_channel__" else order.channel)
        total = money(order.total)
        self._recorder.observe(ORDER_TOTAL, total, status=limited("status", order.state))
        self._recorder.add(
            ORDERS_CREATED, 1, customerType=limited("customerType", order.customer_type), channel=channel
        )
        self._recorder.add(REVENUE, total, channel=channel, currency=limited("currency", order.currency))

    def track_failed_order(self, method: str) -> None:
        """Count a failed order, by the payment method that failed last."""
        self._recorder.add(ORDERS_FAILED, 1, method=self._limits.limited("method", method))

    def track_failed_payment(self, method: str, error: str) -> None:
        """Count a failed payment attempt; ``error`` is a class from a fixed list (`error_classes.payment_error`)."""
        self._recorder.add(PAYMENTS_FAILED, 1, method=self._limits.limited("method", method), error=error)

    def track_product_view(self, product: str, customer: str = "") -> None:
        """Count a view of a product, and the activity of the customer where that is known."""
        self._recorder.add(PRODUCT_VIEWS, 1, productId=self._limits.limited("productId", product))
        if customer:
            self.track_customer_activity(customer, "product_view")

    def track_customer_activity(self, customer: str, action: str) -> None:
        """Count an action of a customer."""
        labels = {
            "customerId": self._limits.limited("customerId", customer),
            "action": self._limits.limited("action", action),
        }
        self._recorder.add(CUSTOMER_ACTIVITY, 1, **labels)

    def track_rebate_calculation(self, customer: str, amount: float, period: str) -> None:
        """Record a customer's rebate of a period; over the limit the amount is dropped, the calculation is counted."""
        if self._limits.admits("customerId", customer) and self._limits.admits("period", period):
            self._recorder.set(REBATE_AMOUNT, amount, customerId=customer, period=period)
        self._recorder.add(REBATE_CALCULATIONS, 1, period=self._limits.limited("period", period))

    def track_campaign_usage(self, campaign: str, discount: Amount) -> None:
        """Count an order with a campaign's discount, and the discount (positive, in major units)."""
        name = self._limits.limited("campaignId", campaign)
        self._recorder.add(CAMPAIGN_USAGE, 1, campaignId=name)
        self._recorder.observe(CAMPAIGN_DISCOUNT, money(discount), campaignId=name)
