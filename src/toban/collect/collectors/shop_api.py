"""Vendure's Shop API: can the shop sell?"""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import is_due
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.shop import graphql
from toban.shop.graphql import GraphqlError
from toban.shop.settings import ShopCheck

UP: Final = gauge("vendure_shop_check_up", "Whether a step of the shop check worked: search, product, price, …")
SECONDS: Final = gauge("vendure_shop_check_seconds", "How long a step of the shop check took.", "seconds")
PRODUCTS: Final = gauge("vendure_shop_products", "Products that the Shop API offers.")

STEPS: Final = ("search", "product", "price")
"""What is always tried."""

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
    """A step was answered, but not as it should be."""


class ShopApi(Collector):
    """
    Ask Vendure's Shop API as a customer would.

    The target is up when the catalogue answers: a question that touches the database, with `data` and without
    `errors`, whatever the HTTP status. Less often the shop is tried step by step (log in, when a customer is given;
    search, product, price, and a cart when that is asked for): `vendure_shop_check_up{step}` tells how each went.
    Its requests say who they are in their User-Agent, and are left out of the shop's own numbers.
    """

    kind: Literal["shop_api"] = "shop_api"

    url: Address
    """The Shop API, like https://shop.example/shop-api."""

    shop_check: ShopCheck = ShopCheck()
    """What to try; `shop.check` unless set here."""

    check_interval: Duration = timedelta(minutes=1)
    """How often to try the shop step by step."""

    interval: Duration = timedelta(seconds=15)

    timeout: Duration = timedelta(seconds=10)
    """How long one answer may take."""

    _steps: dict[str, tuple[bool, float]] = PrivateAttr(default_factory=dict)
    _tried: float | None = PrivateAttr(default=None)
    _session: str = PrivateAttr(default="")
    _told: LogOnce = PrivateAttr(default_factory=LogOnce)

    @property
    def default_instance(self) -> str:
        """The address without its query."""
        return self.url.partition("?")[0].partition("#")[0]

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Ask for the catalogue; try the steps when it is time."""
        try:
            catalogue = (await self._ask(tools, CATALOGUE))["products"]
            first, many = (catalogue.get("items") or [{}])[0], float(catalogue["totalItems"])
        except GraphqlError as error:
            # A shop whose catalogue doesn't answer fails at every step; the steps are tried again once it does.
            self._tried, self._steps = None, dict.fromkeys(STEPS, (False, math.nan))
            return ScrapeResult(self._samples(), error=f"shop_api {self.name}: {self.default_instance}: {error}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CollectError(
                f"shop_api {self.name}: {self.default_instance}: that is no catalogue of Vendure"
            ) from error
        if is_due(self._tried, self.check_interval, self.interval, tools.clock.monotonic()):
            self._tried = tools.clock.monotonic()
            self._steps.clear()
            await self._try(tools, first)
        trouble = (
            ""
            if many
            else f"shop_api {self.name}: {self.default_instance}: the catalogue is empty: it offers no product"
        )
        return ScrapeResult([PRODUCTS.sample(many), *self._samples()], error=trouble)

    def _samples(self) -> list[Sample]:
        return [
            sample
            for step, (up, seconds) in self._steps.items()
            for sample in (UP.sample(up, step=step), SECONDS.sample(seconds, step=step))
            if not math.isnan(sample.value)
        ]

    async def _try(self, tools: CollectorTools, first: Mapping[str, Any]) -> None:
        """
        Go through the shop, and note how each step went.

        1. Log in, when a customer is given and there is no session.
        2. Search; 3. look at the product; 4. read its price.
        5. Put it in the cart and take it out again, when that is asked for.
        """
        if self.shop_check.customer and not self._session:
            async with self._step(tools, "login"):
                await self._log_in(tools)
        slug = self.shop_check.product
        async with self._step(tools, "search"):
            term = self.shop_check.search or str(first.get("name", ""))
            found = (await self._ask(tools, SEARCH, term=term))["search"]
            if not found["totalItems"]:
                raise StepError("nothing was found")
            slug = slug or found["items"][0]["slug"]
        slug = slug or str(first.get("slug", ""))
        variants: list[Mapping[str, Any]] = []
        async with self._step(tools, "product"):
            product = (await self._ask(tools, PRODUCT, slug=slug))["product"]
            if not product or not product["variants"]:
                raise StepError(f"there is no product {slug!r} that could be bought")
            variants = product["variants"]
        async with self._step(tools, "price"):
            if not variants:
                raise StepError("there is no product to price")
            if not all(isinstance(variant["priceWithTax"], int | float) for variant in variants):
                raise StepError("it has no price")
            if any(variant["priceWithTax"] <= 0 for variant in variants):
                raise StepError(f"the price of {slug!r} is 0: if that is meant, name another one in shop.check.product")
        if self.shop_check.cart and variants:
            async with self._step(tools, "cart"):
                await self._fill_and_empty(tools, str(variants[0]["id"]))

    async def _log_in(self, tools: CollectorTools) -> None:
        password = self.shop_check.password.get_secret_value() if self.shop_check.password else ""
        answer = (await self._ask(tools, LOGIN, name=self.shop_check.customer, password=password))["login"]
        if answer["__typename"] != "CurrentUser":
            raise StepError(f"refused: {answer.get('errorCode', answer['__typename'])}")

    async def _fill_and_empty(self, tools: CollectorTools, variant: str) -> None:
        added = (await self._ask(tools, ADD, variant=variant))["addItemToOrder"]
        if added["__typename"] != "Order":
            raise StepError(f"refused: {added.get('errorCode', added['__typename'])}")
        emptied = (await self._ask(tools, EMPTY))["removeAllOrderLines"]
        if emptied["__typename"] != "Order" or emptied["lines"]:
            raise StepError("the cart could not be emptied")

    @asynccontextmanager
    async def _step(self, tools: CollectorTools, step: str) -> AsyncIterator[None]:
        """Measure one step; what goes wrong in it is told once, and costs no other step."""
        began, trouble = tools.clock.monotonic(), ""
        try:
            yield
        except GraphqlError as error:
            trouble = str(error)
            if error.code == "FORBIDDEN":
                self._session = ""  # it has ended: the next round logs in anew
        except StepError as error:
            trouble = str(error)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            trouble = f"the answer is not as Vendure's: {type(error).__name__}"
        self._steps[step] = not trouble, tools.clock.monotonic() - began
        self._told.update(self.name, step, trouble)

    async def _ask(self, tools: CollectorTools, query: str, **variables: object) -> Mapping[str, Any]:
        headers = {"authorization": f"Bearer {self._session}"} if self._session else {}
        seconds = self.timeout.total_seconds()
        told = await graphql.execute(tools.http, self.url, query, variables, headers=headers, seconds=seconds)
        # The session that it hands out is kept, so that there is one session and one order for all carts.
        if told.session and (self.shop_check.cart or self.shop_check.customer):
            self._session = told.session
        return told.data
