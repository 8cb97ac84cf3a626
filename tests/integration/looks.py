"""What tests of collectors have in common: tools, numbers by name, and patience."""

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
async def lent(*, database: str = "", redis: str = "") -> AsyncIterator[CollectorTools]:
    """Lend a shop's connections to a collector, with a clock that stands still."""
    async with (
        httpx2.AsyncClient() as http,
        ShopDatabase(SecretStr(database or "postgresql://nobody@127.0.0.1:1/none")) as lent_database,
        ShopRedis(SecretStr(redis or "redis://127.0.0.1:1")) as lent_redis,
    ):
        shop = ShopConnections(lent_database if database else None, lent_redis if redis else None)
        yield CollectorTools(http, FakeClock(), MetricRegistry(), shop)


class Numbers(dict[str, dict[tuple[tuple[str, str], ...], float]]):
    """A look's numbers by name and labels."""

    def __init__(self, look: ScrapeResult) -> None:
        super().__init__()
        self.trouble = look.error
        for sample in look.samples:
            self.setdefault(sample.family.name + sample.suffix, {})[tuple(sorted(sample.labels.items()))] = sample.value

    def one(self, name: str, **labels: str) -> float:
        """Return the number with exactly these labels."""
        return self[name][tuple(sorted(labels.items()))]

    @property
    def reason(self) -> str:
        """Return why there was no look, from the gauge that says so."""
        (name,) = (name for name in self if name.endswith("_connection_failed"))
        return "".join(dict(labels)["reason"] for labels, value in self[name].items() if value)


RUNNING: list[tuple[Collector, CollectorTools, Scraper]] = []


def running(collector: Collector, tools: CollectorTools) -> Scraper:
    """Return the running collector: always the same one for the same collector and tools."""
    for known, its_tools, scraper in RUNNING:
        if known is collector and its_tools is tools:
            return scraper
    RUNNING.append((collector, tools, collector.open(tools)))
    return RUNNING[-1][2]


async def look(collector: Collector, tools: CollectorTools) -> Numbers:
    """Collect once; a collector keeps what it keeps from one call to the next."""
    return Numbers(ScrapeResult.of(await running(collector, tools).collect()))


async def until(ask: Callable[[], Awaitable[Any]], well: Callable[[Any], bool], patience: float = 20) -> Any:
    """Ask again and again until the answer is as hoped, and return it."""
    deadline = time.monotonic() + patience
    while not well(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer}"
        await asyncio.sleep(0.01)
    return answer
