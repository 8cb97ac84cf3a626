"""What tests of collectors have in common: tools, numbers by name, and patience."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from pydantic import SecretStr

from tests.fakes import FakeClock
from toban.collect.collector import Collector, Look
from toban.collect.tools import Tools
from toban.core.metric_registry import Meters
from toban.shop.connections import Shop
from toban.shop.database import Database
from toban.shop.redis import Redis


@asynccontextmanager
async def lent(*, database: str = "", redis: str = "") -> AsyncIterator[Tools]:
    """Lend a shop's connections to a collector, with a clock that stands still."""
    async with (
        httpx2.AsyncClient() as http,
        Database(SecretStr(database or "postgresql://nobody@127.0.0.1:1/none")) as lent_database,
        Redis(SecretStr(redis or "redis://127.0.0.1:1")) as lent_redis,
    ):
        shop = Shop(lent_database if database else None, lent_redis if redis else None)
        yield Tools(http, FakeClock(), Meters(), shop)


class Numbers(dict[str, dict[tuple[tuple[str, str], ...], float]]):
    """A look's numbers by name and labels."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.trouble = look.trouble
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


async def look(collector: Collector, tools: Tools) -> Numbers:
    """Look once."""
    found = await collector.collect(tools)
    assert isinstance(found, Look)
    return Numbers(found)


async def until(ask: Callable[[], Awaitable[Any]], well: Callable[[Any], bool], patience: float = 20) -> Any:
    """Ask again and again until the answer is as hoped, and return it."""
    deadline = time.monotonic() + patience
    while not well(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer}"
        await asyncio.sleep(0.01)
    return answer
