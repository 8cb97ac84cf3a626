"""
What customers notice of maintenance: how long their statements take beside a vacuum and rebuilt indexes.

    python bench/maintenance.py [ROWS]

The peer are the statements of the original script: `VACUUM FULL` and `REINDEX DATABASE`, which lock the shop out.
"""

import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import psycopg
from pydantic import SecretStr
from tests import servers
from tests.maintenance_tools import perform, tools_for

from toban.maintenance.tasks.postgres_reindex import PostgresReindex
from toban.maintenance.tasks.postgres_vacuum import PostgresVacuum
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

ROWS = 1_000_000
CUSTOMERS = 4
PAUSE = 0.005


def fill(address: str, rows: int) -> None:
    """Make a table whose rows are mostly dead, as after a prune."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS line")
        connection.execute("CREATE TABLE line (id int PRIMARY KEY, sku text, n int) WITH (autovacuum_enabled = off)")
        connection.execute("CREATE INDEX line_sku ON line (sku)")
        connection.execute(f"INSERT INTO line SELECT i, md5(i::text), 0 FROM generate_series(1, {rows}) i")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DELETE FROM line WHERE id % 5 > 0")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("ANALYZE line")


class Customers:
    """Threads that read a row and change another, again and again, and note how long each pair takes."""

    def __init__(self, address: str, rows: int) -> None:
        self._address, self._rows = address, rows
        self._stopped = threading.Event()
        self.times: list[float] = []
        self._threads = [threading.Thread(target=self._buy, args=(it,)) for it in range(CUSTOMERS)]

    def __enter__(self) -> Self:
        for it in self._threads:
            it.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for it in self._threads:
            it.join()

    def _buy(self, number: int) -> None:
        with psycopg.connect(self._address, autocommit=True) as connection:
            row = number
            while not self._stopped.is_set():
                row = (row * 31 + 7) % (self._rows // 5) + 1
                began = time.perf_counter()
                connection.execute("SELECT sku FROM line WHERE id = %s", [row * 5]).fetchall()
                connection.execute("UPDATE line SET n = n + 1 WHERE id = %s", [row * 5])
                self.times.append(time.perf_counter() - began)
                time.sleep(PAUSE)


async def measured(name: str, address: str, rows: int, work: Callable[[], Awaitable[object]]) -> None:
    """Do some work beside customers, and print what they noticed."""
    with Customers(address, rows) as customers:
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
    times = sorted(customers.times)
    p95 = times[int(len(times) * 0.95)] * 1000
    print(
        f"| {name} | {took:.1f} s | {len(times) / took:,.0f}/s | {statistics.median(times) * 1000:.2f} ms "
        f"| {p95:.2f} ms | {times[-1] * 1000:,.0f} ms |"
    )


async def main(rows: int) -> None:
    """Measure each of them on the same table."""
    print(f"{rows:,} rows, four of five dead, {CUSTOMERS} customers\n")
    print("| meanwhile | took | pairs | median | p95 | longest |\n|---|---|---|---|---|---|")
    with servers.postgres(autovacuum="off") as server, tempfile.TemporaryDirectory() as folder:
        server.execute("CREATE DATABASE shop")
        address = server.address("shop")
        info = psycopg.conninfo.conninfo_to_dict(address)
        url = f"postgresql://{info['user']}@{info['host']}:{info['port']}/shop"
        tools = tools_for(ShopConnections(settings=ShopSettings(database_admin=SecretStr(url))), Path(folder))
        fill(address, rows)
        await measured("nothing", address, rows, lambda: asyncio.sleep(5))
        await measured("toban: postgres_vacuum", address, rows, lambda: perform(PostgresVacuum(), tools))
        await measured("toban: postgres_reindex", address, rows, lambda: perform(PostgresReindex(), tools))
        for statement in ("VACUUM FULL line", "REINDEX DATABASE shop"):
            fill(address, rows)

            def peer(statement: str = statement) -> Awaitable[object]:
                return asyncio.to_thread(run, address, statement)

            await measured(f"`{statement}`", address, rows, peer)
        await tools.http.aclose()


def run(address: str, statement: str) -> None:
    """Run one statement."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(statement)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
