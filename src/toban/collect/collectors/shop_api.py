"""The collector `shop_api`: whether Vendure's Shop API can sell."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Literal

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.intervals import is_due
from toban.collect.log_once import LogOnce
from toban.collect.tools import HasHttp
from toban.core.config_types import Address, Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.shop import graphql
from toban.shop.graphql import GraphqlError
from toban.shop.settings import ShopCheck

UP: Final = gauge(
    "vendure_shop_check_up",
    "Whether a step of the shop check succeeded (1) or not (0): search, product, price, …",
    labels=("step",),
)
SECONDS: Final = gauge(
    "vendure_shop_check_seconds", "Duration of a step of the shop check.", "seconds", labels=("step",)
)
PRODUCTS: Final = gauge("vendure_shop_products", "Products that the Shop API offers.")

STEPS: Final = ("search", "product", "price")
"""The steps of every check."""

# `{ __typename }` would not touch the database.
CATALOGUE: Final = "query TobanCatalogue { products(options: {take: 1}) { totalItems items { name slug } } }"
LOGIN: Final = """mutation TobanLogin($name: String!, $password: String!) {
  login(username: $name, password: $password) { __typename ... on ErrorResult { errorCode } } }"""
SEARCH: Final = """query TobanSearch($term: String!) {
  search(input: {term: $term, take: 1, groupByProduct: true}) { totalItems items { slug } } }"""
PRODUCT: Final = """query TobanProduct($slug: String!) {
  product(slug: $slug) { id variants { id price priceWithTax currencyCode } } }"""
ADD: Final = """mutation TobanAdd($variant: ID!) {
  addItemToOrder(productVariantId: $variant, quantity: 1) {
    __typename ... on ErrorResult { errorCode } ... on Order { lines { id } } } }"""
EMPTY: Final = """mutation TobanEmpty { removeAllOrderLines {
    __typename ... on ErrorResult { errorCode } ... on Order { lines { id } } } }"""


class StepError(CollectError):
    """A step had a response that is not as expected."""


class ShopApi(Collector):
    """
    Query Vendure's Shop API as a customer would.

    The target is up when the catalogue responds: a query that touches the database, with `data` and without `errors`,
    whatever the HTTP status. At a longer interval the shop is checked step by step (log in, when a customer is given;
    search, product, price, and a cart when enabled): `vendure_shop_check_up{step}` is the result of each. toban's
    requests have a User-Agent of their own, and are left out of the shop's own metrics.
    """

    kind: Literal["shop_api"] = "shop_api"

    url: Address
    """Address of the Shop API, like https://shop.example/shop-api."""

    shop_check: ShopCheck = ShopCheck()
    """What the steps use; by default `shop.check`."""

    check_interval: Duration = timedelta(minutes=1)
    """Interval of the check step by step."""

    interval: Duration = timedelta(seconds=15)

    timeout: Duration = timedelta(seconds=10)
    """Timeout of one request."""

    @property
    def default_instance(self) -> str:
        """The address without its query."""
        return self.url.partition("?")[0].partition("#")[0]

    def open(self, tools: HasHttp) -> Scraper:
        """Keep the session and the results of the last check."""
        return ShopApiScraper(self, tools)


class ShopApiScraper(Scraper):
    """Queries the catalogue, and checks the shop step by step."""

    def __init__(self, collector: ShopApi, tools: HasHttp) -> None:
        self._collector = collector
        self._check = collector.shop_check
        self._clock = tools.clock
        self._http = tools.http
        self._steps: dict[str, tuple[bool, float]] = {}
        self._checked_at: float | None = None
        self._session = ""
        self._log = LogOnce(collector.name)

    async def collect(self) -> ScrapeResult:
        """Query the catalogue; check the steps when they are due."""
        collector = self._collector
        context = f"shop_api {collector.name}: {collector.default_instance}"
        try:
            catalogue = (await self._query(CATALOGUE))["products"]
            first, total = (catalogue.get("items") or [{}])[0], float(catalogue["totalItems"])
        except GraphqlError as error:
            # Without a catalogue every step fails; they are checked again once it responds.
            self._checked_at, self._steps = None, dict.fromkeys(STEPS, (False, math.nan))
            return ScrapeResult(self._samples(), error=f"{context}: {error}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CollectError(f"{context}: the response is no catalogue of Vendure") from error
        now = self._clock.monotonic()
        if is_due(self._checked_at, collector.check_interval, collector.interval, now):
            self._checked_at = now
            self._steps.clear()
            await self._check_steps(first)
        empty = "" if total else f"{context}: the catalogue is empty: it has no product"
        return ScrapeResult([PRODUCTS.sample(total), *self._samples()], error=empty)

    def _samples(self) -> list[Sample]:
        return [
            sample
            for step, (up, seconds) in self._steps.items()
            for sample in (UP.sample(up, step=step), SECONDS.sample(seconds, step=step))
            if not math.isnan(sample.value)
        ]

    async def _check_steps(self, first: Mapping[str, Any]) -> None:
        """
        Check the shop, and record the result of each step.

        1. Log in, when a customer is given and there is no session.
        2. Search; 3. read the product; 4. read its price.
        5. Put it in the cart and remove it again, when that is enabled.
        """
        if self._check.customer and not self._session:
            async with self._step("login"):
                await self._log_in()
        slug = self._check.product
        async with self._step("search"):
            term = self._check.search or str(first.get("name", ""))
            found = (await self._query(SEARCH, term=term))["search"]
            if not found["totalItems"]:
                raise StepError("nothing was found")
            slug = slug or found["items"][0]["slug"]
        slug = slug or str(first.get("slug", ""))
        variants: list[Mapping[str, Any]] = []
        async with self._step("product"):
            product = (await self._query(PRODUCT, slug=slug))["product"]
            if not product or not product["variants"]:
                raise StepError(f"there is no product {slug!r} that could be bought")
            variants = product["variants"]
        async with self._step("price"):
            if not variants:
                raise StepError("there is no product to price")
            if not all(isinstance(variant["priceWithTax"], int | float) for variant in variants):
                raise StepError("it has no price")
            if any(variant["priceWithTax"] <= 0 for variant in variants):
                raise StepError(f"the price of {slug!r} is 0: if that is meant, set another one in shop.check.product")
        if self._check.cart and variants:
            async with self._step("cart"):
                await self._fill_and_empty(str(variants[0]["id"]))

    async def _log_in(self) -> None:
        password = self._check.password.get_secret_value() if self._check.password else ""
        result = (await self._query(LOGIN, name=self._check.customer, password=password))["login"]
        if result["__typename"] != "CurrentUser":
            raise StepError(f"rejected: {result.get('errorCode', result['__typename'])}")

    async def _fill_and_empty(self, variant: str) -> None:
        added = (await self._query(ADD, variant=variant))["addItemToOrder"]
        if added["__typename"] != "Order":
            raise StepError(f"rejected: {added.get('errorCode', added['__typename'])}")
        emptied = (await self._query(EMPTY))["removeAllOrderLines"]
        if emptied["__typename"] != "Order" or emptied["lines"]:
            raise StepError("the cart could not be emptied")

    @asynccontextmanager
    async def _step(self, step: str) -> AsyncIterator[None]:
        """Measure one step; its failure is logged once, and fails no other step."""
        started, failure = self._clock.monotonic(), ""
        try:
            yield
        except GraphqlError as error:
            failure = str(error)
            if error.code == "FORBIDDEN":
                self._session = ""  # it has expired: the next check logs in anew
        except StepError as error:
            failure = str(error)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            failure = f"the response is not one of Vendure's: {type(error).__name__}"
        self._steps[step] = not failure, self._clock.monotonic() - started
        self._log.update(step, failure)

    async def _query(self, query: str, **variables: object) -> Mapping[str, Any]:
        headers = {"authorization": f"Bearer {self._session}"} if self._session else {}
        seconds = self._collector.timeout.total_seconds()
        response = await graphql.execute(
            self._http, self._collector.url, query, variables, headers=headers, seconds=seconds
        )
        # The session is kept, so that all carts share one session and one order.
        if response.session and (self._check.cart or self._check.customer):
            self._session = response.session
        return response.data
