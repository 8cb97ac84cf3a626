"""Scraping of targets in tests of collectors."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from pydantic import SecretStr

from tests.fakes import FakeClock
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.shop.connections import ShopConnections
from toban.shop.database import ShopDatabase
from toban.shop.redis import ShopRedis


@asynccontextmanager
async def collector_tools(*, database: str = "", redis: str = "") -> AsyncIterator[CollectorTools]:
    """Return the tools of a collector: connections to a shop, and a clock that does not advance."""
    async with (
        httpx2.AsyncClient() as http,
        ShopDatabase(SecretStr(database or "postgresql://nobody@127.0.0.1:1/none")) as shop_database,
        ShopRedis(SecretStr(redis or "redis://127.0.0.1:1")) as shop_redis,
    ):
        shop = ShopConnections(shop_database if database else None, shop_redis if redis else None)
        yield CollectorTools(http, FakeClock(), MetricRegistry(), shop)


class ScrapedSamples(dict[str, dict[tuple[tuple[str, str], ...], float]]):
    """The samples of a scrape, by name and labels."""

    def __init__(self, result: ScrapeResult) -> None:
        super().__init__()
        self.error = result.error
        for sample in result.samples:
            self.setdefault(sample.family.name + sample.suffix, {})[tuple(sorted(sample.labels.items()))] = sample.value

    def one(self, name: str, **labels: str) -> float:
        """Return the value of the series with exactly these labels."""
        return self[name][tuple(sorted(labels.items()))]

    @property
    def reason(self) -> str:
        """The reason of a failed scrape, by its gauge."""
        (name,) = (name for name in self if name.endswith("_connection_failed"))
        return "".join(dict(labels)["reason"] for labels, value in self[name].items() if value)


OPEN_SCRAPERS: list[tuple[Collector, CollectorTools, Scraper]] = []


def open_scraper(collector: Collector, tools: CollectorTools) -> Scraper:
    """Return the scraper of a collector: the same one for the same collector and tools."""
    for known, its_tools, scraper in OPEN_SCRAPERS:
        if known is collector and its_tools is tools:
            return scraper
    OPEN_SCRAPERS.append((collector, tools, collector.open(tools)))
    return OPEN_SCRAPERS[-1][2]


async def scrape(collector: Collector, tools: CollectorTools) -> ScrapedSamples:
    """Scrape once, by the same scraper in each call."""
    return ScrapedSamples(ScrapeResult.of(await open_scraper(collector, tools).collect()))


async def poll_until(read: Callable[[], Awaitable[Any]], condition: Callable[[Any], bool], seconds: float = 20) -> Any:
    """Read repeatedly until a condition is met, and return the value."""
    deadline = time.monotonic() + seconds
    while not condition(value := await read()):
        assert time.monotonic() < deadline, f"still {value}"
        await asyncio.sleep(0.01)
    return value
