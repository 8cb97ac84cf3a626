"""The collector `shop_api` with a fake Shop API; tests/integration has the real one."""

import re
from dataclasses import replace

import httpx2
import orjson
import pytest

from toban.collect.collectors.shop_api import ShopApi
from toban.core.errors import CollectError
from toban.shop.settings import ShopCheck

WELL = {
    "TobanCatalogue": {"products": {"totalItems": 54, "items": [{"name": "Lamp", "slug": "lamp"}]}},
    "TobanSearch": {"search": {"totalItems": 1, "items": [{"slug": "lamp"}]}},
    "TobanProduct": {"product": {"id": "1", "variants": [{"id": "7", "price": 100, "priceWithTax": 120}]}},
    "TobanLogin": {"login": {"__typename": "CurrentUser"}},
    "TobanAdd": {"addItemToOrder": {"__typename": "Order", "lines": [{"id": "1"}]}},
    "TobanEmpty": {"removeAllOrderLines": {"__typename": "Order", "lines": []}},
}


class Api:
    """A Shop API that says what a test wants, and remembers what it was asked."""

    def __init__(self):
        self.responses = dict(WELL)
        self.requests = []

    def __call__(self, request):
        sent = orjson.loads(request.content)
        operation = re.search(r"(?:query|mutation) (\w+)", sent["query"])[1]
        self.requests.append((operation, sent["variables"], request.headers.get("authorization", "")))
        response = self.responses[operation]
        if isinstance(response, httpx2.Response):
            return response
        body = {"errors": response} if isinstance(response, list) else {"data": response}
        return httpx2.Response(
            200, json=body, headers={"vendure-auth-token": "s3ss"} if operation == "TobanLogin" else {}
        )

    def operations(self):
        return [operation for operation, *_ in self.requests]


@pytest.fixture
def api():
    return Api()


@pytest.fixture
async def tools(tools, api):
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(api)) as http:
        yield replace(tools, http=http)


def steps(scrape):
    return {
        sample.labels["step"]: bool(sample.value)
        for sample in scrape.samples
        if sample.family.name.endswith("check_up")
    }


def collector(**check):
    return ShopApi(name="vendure", url="http://shop/shop-api?x=1", shop_check=ShopCheck(**check))


async def test_a_shop_with_all_steps_is_up(tools, api):
    """
    The catalogue answers; what it offers is searched for, looked at and priced.
    """
    scrape = await collector().collect(tools)

    assert scrape.samples[0].value == 54
    assert steps(scrape) == {"search": True, "product": True, "price": True}
    assert [variables for _, variables, _ in api.requests[1:]] == [{"term": "Lamp"}, {"slug": "lamp"}]


async def test_a_response_with_errors_is_down(tools, api):
    """
    With status 200: that is how Vendure says that its database is gone. Every step fails with it, at once.
    """
    shop = collector().open(tools)
    await shop.collect()
    api.responses["TobanCatalogue"] = [{"message": "connect ECONNREFUSED 127.0.0.1:5432", "path": ["products"]}]

    scrape = await shop.collect()
    assert scrape.error == (
        "shop_api vendure: http://shop/shop-api: answered 200, but with the error ECONNREFUSED at products"
    )
    assert steps(scrape) == {"search": False, "product": False, "price": False}
    api.responses = dict(WELL)
    assert steps(await shop.collect()) == {"search": True, "product": True, "price": True}


async def test_an_empty_catalogue_is_down(tools, api):
    api.responses["TobanCatalogue"] = {"products": {"totalItems": 0, "items": []}}
    assert "it has no product" in (await collector().collect(tools)).error


async def test_steps_fail_independently(tools, api):
    """
    A search that finds nothing, a product without price: the shop is up, the step is not.
    """
    api.responses["TobanSearch"] = {"search": {"totalItems": 0, "items": []}}
    api.responses["TobanProduct"] = {"product": {"id": "1", "variants": [{"id": "7", "priceWithTax": None}]}}
    assert steps(await collector(product="lamp").collect(tools)) == {"search": False, "product": True, "price": False}

    for price in (0, -100):
        api.responses["TobanProduct"] = {"product": {"id": "1", "variants": [{"id": "7", "priceWithTax": price}]}}
        assert steps(await collector(product="lamp").collect(tools))["price"] is False

    api.responses["TobanProduct"] = {"product": None}
    assert steps(await collector().collect(tools)) == {"search": False, "product": False, "price": False}

    api.responses["TobanSearch"] = {"elsewhere": 1}
    assert steps(await collector().collect(tools))["search"] is False


async def test_steps_run_at_their_own_interval(tools, api):
    """
    Between two tries their newest result stands.
    """
    shop = collector().open(tools)
    scrapes = []
    for _ in range(5):
        scrapes.append(steps(await shop.collect()))
        tools.clock.advance(15)

    assert scrapes == [{"search": True, "product": True, "price": True}] * 5
    assert api.operations().count("TobanSearch") == 2


async def test_the_session_of_a_customer_is_reused(tools, api):
    """
    Prices may be theirs alone. A session that has ended is replaced at the next round.
    """
    shop = collector(customer="b2b@example.com", password="p4ss").open(tools)
    await shop.collect()
    assert api.requests[1][1] == {"name": "b2b@example.com", "password": "p4ss"}
    assert api.requests[2][2] == "Bearer s3ss"

    api.responses["TobanProduct"] = [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]
    tools.clock.advance(60)
    assert steps(await shop.collect())["product"] is False
    tools.clock.advance(60)
    await shop.collect()
    assert api.operations().count("TobanLogin") == 2


async def test_a_rejected_login_fails_the_step_login(tools, api):
    """
    Vendure says so with 200 and an ErrorResult.
    """
    api.responses["TobanLogin"] = {
        "login": {"__typename": "InvalidCredentialsError", "errorCode": "INVALID_CREDENTIALS_ERROR"}
    }
    scrape = await collector(customer="b2b@example.com", password="wrong").collect(tools)

    assert steps(scrape) == {"login": False, "search": True, "product": True, "price": True}


async def test_the_cart_step_adds_and_removes_an_item(tools, api):
    """
    Otherwise no order is ever made.
    """
    await collector().collect(tools)
    assert "TobanAdd" not in api.operations()

    assert steps(await collector(cart=True).collect(tools))["cart"] is True
    assert api.operations()[-2:] == ["TobanAdd", "TobanEmpty"]

    api.responses["TobanAdd"] = {
        "addItemToOrder": {"__typename": "InsufficientStockError", "errorCode": "INSUFFICIENT_STOCK_ERROR"}
    }
    assert steps(await collector(cart=True).collect(tools))["cart"] is False


@pytest.mark.parametrize(
    "garbage", [{"products": None}, {"products": {"items": []}}, {"products": {"totalItems": "?"}}]
)
async def test_an_invalid_response_is_an_error(tools, api, garbage):
    """
    It is said, and nothing else happens.
    """
    api.responses["TobanCatalogue"] = garbage
    with pytest.raises(CollectError, match="no catalogue of Vendure"):
        await collector().collect(tools)
