"""Collectors are settings; scrapers run."""

import typing
from dataclasses import replace

import pytest
from pydantic import SecretStr

from tests.fakes import ListSink, collect_once
from toban.collect.collector import COLLECTORS, Collector, Scraper
from toban.collect.preflight import probe
from toban.collect.service import CollectionService
from toban.collect.tools import CollectorTools
from toban.core.samples import gauge
from toban.shop.connections import ShopConnections
from toban.shop.redis import ShopRedis

HEAT = gauge("heat", "How warm it is.")


class Counting(Collector):
    """Counts its collections."""

    kind: str = "counting"
    unit: str = "times"

    def open(self, tools: object) -> Scraper:
        return CountingScraper()


class CountingScraper(Scraper):
    def __init__(self) -> None:
        self.count = 0

    async def collect(self):
        self.count += 1
        return [HEAT.sample(self.count)]


def newest(service: CollectionService) -> list[float]:
    return [value for loop in service.loops for batch in loop.newest[1:] for value in batch.values.tolist()]


@pytest.mark.parametrize("kind", COLLECTORS.names())
def test_collectors_have_no_private_attributes_and_declare_their_tools(kind):
    """
    No private attribute, and no annotation of all the tools there are.
    """
    collector = COLLECTORS.load(kind)
    assert not collector.__private_attributes__
    assert collector.model_config["frozen"]
    methods = [vars(collector)[name] for name in ("collect", "open") if name in vars(collector)]
    (given,) = (typing.get_type_hints(method)["tools"] for method in methods)
    assert given is not CollectorTools


def test_a_collector_without_collect_is_rejected():
    with pytest.raises(TypeError, match="Idle must define `collect` or `open`"):
        type("Idle", (Collector,), {"__module__": __name__})


async def test_a_scraper_keeps_its_state_from_one_collection_to_the_next(tools):
    service = CollectionService([Counting()], ListSink(), tools)
    for count in (1, 2):
        await collect_once(service)
        assert newest(service) == [count]


async def test_a_reload_keeps_loops_with_the_same_settings(tools):
    """
    A collector with other settings begins anew, and so does its name of before.
    """
    before = CollectionService([Counting(name="a"), Counting(name="b")], ListSink(), tools)
    await collect_once(before)
    after = CollectionService([Counting(name="a"), Counting(name="b", unit="once")], ListSink(), tools, before)
    await collect_once(after)
    assert newest(after) == [2, 1]


async def test_a_part_of_the_shop_that_is_not_set_is_the_collection_s_error(tools):
    service = CollectionService([COLLECTORS.load("redis")()], ListSink(), tools)
    await collect_once(service)
    assert service.targets()[0].error == "shop.redis is not set"


async def test_the_address_of_a_part_of_the_shop_is_the_instance(tools):
    """
    Unless one is set: also for `toban check`.
    """
    async with ShopRedis(SecretStr("redis://user:pw@127.0.0.1:1/2")) as redis:
        tools = replace(tools, shop=ShopConnections(redis=redis))
        for instance, expected in (("", "127.0.0.1:1"), ("cache", "cache")):
            collector = COLLECTORS.load("redis")(instance=instance)
            assert CollectionService([collector], ListSink(), tools).targets()[0].labels["instance"] == expected
            assert (await probe(collector, tools)).instance == expected


def test_a_kind_is_a_module_or_a_package():
    """
    A package has a module of its own name.
    """
    assert COLLECTORS.load("dns").__module__ == "toban.collect.collectors.dns"
    assert COLLECTORS.load("fly").__module__ == "toban.collect.collectors.fly.fly"
