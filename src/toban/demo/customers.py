"""Simulated customers at the Shop API: they make planned visits and record the ground truth."""

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
RESPONSE_TIMEOUT: Final = 15.0
"""Seconds after which a request fails and its customer leaves."""

PAYMENT_METADATA: Final = {
    PaymentOutcome.TAKEN: {},
    PaymentOutcome.DECLINED: {"shouldDecline": True},
    PaymentOutcome.FAILED: {"shouldError": True},
}
"""The metadata by which Vendure's dummy payment handler decides the outcome."""

FAILED_STATES: Final = {"PaymentDeclinedError": "Declined", "PaymentFailedError": "Error"}

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


async def no_pause() -> None:
    """Do not pause."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue."""

    id: str
    variants: tuple[str, ...]


class RequestFailedError(Exception):  # expected while the shop is broken
    """A request had no response, or an error: the customer leaves."""


@dataclass
class ShopClient:
    """The Shop API as customers use it, and the ground truth of their visits."""

    http: httpx2.AsyncClient
    ground_truth: GroundTruth
    catalogue: dict[str, Product]
    """Products by slug."""

    knows_status: bool = True
    """Whether customers have the custom field `customerStatus`."""

    shipping_methods: list[str] = field(default_factory=lambda: ["1"])
    """Ids of the shipping methods that the shop offered last."""


@asynccontextmanager
async def open_shop(
    shop_api: str, ground_truth: GroundTruth | None = None, *, knows_status: bool = True
) -> AsyncIterator[ShopClient]:
    """Connect to a shop and load its catalogue; that request is not recorded. Raises ``DemoError``."""
    agent, timeout = {"User-Agent": "visitor/1.0"}, RESPONSE_TIMEOUT
    # Each visitor has a session by a header of its own: a cookie that all share would make them one.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    async with httpx2.AsyncClient(base_url=shop_api, timeout=timeout, headers=agent, cookies=no_cookies) as http:
        shop = ShopClient(http, GroundTruth(), {}, knows_status)
        try:
            found = await Visitor(shop).request(CATALOGUE)
        except RequestFailedError as error:
            raise DemoError(f"{shop_api}: no catalogue: {error}") from error
        shop.catalogue = {
            item["slug"]: Product(item["id"], tuple(variant["id"] for variant in item["variants"]))
            for item in found["products"]["items"]
        }
        shop.ground_truth = ground_truth or GroundTruth()
        yield shop


class Visitor:
    """One customer with one session."""

    def __init__(self, shop: ShopClient, *, wholesale: bool = False) -> None:
        self._shop = shop
        self._headers = {"vendure-token": WHOLESALE} if wholesale else {}

    async def request(self, document: str, **variables: Any) -> dict[str, Any]:
        """
        Send a request and record its outcome.

        Raises ``RequestFailedError`` when the response has no data.
        """
        operation = document.split(maxsplit=2)[1].partition("(")[0]
        ground_truth, began = self._shop.ground_truth, time.monotonic()
        try:
            response = await self._shop.http.post(
                "", json={"query": document, "variables": variables}, headers=self._headers
            )
            body = response.json()
        except (httpx2.HTTPError, ValueError) as error:
            ground_truth.failed_requests[operation] += 1
            raise RequestFailedError(f"{operation}: {error!r}") from error
        ground_truth.requests[operation] += 1
        ground_truth.statuses[response.status_code] += 1
        ground_truth.seconds.setdefault(operation, []).append(time.monotonic() - began)
        if token := response.headers.get("vendure-auth-token"):
            self._headers["Authorization"] = f"Bearer {token}"
        if body.get("errors"):
            code = body["errors"][0].get("extensions", {}).get("code", "UNKNOWN")
            ground_truth.errors[operation, code] += 1
            raise RequestFailedError(f"{operation}: {body['errors'][0]['message']}")
        data: dict[str, Any] = body["data"]
        for result in data.values():
            name = result.get("__typename", "") if isinstance(result, dict) else ""
            if name.endswith("Error"):
                ground_truth.error_results[operation, code_of(name)] += 1
        return data


def code_of(name: str) -> str:
    """Return the code of an error type: that of PaymentDeclinedError is PAYMENT_DECLINED_ERROR."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


async def visit_shop(shop: ShopClient, visit: PlannedVisit, pause: Pause = no_pause) -> None:
    """Make a planned visit; a failed request ends it."""
    try:
        await _visit(shop, visit, Visitor(shop, wholesale=visit.wholesale), pause)
    except RequestFailedError:
        return


async def _visit(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, pause: Pause) -> None:
    await _use_account(shop, visit, visitor, pause)
    for term in visit.searches:
        await visitor.request(SEARCH, term=term)
        shop.ground_truth.searches += 1
        await pause()
    for slug in visit.views:
        await visitor.request(PRODUCT, slug=slug)
        shop.ground_truth.views[shop.catalogue[slug].id] += 1
        await pause()
    if visit.sold_out:
        await visitor.request(ADD, variant=shop.catalogue[SOLD_OUT].variants[0], quantity=1)
    code = ""
    for slug, number, quantity in visit.cart:
        variants = shop.catalogue[slug].variants
        added = await visitor.request(ADD, variant=variants[number % len(variants)], quantity=quantity)
        code = added["addItemToOrder"].get("code", code)
        await pause()
    if code and visit.payments:
        await _check_out(shop, visit, visitor, code, pause)
    elif code:
        shop.ground_truth.carts.append(code)
    if visit.dead_link:
        await visitor.request(ADD, variant="999999", quantity=1)


async def _use_account(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, pause: Pause) -> None:
    if visit.registers:
        name = {"firstName": "New", "lastName": str(visit.number)}
        email = f"new-{visit.number}-{time.time_ns()}@customer.example"
        await visitor.request(REGISTER, input={**name, "emailAddress": email, "password": PASSWORD})
        shop.ground_truth.registrations += 1
    if visit.mistypes:
        await visitor.request(LOGIN, who=visit.logs_in, password="demp")  # noqa: S106  # a typing error
        await pause()
    if visit.logs_in:
        await visitor.request(LOGIN, who=visit.logs_in, password=PASSWORD)
        shop.ground_truth.logins += 1
        await visitor.request(ACCOUNT)


async def _check_out(shop: ShopClient, visit: PlannedVisit, visitor: Visitor, code: str, pause: Pause) -> None:
    """Check out the cart, with the planned payment attempts."""
    email = visit.regular.email if visit.regular else f"guest-{visit.number}-{time.time_ns()}@customer.example"
    await visitor.request(CUSTOMER, input={"firstName": "A", "lastName": "Visitor", "emailAddress": email})
    address = {"streetLine1": "1 High Street", "city": "York", "postalCode": "YO1 7HH", "countryCode": "GB"}
    await visitor.request(ADDRESS, input={"fullName": "A Visitor", **address})
    methods = [method["id"] for method in (await visitor.request(SHIPPING))["eligibleShippingMethods"]]
    # A page that was loaded earlier still offers methods that are no longer eligible.
    shop.shipping_methods = methods or shop.shipping_methods
    shipped = await visitor.request(SHIP, method=[shop.shipping_methods[visit.number % len(shop.shipping_methods)]])
    if shipped["setOrderShippingMethod"]["__typename"].endswith("Error"):
        return
    await pause()
    if visit.coupon:
        await visitor.request(REDEEM, code=COUPON)
    await visitor.request(CHECKOUT)
    for payment in visit.payments:
        await pause()
        payment_input = {"method": visit.method, "metadata": PAYMENT_METADATA[payment]}
        paid = (await visitor.request(PAY, input=payment_input))["addPaymentToOrder"]
        _record_payment(shop, visit, code, paid)


def _record_payment(shop: ShopClient, visit: PlannedVisit, code: str, paid: dict[str, Any]) -> None:
    """Record a payment attempt, and the order if it was placed."""
    state = FAILED_STATES.get(paid["__typename"]) or paid.get("state", "").removeprefix("Payment")
    if not state:
        return  # the order was in another state: there was no attempt
    shop.ground_truth.attempts.append(PaymentAttempt(code, visit.method, state, datetime.now(UTC)))
    if paid.get("state") in PLACED:
        status = visit.regular.status if visit.regular and shop.knows_status else ""
        shop.ground_truth.orders.append(
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


async def run_visits(shop: ShopClient, visits: Iterable[PlannedVisit], concurrency: int = 3) -> GroundTruth:
    """Make visits, some of them concurrently and without pauses, and return the ground truth."""
    waiting = iter(visits)

    async def work() -> None:
        for visit in waiting:
            await visit_shop(shop, visit)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return shop.ground_truth


class CustomerTraffic:
    """Generates visits at a rate, until it is cancelled."""

    MAX_VISITORS: Final = 30
    """Visitors at the same time: while the shop hangs, no more come."""

    def __init__(
        self, shop: ShopClient, seed: int, *, visitors_per_minute: float, habits: CustomerHabits | None = None
    ) -> None:
        self.habits = habits or CustomerHabits()
        """May be changed while it runs."""
        self._shop = shop
        self._random = Random(seed)  # noqa: S311  # the traffic is to be the same each time
        self._each_minute = visitors_per_minute

    async def run(self) -> None:
        """Generate visits."""
        number = 0
        active: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._random.expovariate(self._each_minute / 60))
                if len(active) < self.MAX_VISITORS:
                    visit = next_visit(self._random, self.habits, number)
                    number += 1
                    task = group.create_task(visit_shop(self._shop, visit, self._pause))
                    active.add(task)
                    task.add_done_callback(active.discard)

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 2))
