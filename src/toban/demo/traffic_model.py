"""Plans the visits of customers from a seed and their habits: the same seed is the same traffic."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

SEARCHES: Final = ("tea", "ink", "pen", "teapot", "notebook", "whisk", "snow boots")
SLUGS: Final = (
    *("sencha", "genmaicha", "hojicha", "matcha", "gyokuro", "barley-tea", "notebook", "fountain-pen", "ink"),
    *("brush-pen", "letter-paper", "masking-tape", "teapot", "tea-bowl", "whisk", "kettle", "chopsticks", "furoshiki"),
)
"""Products in stock."""

SOLD_OUT: Final = "pencil-box"


class PaymentOutcome(StrEnum):
    """The outcome of a payment attempt."""

    TAKEN = "taken"
    DECLINED = "declined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RegularCustomer:
    """A customer whose e-mail address the shop has."""

    email: str
    status: str = ""
    """Their `customerStatus`."""


REGULARS: Final = (
    RegularCustomer("rika@customer.example", "gold"),
    RegularCustomer("tom@customer.example", "gold"),
    RegularCustomer("ula@customer.example", "silver"),
    RegularCustomer("vic@customer.example"),
)
ACCOUNTS: Final = ("aiko@customer.example", "ben@customer.example")
PASSWORD: Final = "demo"  # noqa: S105  # of customers of the demo


@dataclass(frozen=True, slots=True)
class CustomerHabits:
    """The probability of each action of a visitor."""

    buys: float = 0.4
    abandons: float = 0.3
    """Of those who do not buy: the others put nothing into the cart."""

    declined: float = 0.1
    failed: float = 0.04
    """Of the payment attempts."""

    tries_again: float = 0.7
    """After a failed attempt."""

    wholesale: float = 0.25
    regular: float = 0.4
    coupon: float = 0.2
    invoice: float = 0.2
    logs_in: float = 0.1
    mistypes: float = 0.4
    """Of those who log in: the password."""

    registers: float = 0.03
    wants_what_is_sold_out: float = 0.05
    follows_a_dead_link: float = 0.03


BUSY: Final = CustomerHabits(buys=0.75, declined=0.2, failed=0.1, logs_in=0.04, registers=0.01)
"""Few visitors who do not buy: for tests that need orders soon."""

NOBODY_CAN_PAY: Final = CustomerHabits(declined=0, failed=1, tries_again=0.5)
"""While the payment provider is down."""


@dataclass(frozen=True, slots=True)
class PlannedVisit:
    """The actions of one visitor, in this order."""

    number: int
    wholesale: bool = False
    """Whether it is in the wholesale channel."""

    logs_in: str = ""
    mistypes: bool = False
    registers: bool = False
    searches: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    """Slugs of products."""

    dead_link: bool = False
    sold_out: bool = False
    cart: tuple[tuple[str, int, int], ...] = ()
    """Slug, number of the variant (modulo their count), quantity."""

    coupon: bool = False
    regular: RegularCustomer | None = None
    """The customer; a new one by default."""

    method: str = "card"
    payments: tuple[PaymentOutcome, ...] = field(default=())
    """Payment attempts; without one the cart is abandoned."""

    @property
    def buys(self) -> bool:
        """Whether it ends with an order."""
        return bool(self.payments) and self.payments[-1] is PaymentOutcome.TAKEN


def next_visit(random_: Random, habits: CustomerHabits, number: int) -> PlannedVisit:
    """Return the plan of the next visit."""
    buys = random_.random() < habits.buys
    takes = buys or random_.random() < habits.abandons
    views = tuple(random_.choice(SLUGS) for _ in range(random_.randint(1, 4)))
    cart = tuple((slug, random_.randrange(6), random_.randint(1, 3)) for slug in dict.fromkeys(views[-2:]))
    logs_in = not takes and random_.random() < habits.logs_in / (1 - habits.buys)
    return PlannedVisit(
        number,
        wholesale=random_.random() < habits.wholesale,
        logs_in=random_.choice(ACCOUNTS) if logs_in else "",
        mistypes=logs_in and random_.random() < habits.mistypes,
        registers=random_.random() < habits.registers,
        searches=tuple(random_.choice(SEARCHES) for _ in range(random_.randint(0, 2))),
        views=views,
        dead_link=random_.random() < habits.follows_a_dead_link,
        sold_out=random_.random() < habits.wants_what_is_sold_out,
        cart=cart if takes else (),
        coupon=random_.random() < habits.coupon,
        regular=random_.choice(REGULARS) if random_.random() < habits.regular else None,
        method="invoice" if random_.random() < habits.invoice else "card",
        payments=tuple(_payments(random_, habits)) if buys else (),
    )


def _payments(random_: Random, habits: CustomerHabits) -> Iterator[PaymentOutcome]:
    for _ in range(3):
        drawn = random_.random()
        if drawn >= habits.declined + habits.failed:
            yield PaymentOutcome.TAKEN
            return
        yield PaymentOutcome.DECLINED if drawn < habits.declined else PaymentOutcome.FAILED
        if random_.random() >= habits.tries_again:
            return


def plan_visits(seed: int, orders: int, habits: CustomerHabits = BUSY) -> tuple[PlannedVisit, ...]:
    """Return visits with exactly so many orders; the last visit ends with one."""
    random_ = Random(seed)  # noqa: S311  # the visits are to be the same each time
    visits: list[PlannedVisit] = []
    while sum(visit.buys for visit in visits) < orders:
        visits.append(next_visit(random_, habits, len(visits)))
    return tuple(visits)
