"""The ground truth of generated traffic: requests and their outcomes, to compare toban's metrics with."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

PLACED: Final = ("PaymentAuthorized", "PaymentSettled")
FAILED: Final = ("Declined", "Error")


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A placed order. Amounts are integers in the minor unit, as the shop stores them."""

    code: str
    channel: str
    """`default` or `b2b`."""

    currency: str
    net: int
    """Including shipping, excluding tax."""

    gross: int
    """Including shipping and tax."""

    state: str
    customer_type: str
    method: str
    coupon: str
    discount: int
    """The coupon's discount, net, as a positive number."""

    at: datetime
    """When the customer got the response, a moment after the shop stored the order."""


@dataclass(frozen=True, slots=True)
class PaymentAttempt:
    """A payment attempt."""

    order: str
    method: str
    state: str
    """The state in the shop's table: Settled, Authorized, Declined, Error."""

    at: datetime
    """When the customer got the response."""


@dataclass
class GroundTruth:
    """What all customers of one shop did. Requests without a response count in `failed_requests` only."""

    orders: list[PlacedOrder] = field(default_factory=list)
    attempts: list[PaymentAttempt] = field(default_factory=list)
    carts: list[str] = field(default_factory=list)
    """Codes of carts that were abandoned before a payment attempt."""

    requests: Counter[str] = field(default_factory=Counter)
    """By operation; an invalid query has none, and counts under the empty one."""

    statuses: Counter[int] = field(default_factory=Counter)
    """HTTP statuses."""

    error_results: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By operation and code: responses with an ErrorResult, like PAYMENT_DECLINED_ERROR."""

    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By operation and the first error's code: responses with `errors`."""

    views: Counter[str] = field(default_factory=Counter)
    """By product id."""

    searches: int = 0
    logins: int = 0
    registrations: int = 0
    failed_requests: Counter[str] = field(default_factory=Counter)
    """By operation: requests without a response in time."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By operation: the duration of each request."""

    @property
    def logged(self) -> Counter[str]:
        """The messages that the shop has logged, if it logs them (`store/logs.js`)."""
        placed = Counter(f"Order {order.code} was placed" for order in self.orders)
        failed = [attempt for attempt in self.attempts if attempt.state in FAILED]
        return placed + Counter(f"A payment of order {attempt.order} has failed" for attempt in failed)

    def body(self) -> dict[str, Any]:
        """Return the orders, the payment attempts and the log lines about them as plain data."""
        return {
            "orders": [asdict(it) for it in self.orders],
            "attempts": [asdict(it) for it in self.attempts],
            "logged": self.logged,
        }

    @property
    def unpaid(self) -> set[str]:
        """Codes of orders with payment attempts that were not placed."""
        return {attempt.order for attempt in self.attempts} - {order.code for order in self.orders}

    @property
    def failed_attempts(self) -> Counter[tuple[str, str]]:
        """Failed payment attempts, by method and state."""
        failed = [attempt for attempt in self.attempts if attempt.state in FAILED]
        return Counter((attempt.method, attempt.state) for attempt in failed)

    @property
    def created(self) -> Counter[tuple[str, str]]:
        """Orders by customer type and channel."""
        return Counter((order.customer_type, order.channel) for order in self.orders)

    @property
    def revenue(self) -> Counter[tuple[str, str]]:
        """Net amounts by channel and currency, in the minor unit."""
        sums: Counter[tuple[str, str]] = Counter()
        for order in self.orders:
            sums[order.channel, order.currency] += order.net
        return sums
