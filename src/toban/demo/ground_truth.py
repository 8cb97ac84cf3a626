"""The customers' own books: what they asked, and how it ended. toban's numbers are held against them."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

PLACED: Final = ("PaymentAuthorized", "PaymentSettled")


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that was placed. Amounts are as the shop keeps them: whole numbers of the smallest unit."""

    code: str
    channel: str
    """`default` or `b2b`."""

    currency: str
    net: int
    """With shipping, without tax."""

    gross: int
    """With both."""

    state: str
    customer_type: str
    method: str
    coupon: str
    discount: int
    """What the coupon took off, net, as a positive number."""

    at: datetime
    """When the customer was told, a moment after the shop wrote it."""


@dataclass(frozen=True, slots=True)
class PaymentAttempt:
    """An attempt to pay."""

    order: str
    method: str
    state: str
    """What the shop's table says: Settled, Authorized, Declined, Error."""

    at: datetime
    """When the customer was told."""


@dataclass
class GroundTruth:
    """What all customers of one shop did. Only what was answered is in the counts, but for `unanswered`."""

    orders: list[PlacedOrder] = field(default_factory=list)
    attempts: list[PaymentAttempt] = field(default_factory=list)
    carts: list[str] = field(default_factory=list)
    """Codes of orders that were left with something in them, and without an attempt to pay."""

    requests: Counter[str] = field(default_factory=Counter)
    """By operation; a client's broken query has no operation, and is the empty one."""

    statuses: Counter[int] = field(default_factory=Counter)
    """HTTP statuses."""

    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By operation and code: answers that are errors in Vendure's schema, like PAYMENT_DECLINED_ERROR."""

    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By operation and code: requests that were answered with `errors`, by the first one's code."""

    views: Counter[str] = field(default_factory=Counter)
    """By product id."""

    searches: int = 0
    logins: int = 0
    registrations: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """By operation: nobody answered, or not in time."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By operation: how long each answer took."""

    def body(self) -> dict[str, Any]:
        """Return the orders and the attempts to pay as plain data."""
        return {"orders": [asdict(it) for it in self.orders], "attempts": [asdict(it) for it in self.attempts]}

    @property
    def unpaid(self) -> set[str]:
        """Codes of orders that somebody tried to pay for, and that were not placed."""
        return {attempt.order for attempt in self.attempts} - {order.code for order in self.orders}

    @property
    def failed_attempts(self) -> Counter[tuple[str, str]]:
        """Attempts to pay that failed, by method and state."""
        failed = [attempt for attempt in self.attempts if attempt.state in {"Declined", "Error"}]
        return Counter((attempt.method, attempt.state) for attempt in failed)

    @property
    def created(self) -> Counter[tuple[str, str]]:
        """Orders by customer type and channel."""
        return Counter((order.customer_type, order.channel) for order in self.orders)

    @property
    def revenue(self) -> Counter[tuple[str, str]]:
        """Net amounts by channel and currency, in the smallest unit."""
        sums: Counter[tuple[str, str]] = Counter()
        for order in self.orders:
            sums[order.channel, order.currency] += order.net
        return sums
