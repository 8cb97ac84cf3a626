"""What can be broken, and how it is mended: a block of each, broken while it lasts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Final

import psycopg

from toban.demo.processes import PATIENCE, Store
from toban.demo.servers import DemoError, listening
from toban.demo.shopping import Traffic
from toban.demo.traffic import NOBODY_CAN_PAY

# A block that is left by an error, or because the demo ends, mends nothing: there is nobody to mend it for.


@asynccontextmanager
async def _database(store: Store, _: Traffic) -> AsyncIterator[str]:
    store.postgres.kill()
    yield "PostgreSQL was killed. The shop still answers 200, and its /health says ok."
    store.postgres.start()
    _supervise(store)


@asynccontextmanager
async def _redis(store: Store, _: Traffic) -> AsyncIterator[str]:
    if not store.valkey:
        raise DemoError("this shop has no Redis")
    store.valkey.kill()
    yield "Redis was killed. Pages still come; who puts something into the cart waits."
    store.valkey.start()


@asynccontextmanager
async def _worker(store: Store, _: Traffic) -> AsyncIterator[str]:
    store.worker.kill()
    yield "The worker was killed. Nobody notices at once; jobs pile up."
    _supervise(store)


def _supervise(store: Store) -> None:
    """Start the worker again where it has ended, as its platform would: without a database it doesn't stay."""
    if store.worker.process.poll() is not None:
        store.worker.launch()
        listening(store.worker.port, store.worker.process, store.worker.log, PATIENCE)


@asynccontextmanager
async def _payments(_: Store, traffic: Traffic) -> AsyncIterator[str]:
    before, traffic.habits = traffic.habits, NOBODY_CAN_PAY
    yield "The payment provider is down. All is well but that nobody can pay."
    traffic.habits = before


@asynccontextmanager
async def _slow(store: Store, _: Traffic) -> AsyncIterator[str]:
    holding = asyncio.create_task(_hold(store))
    try:
        yield "Somebody changes a large table, a few seconds at a time: the shop is slow."
    finally:
        holding.cancel()
        with contextlib.suppress(asyncio.CancelledError, psycopg.Error):
            await holding


async def _hold(store: Store) -> None:
    """Hold what every product page needs, and let go of it now and then."""
    address = store.postgres.address(store.database)
    async with await psycopg.AsyncConnection.connect(address, application_name="migration") as connection:
        while True:
            async with connection.transaction():
                await connection.execute("LOCK TABLE product_variant, search_index_item IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(3)
            await asyncio.sleep(0.3)


Breaking = Callable[[Store, Traffic], AbstractAsyncContextManager[str]]

PARTS: Final[Mapping[str, Breaking]] = MappingProxyType(
    {"database": _database, "redis": _redis, "worker": _worker, "payments": _payments, "slow": _slow}
)
"""What can be broken; each says what happened when it was."""
