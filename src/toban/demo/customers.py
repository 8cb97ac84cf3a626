"""Customers at the Shop API: they do what was decided for them, and keep their books."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from random import Random
from typing import Any, Final

import httpx2

from toban.demo.ground_truth import PLACED, GroundTruth, PaymentAttempt, PlacedOrder
from toban.demo.servers import DemoError
from toban.demo.traffic_model import PASSWORD, SOLD_OUT, CustomerHabits, PaymentOutcome, PlannedVisit, next_visit

WHOLESALE: Final = "b2b"
"""The channel's code, and its token."""

COUPON: Final = "SPRING10"
PATIENCE: Final = 15.0
"""Seconds after which a customer goes away."""

METADATA: Final = {
    PaymentOutcome.TAKEN: {},
    PaymentOutcome.DECLINED: {"shouldDecline": True},
    PaymentOutcome.FAILED: {"shouldError": True},
}
"""What the dummy payment handler of Vendure takes for a wish."""

TRIED: Final = {"PaymentDeclinedError": "Declined", "PaymentFailedError": "Error"}

CATALOGUE: Final = """
query Catalogue { products(options: {take: 100}) { items { id slug variants { id } } } }
"""
SEARCH: Final = """
query Search($term: String!) { search(input: {term: $term, groupByProduct: true}) { totalItems items { slug } } }
"""
PRODUCT: Final = """
query ShowProduct($slug: String!) { product(slug: $slug) { name description variants { name priceWithTax } } }
"""
ADD: Final = """
mutation AddToCart($variant: ID!, $quantity: Int!) {
  addItemToOrder(productVariantId: $variant, quantity: $quantity) {
    __typename ... on Order { code totalQuantity } ... on ErrorResult { errorCode }
  }
}
"""
CUSTOMER: Final = """
mutation WhoBuys($input: CreateCustomerInput!) { setCustomerForOrder(input: $input) { __typename } }
"""
ADDRESS: Final = """
mutation WhereTo($input: CreateAddressInput!) { setOrderShippingAddress(input: $input) { __typename } }
"""
SHIPPING: Final = "query HowShipped { eligibleShippingMethods { id name } }"
SHIP: Final = """
mutation Ship($method: [ID!]!) { setOrderShippingMethod(shippingMethodId: $method) { __typename } }
"""
REDEEM: Final = "mutation Redeem($code: String!) { applyCouponCode(couponCode: $code) { __typename } }"
CHECKOUT: Final = """mutation Checkout { transitionOrderToState(state: "ArrangingPayment") { __typename } }"""
PAY: Final = """
mutation Pay($input: PaymentInput!) {
  addPaymentToOrder(input: $input) {
    __typename
    ... on Order { code state total totalWithTax currencyCode couponCodes discounts { amount } }
  }
}
"""
LOGIN: Final = """
mutation LogIn($who: String!, $password: String!) { login(username: $who, password: $password) { __typename } }
"""
REGISTER: Final = """
mutation Register($input: RegisterCustomerInput!) { registerCustomerAccount(input: $input) { __typename } }
"""
ACCOUNT: Final = "query MyOrders { activeCustomer { orders { totalItems } } }"

Pause = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Pause not at all."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as its page knows it."""

    id: str
    variants: tuple[str, ...]


class NoAnswerError(Exception):  # what became of a request, not an error of ours
    """Nobody answered, or the answer was of no use: the customer goes away."""


@dataclass
class ShopClient:
    """The Shop API as customers see it, with their books."""

    http: httpx2.AsyncClient
    ledger: GroundTruth
    catalogue: dict[str, Product]
    """By slug."""

    knows_status: bool = True
    """Whether customers have a `customerStatus` there."""

    ways_to_ship: list[str] = field(default_factory=lambda: ["1"])
    """The ids that the shop offered last."""


@asynccontextmanager
async def open_shop(
    shop_api: str, ledger: GroundTruth | None = None, *, knows_status: bool = True
) -> AsyncIterator[ShopClient]:
    """Open the shop's door and look through its catalogue, which the books don't hold. Raises ``DemoError``."""
    agent = {"User-Agent": "visitor/1.0"}
    # Each visitor has a session by a header of its own: a cookie that all share would make them one.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    async with httpx2.AsyncClient(base_url=shop_api, timeout=PATIENCE, headers=agent, cookies=no_cookies) as http:
        shop = ShopClient(http, GroundTruth(), {}, knows_status)
        try:
            found = await Visitor(shop).ask(CATALOGUE)
        except NoAnswerError as error:
            raise DemoError(f"{shop_api}: no catalogue: {error}") from error
        shop.catalogue = {
            item["slug"]: Product(item["id"], tuple(variant["id"] for variant in item["variants"]))
            for item in found["products"]["items"]
        }
        shop.ledger = ledger or GroundTruth()
        yield shop


class Visitor:
    """One customer with one session."""

    def __init__(self, shop: ShopClient, *, wholesale: bool = False) -> None:
        self._shop = shop
        self._headers = {"vendure-token": WHOLESALE} if wholesale else {}

    async def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """
        Ask, and write down how it ended.

        Raises ``NoAnswerError`` when there is no data to go on with.
        """
        operation = document.split(maxsplit=2)[1].partition("(")[0]
        ledger, began = self._shop.ledger, time.monotonic()
        try:
            answer = await self._shop.http.post(
                "", json={"query": document, "variables": variables}, headers=self._headers
            )
            said = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            ledger.unanswered[operation] += 1
            raise NoAnswerError(f"{operation}: {error!r}") from error
        ledger.requests[operation] += 1
        ledger.statuses[answer.status_code] += 1
        ledger.seconds.setdefault(operation, []).append(time.monotonic() - began)
        if token := answer.headers.get("vendure-auth-token"):
            self._headers["Authorization"] = f"Bearer {token}"
        if said.get("errors"):
            code = said["errors"][0].get("extensions", {}).get("code", "UNKNOWN")
            ledger.errors[operation, code] += 1
            raise NoAnswerError(f"{operation}: {said['errors'][0]['message']}")
        data: dict[str, Any] = said["data"]
        for result in data.values():
            name = result.get("__typename", "") if isinstance(result, dict) else ""
            if name.endswith("Error"):
                ledger.refusals[operation, code_of(name)] += 1
        return data


def code_of(name: str) -> str:
    """Return the code of a kind of error: PaymentDeclinedError is PAYMENT_DECLINED_ERROR."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


async def visit_shop(shop: ShopClient, visit: PlannedVisit, pause: Pause = at_once) -> None:
    """Do what was decided. A shop that gives no answer ends the visit."""
    try:
        await _visited(shop, visit, Visitor(shop, wholesale=visit.wholesale), pause)
    except NoAnswerError:
        return


async def _visited(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, pause: Pause) -> None:
    await _account(shop, visit, visitor, pause)
    for term in visit.searches:
        await visitor.ask(SEARCH, term=term)
        shop.ledger.searches += 1
        await pause()
    for slug in visit.views:
        await visitor.ask(PRODUCT, slug=slug)
        shop.ledger.views[shop.catalogue[slug].id] += 1
        await pause()
    if visit.sold_out:
        await visitor.ask(ADD, variant=shop.catalogue[SOLD_OUT].variants[0], quantity=1)
    code = ""
    for slug, number, quantity in visit.cart:
        variants = shop.catalogue[slug].variants
        added = await visitor.ask(ADD, variant=variants[number % len(variants)], quantity=quantity)
        code = added["addItemToOrder"].get("code", code)
        await pause()
    if code and visit.payments:
        await _checked_out(shop, visit, visitor, code, pause)
    elif code:
        shop.ledger.carts.append(code)
    if visit.dead_link:
        await visitor.ask(ADD, variant="999999", quantity=1)


async def _account(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, pause: Pause) -> None:
    if visit.registers:
        name = {"firstName": "New", "lastName": str(visit.number)}
        email = f"new-{visit.number}-{time.time_ns()}@customer.example"
        await visitor.ask(REGISTER, input={**name, "emailAddress": email, "password": PASSWORD})
        shop.ledger.registrations += 1
    if visit.mistypes:
        await visitor.ask(LOGIN, who=visit.logs_in, password="demp")  # noqa: S106  # a slip of the finger
        await pause()
    if visit.logs_in:
        await visitor.ask(LOGIN, who=visit.logs_in, password=PASSWORD)
        shop.ledger.logins += 1
        await visitor.ask(ACCOUNT)


async def _checked_out(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, code: str, pause: Pause) -> None:
    """Go from the cart to the till, and try to pay as often as was decided."""
    email = visit.regular.email if visit.regular else f"guest-{visit.number}-{time.time_ns()}@customer.example"
    await visitor.ask(CUSTOMER, input={"firstName": "A", "lastName": "Visitor", "emailAddress": email})
    address = {"streetLine1": "1 High Street", "city": "York", "postalCode": "YO1 7HH", "countryCode": "GB"}
    await visitor.ask(ADDRESS, input={"fullName": "A Visitor", **address})
    methods = [method["id"] for method in (await visitor.ask(SHIPPING))["eligibleShippingMethods"]]
    # A page that was opened before still offers what is no longer possible.
    shop.ways_to_ship = methods or shop.ways_to_ship
    shipped = await visitor.ask(SHIP, method=[shop.ways_to_ship[visit.number % len(shop.ways_to_ship)]])
    if shipped["setOrderShippingMethod"]["__typename"].endswith("Error"):
        return
    await pause()
    if visit.coupon:
        await visitor.ask(REDEEM, code=COUPON)
    await visitor.ask(CHECKOUT)
    for payment in visit.payments:
        await pause()
        wish = {"method": visit.method, "metadata": METADATA[payment]}
        paid = (await visitor.ask(PAY, input=wish))["addPaymentToOrder"]
        _booked(shop, visit, code, paid)


def _booked(shop: ShopClient, visit: PlannedVisit, code: str, paid: dict[str, Any]) -> None:
    """Write an attempt to pay into the books, and the order when it was placed."""
    tried = TRIED.get(paid["__typename"]) or paid.get("state", "").removeprefix("Payment")
    if not tried:
        return  # the order was not in a state to be paid: no attempt
    shop.ledger.attempts.append(PaymentAttempt(code, visit.method, tried, datetime.now(UTC)))
    if paid.get("state") in PLACED:
        status = visit.regular.status if visit.regular and shop.knows_status else ""
        shop.ledger.orders.append(
            PlacedOrder(
                code=code,
                channel=WHOLESALE if visit.wholesale else "default",
                currency=paid["currencyCode"],
                net=paid["total"],
                gross=paid["totalWithTax"],
                state=paid["state"],
                customer_type=status or "general",
                method=visit.method,
                coupon=next(iter(paid["couponCodes"]), ""),
                discount=-sum(discount["amount"] for discount in paid["discounts"]),
                at=datetime.now(UTC),
            )
        )


async def run_visits(shop: ShopClient, visits: Iterable[PlannedVisit], at_a_time: int = 3) -> GroundTruth:
    """Let these visits happen, a few at a time and without pauses, and return the books."""
    waiting = iter(visits)

    async def one_after_the_other() -> None:
        for visit in waiting:
            await visit_shop(shop, visit)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(one_after_the_other())
    return shop.ledger


class CustomerTraffic:
    """Customers who come and go, as many a minute as one likes, until it is cancelled."""

    MOST: Final = 30
    """Visitors at a time: where the shop hangs, no more come in."""

    def __init__(
        self, shop: ShopClient, seed: int, *, each_minute: float, habits: CustomerHabits | None = None
    ) -> None:
        self.habits = habits or CustomerHabits()
        """May be changed while they shop."""
        self._shop = shop
        self._chance = Random(seed)  # noqa: S311  # a day is to be the same each time
        self._each_minute = each_minute

    async def run(self) -> None:
        """Let them in."""
        number = 0
        inside: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._chance.expovariate(self._each_minute / 60))
                if len(inside) < self.MOST:
                    visit = next_visit(self._chance, self.habits, number)
                    number += 1
                    task = group.create_task(visit_shop(self._shop, visit, self._hesitate))
                    inside.add(task)
                    task.add_done_callback(inside.discard)

    async def _hesitate(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.2, 2))
