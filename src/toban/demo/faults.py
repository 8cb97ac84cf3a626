"""The faults of the demo: each is a context manager that injects a fault, and fixes it at its end."""

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
from toban.demo.servers import DemoError, Server, wait_until_listening
from toban.demo.shop_processes import ROLE, START_TIMEOUT, ShopProcesses
from toban.demo.storefront import Storefront
from toban.demo.traffic_model import NOBODY_CAN_PAY

NEVER_ELIGIBLE: Final = json.dumps(
    {"code": "default-shipping-eligibility-checker", "args": [{"name": "orderMinimum", "value": "99999999"}]}
)
"""An eligibility checker by which a shipping method is eligible for no order."""

# After an error, or when the demo ends, most faults are not fixed: the shop ends with the demo.


@dataclass(frozen=True, slots=True)
class FaultTarget:
    """What faults are injected into."""

    shop: ShopProcesses
    traffic: CustomerTraffic
    storefront: Storefront


@asynccontextmanager
async def _database(target: FaultTarget) -> AsyncIterator[str]:
    target.shop.postgres.kill()
    yield "PostgreSQL was killed. The shop still answers 200, and its /health says ok."
    _start(target.shop.postgres)
    _supervise(target.shop)


@asynccontextmanager
async def _redis(target: FaultTarget) -> AsyncIterator[str]:
    if not target.shop.valkey:
        raise DemoError("this shop has no Redis")
    target.shop.valkey.kill()
    yield "Redis was killed. Pages load; adding to the cart hangs."
    _start(target.shop.valkey)


@asynccontextmanager
async def _worker(target: FaultTarget) -> AsyncIterator[str]:
    target.shop.worker.kill()
    yield "The worker was killed. The shop works; jobs pile up in the queue."
    _supervise(target.shop)


def _start(server: Server) -> None:
    """Start a server that was killed, unless a runbook of toban's did."""
    if not server.is_running:
        server.start()


def _supervise(shop: ShopProcesses) -> None:
    """Restart the worker if it has ended, as a platform would: it ends without a database."""
    if not shop.worker.is_running:
        shop.worker.launch()
        wait_until_listening(shop.worker.port, shop.worker.process, shop.worker.log, START_TIMEOUT)


@asynccontextmanager
async def _payments(target: FaultTarget) -> AsyncIterator[str]:
    before, target.traffic.habits = target.traffic.habits, NOBODY_CAN_PAY
    yield "The payment provider is down. Everything else works; all payments fail."
    target.traffic.habits = before


@asynccontextmanager
async def _slow(target: FaultTarget) -> AsyncIterator[str]:
    locking = asyncio.create_task(_lock_repeatedly(target.shop))
    try:
        yield "A migration locks large tables for a few seconds at a time: the shop is slow."
    finally:
        locking.cancel()
        with contextlib.suppress(asyncio.CancelledError, psycopg.Error):
            await locking


async def _lock_repeatedly(shop: ShopProcesses) -> None:
    """Lock the tables of every product page, and release them briefly."""
    address = shop.postgres.address(shop.database)
    async with await psycopg.AsyncConnection.connect(address, application_name="migration") as connection:
        while True:
            async with connection.transaction():
                await connection.execute("LOCK TABLE product_variant, search_index_item IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(3)
            await asyncio.sleep(0.3)


@asynccontextmanager
async def _hang(target: FaultTarget) -> AsyncIterator[str]:
    process = target.shop.server.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield "The shop's server hangs: it accepts connections and sends no response."
    finally:
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _locks(target: FaultTarget) -> AsyncIterator[str]:
    address = target.shop.postgres.address(target.shop.database)
    async with await psycopg.AsyncConnection.connect(address, application_name="stock-import") as connection:
        await connection.execute("LOCK TABLE order_line IN ACCESS EXCLUSIVE MODE")
        yield "A forgotten script holds a lock: adding to the cart hangs."


@asynccontextmanager
async def _connections(target: FaultTarget) -> AsyncIterator[str]:
    address = target.shop.postgres.address(target.shop.database, ROLE)
    async with contextlib.AsyncExitStack() as stack:
        count = await _leak(address, stack)
        leaking = asyncio.create_task(_leak_continuously(address, stack))
        yield f"A report leaks connections: {count} of them, and PostgreSQL accepts no more."
        leaking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaking


async def _leak(address: str, stack: contextlib.AsyncExitStack) -> int:
    """Open connections until the server rejects one; return their number."""
    count = 0
    while True:
        try:
            session = await psycopg.AsyncConnection.connect(address, application_name="report", connect_timeout=5)
        except psycopg.errors.ConnectionTimeout:
            continue
        except psycopg.OperationalError:  # the server's limit
            return count
        await stack.enter_async_context(session)
        count += 1


async def _leak_continuously(address: str, stack: contextlib.AsyncExitStack) -> None:
    """Open the connections that others close."""
    while True:
        await asyncio.sleep(1)
        await _leak(address, stack)


@asynccontextmanager
async def _storefront(target: FaultTarget) -> AsyncIterator[str]:
    target.storefront.empty = True
    yield "The storefront was deployed without its catalogue: an empty page with status 200."
    target.storefront.empty = False


@asynccontextmanager
async def _checkout(target: FaultTarget) -> AsyncIterator[str]:
    address = target.shop.postgres.address(target.shop.database)
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        kept = await (await connection.execute("SELECT id, checker FROM shipping_method")).fetchall()
        await connection.execute("UPDATE shipping_method SET checker = %s", (NEVER_ELIGIBLE,))
        yield "The minimum order of every shipping method was set to a million: no checkout succeeds."
        for number, checker in kept:
            await connection.execute("UPDATE shipping_method SET checker = %s WHERE id = %s", (checker, number))


@asynccontextmanager
async def _loop(target: FaultTarget) -> AsyncIterator[str]:
    process = target.shop.server.process
    process.send_signal(signal.SIGWINCH)
    try:
        yield "An endless computation blocks the shop's event loop most of the time."
    finally:
        process.send_signal(signal.SIGWINCH)


Fault = Callable[[FaultTarget], AbstractAsyncContextManager[str]]

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
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
"""The faults by name; each yields a description."""
