"""What can be broken, and how it is mended: a block of each, broken while it lasts."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import psycopg

from toban.demo.customers import CustomerTraffic
from toban.demo.servers import DemoError, listening
from toban.demo.shop_processes import PATIENCE, ROLE, ShopProcesses
from toban.demo.storefront import Storefront
from toban.demo.traffic_model import NOBODY_CAN_PAY

NEVER: Final = json.dumps(
    {"code": "default-shipping-eligibility-checker", "args": [{"name": "orderMinimum", "value": "99999999"}]}
)
"""What makes a way to ship eligible for no order."""

# A block that is left by an error, or because the demo ends, mends nothing: there is nobody to mend it for.


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """All that can be broken."""

    store: ShopProcesses
    traffic: CustomerTraffic
    storefront: Storefront


@asynccontextmanager
async def _database(scene: FaultTarget) -> AsyncIterator[str]:
    scene.store.postgres.kill()
    yield "PostgreSQL was killed. The shop still answers 200, and its /health says ok."
    scene.store.postgres.start()
    _supervise(scene.store)


@asynccontextmanager
async def _redis(scene: FaultTarget) -> AsyncIterator[str]:
    if not scene.store.valkey:
        raise DemoError("this shop has no Redis")
    scene.store.valkey.kill()
    yield "Redis was killed. Pages still come; who puts something into the cart waits."
    scene.store.valkey.start()


@asynccontextmanager
async def _worker(scene: FaultTarget) -> AsyncIterator[str]:
    scene.store.worker.kill()
    yield "The worker was killed. Nobody notices at once; jobs pile up."
    _supervise(scene.store)


def _supervise(store: ShopProcesses) -> None:
    """Start the worker again where it has ended, as its platform would: without a database it doesn't stay."""
    if store.worker.process.poll() is not None:
        store.worker.launch()
        listening(store.worker.port, store.worker.process, store.worker.log, PATIENCE)


@asynccontextmanager
async def _payments(scene: FaultTarget) -> AsyncIterator[str]:
    before, scene.traffic.habits = scene.traffic.habits, NOBODY_CAN_PAY
    yield "The payment provider is down. All is well but that nobody can pay."
    scene.traffic.habits = before


@asynccontextmanager
async def _slow(scene: FaultTarget) -> AsyncIterator[str]:
    holding = asyncio.create_task(_hold(scene.store))
    try:
        yield "Somebody changes a large table, a few seconds at a time: the shop is slow."
    finally:
        holding.cancel()
        with contextlib.suppress(asyncio.CancelledError, psycopg.Error):
            await holding


async def _hold(store: ShopProcesses) -> None:
    """Hold what every product page needs, and let go of it now and then."""
    address = store.postgres.address(store.database)
    async with await psycopg.AsyncConnection.connect(address, application_name="migration") as connection:
        while True:
            async with connection.transaction():
                await connection.execute("LOCK TABLE product_variant, search_index_item IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(3)
            await asyncio.sleep(0.3)


@asynccontextmanager
async def _hang(scene: FaultTarget) -> AsyncIterator[str]:
    process = scene.store.server.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield "The shop's server hangs: it accepts connections, and answers nothing."
    finally:
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _locks(scene: FaultTarget) -> AsyncIterator[str]:
    address = scene.store.postgres.address(scene.store.database)
    async with await psycopg.AsyncConnection.connect(address, application_name="stock-import") as connection:
        await connection.execute("LOCK TABLE order_line IN ACCESS EXCLUSIVE MODE")
        yield "A script holds a lock and was forgotten: whoever puts something into the cart waits for it."


@asynccontextmanager
async def _connections(scene: FaultTarget) -> AsyncIterator[str]:
    address = scene.store.postgres.address(scene.store.database, ROLE)
    async with contextlib.AsyncExitStack() as stack:
        opened = await _leak(address, stack)
        leaking = asyncio.create_task(_leak_on(address, stack))
        yield f"A report leaks connections: {opened} of them, and PostgreSQL takes no more."
        leaking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaking


async def _leak(address: str, stack: contextlib.AsyncExitStack) -> int:
    """Connect until the server refuses; return how many connections that were."""
    opened = 0
    while True:
        try:
            session = await psycopg.AsyncConnection.connect(address, application_name="report", connect_timeout=5)
        except psycopg.errors.ConnectionTimeout:
            continue
        except psycopg.OperationalError:  # the server's limit
            return opened
        await stack.enter_async_context(session)
        opened += 1


async def _leak_on(address: str, stack: contextlib.AsyncExitStack) -> None:
    """Take what others give back, too."""
    while True:
        await asyncio.sleep(1)
        await _leak(address, stack)


@asynccontextmanager
async def _storefront(scene: FaultTarget) -> AsyncIterator[str]:
    scene.storefront.empty = True
    yield "The storefront was deployed without its catalogue: an empty page, and 200."
    scene.storefront.empty = False


@asynccontextmanager
async def _checkout(scene: FaultTarget) -> AsyncIterator[str]:
    address = scene.store.postgres.address(scene.store.database)
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        kept = await (await connection.execute("SELECT id, checker FROM shipping_method")).fetchall()
        await connection.execute("UPDATE shipping_method SET checker = %s", (NEVER,))
        yield "Somebody set the least order of every way to ship to a million: nobody gets to the till."
        for number, checker in kept:
            await connection.execute("UPDATE shipping_method SET checker = %s WHERE id = %s", (checker, number))


@asynccontextmanager
async def _loop(scene: FaultTarget) -> AsyncIterator[str]:
    process = scene.store.server.process
    process.send_signal(signal.SIGWINCH)
    try:
        yield "An endless computation blocks the shop's event loop most of the time."
    finally:
        process.send_signal(signal.SIGWINCH)


Breaking = Callable[[FaultTarget], AbstractAsyncContextManager[str]]

FAULTS: Final[Mapping[str, Breaking]] = MappingProxyType(
    {
        "database": _database,
        "redis": _redis,
        "worker": _worker,
        "payments": _payments,
        "slow": _slow,
        "hang": _hang,
        "locks": _locks,
        "connections": _connections,
        "storefront": _storefront,
        "checkout": _checkout,
        "loop": _loop,
    }
)
"""What can be broken; each says what happened when it was."""
