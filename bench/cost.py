"""
What toban costs a shop: how long its checkout takes with and without, and what toban asks of its database.

``python bench/cost.py [ORDERS]`` (200 unless given) opens a real Vendure three times, twice each in turn: alone, with
toban reading its tables, and with its telemetry going to toban too. The same customers buy one after the other; what
is printed is how long an answer of the checkout took (median and 95 of 100), and toban's own queries.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import numpy as np

from toban.demo.customers import open_shop, run_visits
from toban.demo.servers import free_port
from toban.demo.shop_processes import ShopProcesses, ShopVariant, run_shop
from toban.demo.traffic_model import BUSY, plan_visits

ORDERS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
BROWSING = {"Catalogue", "Search", "ShowProduct"}
OURS = """
SELECT coalesce(sum(calls), 0), coalesce(sum(total_exec_time), 0) FROM pg_stat_statements s
JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'toban'
"""
CASES: dict[str, tuple[Literal["off", "enriched"], bool]] = {
    "alone": ("off", False),
    "with toban": ("off", True),
    "with toban and telemetry": ("enriched", True),
}


@contextmanager
def on_duty(shop: ShopProcesses, port: int) -> Iterator[None]:
    """Let toban watch while the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"DATABASE_URL": shop.database_url, "SHOP_API_URL": shop.shop_api, "REDIS_URL": shop.redis_url or ""}
        command = [sys.executable, "-m", "toban", "up", "--listen", f"127.0.0.1:{port}", "--data", folder]
        environment = {"PATH": os.environ["PATH"], "HOME": folder, **given}
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            try:
                while True:
                    try:
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready").close()
                        break
                    except OSError:
                        time.sleep(0.1)
                yield
            finally:
                process.terminate()
                process.wait(30)


async def shopped(shop: ShopProcesses, seed: int, orders: int) -> list[float]:
    """Let so many orders be placed, and return how many seconds each answer of the checkout took."""
    async with open_shop(shop.shop_api) as door:
        ground_truth = await run_visits(door, plan_visits(seed, orders, BUSY))
    return [each for name, seconds in ground_truth.seconds.items() if name not in BROWSING for each in seconds]


def run(telemetry: Literal["off", "enriched"], watched: bool) -> tuple[list[float], float, float]:
    """Return the seconds of one case, toban's queries a minute, and their milliseconds a minute."""
    port = free_port()
    with (
        run_shop(ShopVariant(jobs="bullmq", telemetry=telemetry), f"http://127.0.0.1:{port}") as shop,
        on_duty(shop, port) if watched else nullcontext(),
    ):
        asyncio.run(shopped(shop, 99, 30))
        # What it asks once, at its start, is over; a minute holds each of its beats.
        time.sleep(20)
        shop.postgres.execute("SELECT pg_stat_statements_reset()", database=shop.database)
        began = time.monotonic()
        seconds = asyncio.run(shopped(shop, 1, ORDERS))
        time.sleep(max(0.0, 60 - (time.monotonic() - began)))
        [(calls, spent)] = shop.postgres.query(OURS, database=shop.database)
        minutes = (time.monotonic() - began) / 60
        return seconds, float(calls) / minutes, float(spent) / minutes


if __name__ == "__main__":
    times: dict[str, list[float]] = defaultdict(list)
    queried: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(2):
        for case, how in CASES.items():
            found, calls, spent = run(*how)
            times[case] += found
            queried[case].append((calls, spent))
    for case, seconds in times.items():
        half, most = np.percentile(np.array(seconds) * 1000, [50, 95])
        calls, spent = np.mean(queried[case], axis=0)
        print(
            f"{case}: p50 {half:.1f} ms, p95 {most:.1f} ms of {len(seconds)} answers;"
            f" toban asked {calls:.0f} queries a minute, {spent:.0f} ms of the database's time"
        )
