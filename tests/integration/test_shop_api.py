"""The Shop API of a real store, tried as a customer would."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx2
import pytest

from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, open_scraper
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, run_vendure
from toban.collect.collectors.shop_api import ShopApi
from toban.collect.tools import CollectorTools

pytestmark = SLOW

WHO, PASSWORD = "watcher@example.com", "a-long-password"
REGISTER = """mutation Register($who: String!, $password: String!) {
  registerCustomerAccount(input: {emailAddress: $who, password: $password}) { __typename }
}"""


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    with run_vendure(ShopVariant()) as it:
        registered(it)
        yield it


def registered(shop: ShopProcesses) -> None:
    """Let a customer register, who may log in at once."""
    variables = {"who": WHO, "password": PASSWORD}
    response = httpx2.post(shop.shop_api, json={"query": REGISTER, "variables": variables})
    assert response.json()["data"]["registerCustomerAccount"]["__typename"] == "Success"


@pytest.fixture
async def tools() -> AsyncIterator[CollectorTools]:
    async with collector_tools() as tools:
        yield replace(tools, clock=FakeClock())


def collector(shop: ShopProcesses, **check: object) -> ShopApi:
    given = {"kind": "shop_api", "name": "vendure", "url": shop.shop_api, "shop_check": check, "check_interval": "15s"}
    return ShopApi.model_validate(given)


async def steps(one: ShopApi, tools: CollectorTools, rounds: int = 1) -> dict[str, float]:
    """Look some times, a minute apart, and return how each step went the last time."""
    for _ in range(rounds):
        found = await open_scraper(one, tools).collect()
        assert not found.error
        tools.clock.advance(60)  # type: ignore[attr-defined]  # a pretended one
    return {
        str(sample.labels["step"]): sample.value
        for sample in found.samples
        if sample.family.name == "vendure_shop_check_up"
    }


async def test_the_cart_step_reuses_one_order(shop, tools):
    """
    However often: one session, one order, and nothing in it, so that no cart is counted.
    """
    lines = 'LEFT JOIN order_line l ON l."orderId" = o.id'
    count = f'SELECT count(*), coalesce(sum(l.quantity), 0) FROM "order" o {lines}'  # no text from outside
    before = shop.query(count)
    found = await steps(collector(shop, cart=True), tools, rounds=4)
    assert found == {"search": 1, "product": 1, "price": 1, "cart": 1}
    assert before == [(0, 0)]
    assert shop.query(count) == [(1, 0)]


async def test_prices_are_read_as_a_logged_in_customer(shop, tools):
    """
    A wrong password costs that step alone.
    """
    sessions = "SELECT count(*) FROM session WHERE type = 'AuthenticatedSession'"
    before = shop.query(sessions)[0][0]
    one = collector(shop, customer=WHO, password=PASSWORD)
    others = {"search": 1, "product": 1, "price": 1}
    assert await steps(one, tools) == {"login": 1, **others}
    assert await steps(one, tools, rounds=2) == others
    assert shop.query(sessions)[0][0] == before + 1
    wrong = await steps(collector(shop, customer=WHO, password="wrong"), tools)
    assert wrong == {"login": 0, **others}


async def test_missing_products_and_prices_are_down(shop, tools):
    """
    Though every answer is 200.
    """
    found = await steps(collector(shop, search="zzzzzz", product="no-such-thing", cart=True), tools)
    assert found == {"search": 0, "product": 0, "price": 0}
