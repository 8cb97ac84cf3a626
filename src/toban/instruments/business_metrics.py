"""What the shop sells, and to whom."""

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
"""The type of a customer of whom nothing else is known."""

DEFAULT: Final = "default"
"""What Vendure's channel `__default_channel__` is called."""


MILLIONTH: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Order:
    """An order that was placed: its total in major units of its currency, and its state at that moment."""

    total: Amount
    state: str
    currency: str
    channel: str = DEFAULT
    customer_type: str = GENERAL


def money(amount: Amount) -> Decimal:
    """
    Return an amount of money as it adds up on paper: a float as it was written, to the millionth.

    What is less than nothing is nothing: a sum of money that was counted never falls.
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(amount)).quantize(MILLIONTH)
    return max(exact, Decimal(0))


def customer_type(custom_fields: Mapping[str, object] | None) -> str:
    """Return what sort of customer it is: `customerStatus` of the custom fields, else `general`."""
    status = (custom_fields or {}).get("customerStatus")
    return str(status) if status else GENERAL


class BusinessMetrics:
    """Counts orders, payments, views, rebates and campaigns."""

    def __init__(self, recorder: Recorder, budgets: CardinalityLimits) -> None:
        self._recorder = recorder
        self._budgets = budgets

    def track_order(self, order: Order) -> None:
        """Count an order that was placed."""
        fit = self._budgets.limited
        channel = fit("channel", DEFAULT if order.channel == "__default_channel__" else order.channel)
        total = money(order.total)
        self._recorder.observe(ORDER_TOTAL, total, status=fit("status", order.state))
        self._recorder.add(ORDERS_CREATED, 1, customerType=fit("customerType", order.customer_type), channel=channel)
        self._recorder.add(REVENUE, total, channel=channel, currency=fit("currency", order.currency))

    def track_failed_order(self, method: str) -> None:
        """Count an order that failed, by the method of payment that failed last."""
        self._recorder.add(ORDERS_FAILED, 1, method=self._budgets.limited("method", method))

    def track_failed_payment(self, method: str, error: str) -> None:
        """Count an attempt to pay that failed; ``error`` is a class from a fixed list (`errors.payment_error`)."""
        self._recorder.add(PAYMENTS_FAILED, 1, method=self._budgets.limited("method", method), error=error)

    def track_product_view(self, product: str, customer: str = "") -> None:
        """Count a view of a product, and the customer's activity when it is known who looked."""
        self._recorder.add(PRODUCT_VIEWS, 1, productId=self._budgets.limited("productId", product))
        if customer:
            self.track_customer_activity(customer, "product_view")

    def track_customer_activity(self, customer: str, action: str) -> None:
        """Count something that a customer did."""
        labels = {
            "customerId": self._budgets.limited("customerId", customer),
            "action": self._budgets.limited("action", action),
        }
        self._recorder.add(CUSTOMER_ACTIVITY, 1, **labels)

    def track_rebate_calculation(self, customer: str, amount: float, period: str) -> None:
        """Note a customer's rebate of a period; over budget the amount is dropped, the calculation is counted."""
        if self._budgets.admits("customerId", customer) and self._budgets.admits("period", period):
            self._recorder.set(REBATE_AMOUNT, amount, customerId=customer, period=period)
        self._recorder.add(REBATE_CALCULATIONS, 1, period=self._budgets.limited("period", period))

    def track_campaign_usage(self, campaign: str, discount: Amount) -> None:
        """Count an order that a campaign gave a discount, and how much (positive, in major units)."""
        name = self._budgets.limited("campaignId", campaign)
        self._recorder.add(CAMPAIGN_USAGE, 1, campaignId=name)
        self._recorder.observe(CAMPAIGN_DISCOUNT, money(discount), campaignId=name)
