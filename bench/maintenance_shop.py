"""
What customers of a real Vendure notice of each maintenance task: how long the responses of its Shop API take meanwhile.

    PYTHONPATH=. python bench/maintenance_shop.py [VISITORS A MINUTE]

Customers search, look, buy and pay; the tasks find work to do, as after months. Once with each of Vendure's job stores.
"""

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self

import httpx2
import psycopg
from tests import servers
from tests.integration.test_vendure_maintenance import JOB, SESSION
from tests.maintenance_tools import perform, tools_for
from tests.vendure_shop import ShopProcesses, ShopVariant, api_key, run_vendure

from toban.demo.customers import CustomerTraffic, open_shop
from toban.demo.ground_truth import GroundTruth
from toban.maintenance.task import Task, TaskTools
from toban.maintenance.tasks.backup import Backup
from toban.maintenance.tasks.backup_check import BackupCheck
from toban.maintenance.tasks.postgres_advice import PostgresAdvice
from toban.maintenance.tasks.postgres_reindex import PostgresReindex
from toban.maintenance.tasks.postgres_vacuum import PostgresVacuum
from toban.maintenance.tasks.prune_jobs import PruneJobs
from toban.maintenance.tasks.prune_sessions import PruneSessions
from toban.maintenance.tasks.redis_tidy import RedisTidy
from toban.maintenance.tasks.restore_drill import RestoreDrill
from toban.maintenance.tasks.vendure_integrity import VendureIntegrity
from toban.shop.connections import open_connections
from toban.shop.settings import ShopSettings

VISITORS = 60.0
BASELINE_SECONDS = 30
LEAST_SECONDS = 20
"""How long at least a task is measured that finds the same work again."""
ROWS = 300_000
SESSIONS = 5_000
JOBS = 5_000
KEYS = 100_000
REPEATED = (Backup, BackupCheck, RestoreDrill, PostgresAdvice, VendureIntegrity)
FILL = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'expired:' .. i, 'x') end"


class Customers:
    """Customers of a shop, in a thread with a loop of their own: what toban does must not delay their clocks."""

    def __init__(self, shop: ShopProcesses, visitors: float) -> None:
        self._shop = shop
        self._visitors = visitors
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.books = GroundTruth()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    async def _run(self) -> None:
        async with open_shop(
            self._shop.shop_api, self.books, knows_status=self._shop.variant.customer_status
        ) as client:
            traffic = asyncio.ensure_future(CustomerTraffic(client, 7, visitors_per_minute=self._visitors).run())
            await asyncio.to_thread(self._stopped.wait)
            traffic.cancel()
            await asyncio.wait([traffic])

    async def measured(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do some work beside them, and print what they noticed."""
        self.books.seconds, before = {}, sum(self.books.failed_requests.values())
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
        times = sorted(it for each in list(self.books.seconds.values()) for it in list(each)) or [0.0]
        failed = sum(self.books.failed_requests.values()) - before
        p95 = times[int(len(times) * 0.95)]
        print(
            f"| {name} | {took:.1f} s | {len(times):,} | {statistics.median(times) * 1000:.0f} ms "
            f"| {p95 * 1000:.0f} ms | {times[-1] * 1000:,.0f} ms | {failed} |",
            flush=True,
        )


def fill(shop: ShopProcesses, variant: ShopVariant) -> None:
    """Leave in the database what months leave: dead rows, sessions that are over, settled jobs."""
    with psycopg.connect(shop.postgres.address(shop.database), autocommit=True) as connection:
        connection.execute("CREATE TABLE line (id int PRIMARY KEY, sku text) WITH (autovacuum_enabled = off)")
        connection.execute("CREATE INDEX line_sku ON line (sku)")
        connection.execute(f"INSERT INTO line SELECT i, md5(i::text) FROM generate_series(1, {ROWS}) i")
        connection.execute("DELETE FROM line WHERE mod(id, 5) > 0")
        connection.execute("ANALYZE line")
        old = {"kind": "old", "expires": "-8 days", "idle": "9 days", "many": SESSIONS}
        connection.execute(SESSION, old)
        if variant.jobs != "bullmq":
            job = {"queue": "send-email", "state": "COMPLETED", "age": "40 days", "error": None, "many": JOBS}
            connection.execute(JOB, job)


async def checked(task: Task, tools: TaskTools) -> None:
    """Do all steps of a task; what is skipped or fails ends the bench, for it would measure nothing."""
    _, done = await perform(task, tools)
    wrong = {name: text for name, (outcome, text) in done.items() if outcome != "done"}
    if wrong:
        raise SystemExit(f"{task.kind}: {wrong}")


async def again(task: Task, tools: TaskTools) -> None:
    """Do a task once; one that takes nothing away, again and again for a while."""
    began = time.perf_counter()
    await checked(task, tools)
    while isinstance(task, REPEATED) and time.perf_counter() - began < LEAST_SECONDS:
        await checked(task, tools)


def tasks(variant: ShopVariant, scratch: Path) -> Sequence[Task]:
    """Return the tasks in an order in which each finds its work."""
    always: list[Task] = [
        PostgresVacuum(),
        PostgresReindex(least=1_000_000),
        Backup(),
        BackupCheck(),
        RestoreDrill(scratch=scratch),
        PruneSessions(),
        RedisTidy(max_commands=2_000),
        PostgresAdvice(),
        VendureIntegrity(),
    ]
    return always if variant.jobs == "bullmq" else [*always, PruneJobs()]


async def bench(variant: ShopVariant, visitors: float) -> None:
    """Measure all tasks beside one shop."""
    print(f"\n| {variant.jobs}: meanwhile | took | requests | median | p95 | longest | failed |")
    print("|---|---|---|---|---|---|---|")
    with servers.valkey() as redis, run_vendure(variant) as shop, servers.folder() as folder:
        folder.chmod(0o711)
        fill(shop, variant)
        async with httpx2.AsyncClient() as http:
            given = {
                "database_admin": shop.postgres.address(shop.database),
                "database": shop.postgres.address(shop.database),
                "redis": shop.redis_url or f"redis://127.0.0.1:{redis.port}/0",
                "admin_api": shop.admin_api,
                "admin_api_key": await api_key(http, shop),
                "backups": {"path": str(folder / "backups"), "passphrase": "a passphrase of the bench"},
            }
            async with open_connections(ShopSettings.model_validate(given)) as connections:
                assert connections.redis
                await connections.redis.execute("EVAL", FILL, "0", str(KEYS))
                tools = tools_for(connections, folder, http=http)
                with Customers(shop, visitors) as customers:
                    await asyncio.sleep(10)  # the first responses fill the shop's caches
                    await customers.measured("nothing", lambda: asyncio.sleep(BASELINE_SECONDS))
                    for task in tasks(variant, folder / "scratch"):

                        def work(task: Task = task) -> Awaitable[object]:
                            return again(task, tools)

                        await customers.measured(f"`{task.kind}`", work)
                    await customers.measured("nothing again", lambda: asyncio.sleep(BASELINE_SECONDS))


async def main(visitors: float) -> None:
    """Measure with each job store."""
    print(f"{visitors:g} visitors a minute; {ROWS:,} rows, {SESSIONS:,} sessions, {JOBS:,} jobs, {KEYS:,} keys")
    for variant in (ShopVariant(), ShopVariant(jobs="bullmq")):
        await bench(variant, visitors)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else VISITORS))
