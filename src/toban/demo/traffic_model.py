"""What customers do: decided from chance and habits alone, so that a seed tells a whole day."""

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
"""Products of which there is plenty."""

SOLD_OUT: Final = "pencil-box"


class PaymentOutcome(StrEnum):
    """How an attempt to pay ends."""

    TAKEN = "taken"
    DECLINED = "declined"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RegularCustomer:
    """Somebody whom the shop knows by e-mail address."""

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
PASSWORD: Final = "demo"  # noqa: S105  # of customers who exist in a demo only


@dataclass(frozen=True, slots=True)
class CustomerHabits:
    """How often, from 0 to 1, a visitor does something."""

    buys: float = 0.4
    abandons: float = 0.3
    """Of those who put something into the cart and don't mean to buy: the others take nothing at all."""

    declined: float = 0.1
    failed: float = 0.04
    """Of the attempts to pay."""

    tries_again: float = 0.7
    """After an attempt that failed."""

    wholesale: float = 0.25
    regular: float = 0.4
    coupon: float = 0.2
    invoice: float = 0.2
    logs_in: float = 0.1
    mistypes: float = 0.4
    """The password, of those who log in."""

    registers: float = 0.03
    wants_what_is_sold_out: float = 0.05
    follows_a_dead_link: float = 0.03


BUSY: Final = CustomerHabits(buys=0.75, declined=0.2, failed=0.1, logs_in=0.04, registers=0.01)
"""Few who only look: for a script that is to come to its orders soon."""

NOBODY_CAN_PAY: Final = CustomerHabits(declined=0, failed=1, tries_again=0.5)
"""What it looks like when the payment provider is down."""


@dataclass(frozen=True, slots=True)
class PlannedVisit:
    """What one visitor will do, in this order."""

    number: int
    wholesale: bool = False
    """Whether in the channel for wholesale."""

    logs_in: str = ""
    mistypes: bool = False
    registers: bool = False
    searches: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    """Slugs of products."""

    dead_link: bool = False
    sold_out: bool = False
    cart: tuple[tuple[str, int, int], ...] = ()
    """Slug, which variant (counted round), how many."""

    coupon: bool = False
    regular: RegularCustomer | None = None
    """Who buys; somebody new unless set."""

    method: str = "card"
    payments: tuple[PaymentOutcome, ...] = field(default=())
    """Attempts to pay; none leaves the cart behind."""

    @property
    def buys(self) -> bool:
        """Whether it ends with an order."""
        return bool(self.payments) and self.payments[-1] is PaymentOutcome.TAKEN


def next_visit(chance: Random, habits: CustomerHabits, number: int) -> PlannedVisit:
    """Return what the next visitor will do."""
    buys = chance.random() < habits.buys
    takes = buys or chance.random() < habits.abandons
    views = tuple(chance.choice(SLUGS) for _ in range(chance.randint(1, 4)))
    cart = tuple((slug, chance.randrange(6), chance.randint(1, 3)) for slug in dict.fromkeys(views[-2:]))
    logs_in = not takes and chance.random() < habits.logs_in / (1 - habits.buys)
    return PlannedVisit(
        number,
        wholesale=chance.random() < habits.wholesale,
        logs_in=chance.choice(ACCOUNTS) if logs_in else "",
        mistypes=logs_in and chance.random() < habits.mistypes,
        registers=chance.random() < habits.registers,
        searches=tuple(chance.choice(SEARCHES) for _ in range(chance.randint(0, 2))),
        views=views,
        dead_link=chance.random() < habits.follows_a_dead_link,
        sold_out=chance.random() < habits.wants_what_is_sold_out,
        cart=cart if takes else (),
        coupon=chance.random() < habits.coupon,
        regular=chance.choice(REGULARS) if chance.random() < habits.regular else None,
        method="invoice" if chance.random() < habits.invoice else "card",
        payments=tuple(_payments(chance, habits)) if buys else (),
    )


def _payments(chance: Random, habits: CustomerHabits) -> Iterator[PaymentOutcome]:
    for _ in range(3):
        fate = chance.random()
        if fate >= habits.declined + habits.failed:
            yield PaymentOutcome.TAKEN
            return
        yield PaymentOutcome.DECLINED if fate < habits.declined else PaymentOutcome.FAILED
        if chance.random() >= habits.tries_again:
            return


def plan_visits(seed: int, orders: int, habits: CustomerHabits = BUSY) -> tuple[PlannedVisit, ...]:
    """Return visits of which exactly so many end with an order; the last one does."""
    chance = Random(seed)  # noqa: S311  # a script is to be the same each time
    visits: list[PlannedVisit] = []
    while sum(visit.buys for visit in visits) < orders:
        visits.append(next_visit(chance, habits, len(visits)))
    return tuple(visits)
