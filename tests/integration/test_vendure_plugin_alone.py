"""A real Vendure with the telemetry plugin alone: without Redis, and without traffic."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools
from tests.program import eventually
from tests.receiver import receiving
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, run_vendure
from toban.collect.collectors.redis.redis import Redis
from toban.collect.collectors.shop_api import ShopApi

pytestmark = SLOW

ADD = 'mutation Add { addItemToOrder(productVariantId: "1", quantity: 1) { __typename } }'
READ = "query Read { products(options: {take: 1}) { totalItems } }"


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    with run_vendure(ShopVariant(jobs="bullmq")) as it:
        yield it


@pytest.mark.trap(12)
async def test_without_redis_pages_load_and_carts_hang(shop: ShopProcesses):
    """
    Pages are read, `/health` is ok, and a cart waits for ever: the cart journey and Redis itself tell.
    """
    assert shop.valkey
    given = {"kind": "shop_api", "name": "vendure", "url": shop.shop_api, "shop_check": {"cart": True}, "timeout": "2s"}
    async with collector_tools(redis=shop.redis_url) as tools:
        at = replace(tools, clock=FakeClock())

        async def looked() -> tuple[dict[str, float], str, str]:
            """Look at both as a new toban would."""
            sells, redis = await ShopApi.model_validate(given).collect(at), await Redis().collect(tools)
            steps = {
                str(it.labels["step"]): it.value for it in sells.samples if it.family.name == "vendure_shop_check_up"
            }
            return steps, sells.error, redis.error

        assert await looked() == ({"search": 1, "product": 1, "price": 1, "cart": 1}, "", "")
        shop.valkey.kill()
        try:
            async with httpx2.AsyncClient(timeout=5) as http:
                read = await http.post(shop.shop_api, json={"query": READ})
                assert read.json()["data"]["products"]["totalItems"] > 0
                assert (await http.get(f"{shop.url}/health")).json() == {"status": "ok"}
                with pytest.raises(httpx2.ReadTimeout):
                    await http.post(shop.shop_api, json={"query": ADD}, timeout=3)
            steps, sells, redis = await looked()
        finally:
            shop.valkey.start()
    assert (steps, sells) == ({"search": 1, "product": 1, "price": 1, "cart": 0}, "")
    assert "can't be reached" in redis


@pytest.mark.trap(10)
def test_an_idle_worker_sends_one_endless_trace():
    """
    Who waited for its end would wait for ever: numbers are made of spans as they come.
    """
    with receiving() as receiver, run_vendure(ShopVariant(telemetry="plain"), receiver.url):

        def longest() -> tuple[str, int]:
            return Counter(it.trace for it in receiver.spans()).most_common(1)[0]

        first, many = eventually(longest, lambda found: found[1] > 200)
        assert eventually(longest, lambda found: found[1] > many + 200)[0] == first


@pytest.mark.trap(11)
def test_nothing_is_sent_to_the_developers_of_vendure(shop: ShopProcesses):
    """
    Neither by the server nor by the worker of a shop that toban starts.
    """
    for process in (shop.server, shop.worker):
        environment = Path(f"/proc/{process.process.pid}/environ").read_bytes().split(b"\0")
        assert b"VENDURE_DISABLE_TELEMETRY=true" in environment
