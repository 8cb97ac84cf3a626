"""The same load on a real shop has the same job metrics, with jobs in the database and in Redis."""

import asyncio
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tests.fakes import FakeClock, ListSink, sample_values
from tests.integration.scraping import collector_tools
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, place_orders, run_vendure
from toban.collect.collector import Collector
from toban.collect.collectors.bullmq import Bullmq
from toban.collect.collectors.vendure_db.vendure_db import VendureDb
from toban.collect.service import ScrapeLoop
from toban.core.metric_registry import MetricRegistry
from toban.shop.settings import ShopSettings
from toban.state.backends import SqliteBackend
from toban.state.database import State

pytestmark = SLOW

WHERE: dict[Literal["sql", "bullmq"], type[Collector]] = {"sql": VendureDb, "bullmq": Bullmq}


async def done(shop: ShopProcesses, path: Path) -> dict[tuple[str, ...], float | str]:
    """Look until no job waits or runs any more, and return how many were done, given up and tried again by queue."""
    address = {"redis": shop.redis_url} if shop.variant.jobs == "bullmq" else {"database": shop.database_url}
    clock, sink = FakeClock(datetime.now(UTC)), ListSink()
    async with collector_tools(**address) as tools, State(SqliteBackend(path), clock, MetricRegistry()) as state:
        parts = {"clock": clock, "state": state, "shop": replace(tools.shop, settings=ShopSettings())}
        loop = ScrapeLoop(WHERE[shop.variant.jobs](), sink, replace(tools, **parts))
        end = time.monotonic() + 60
        last = False
        while True:
            await loop.collect()
            assert loop.status.up, loop.status.error
            found = {
                series: value for series, value in sample_values(sink.batches).items() if "vendure_jobs_" in series
            }
            if found and not any(
                value for series, value in found.items() if series.startswith(("vendure_jobs_w", "vendure_jobs_ru"))
            ):
                if last:
                    break
                last = True  # what ended after this look began is counted by the next
            assert time.monotonic() < end, found
            await asyncio.sleep(0.1)
            clock.advance((datetime.now(UTC) - clock.now()).total_seconds())
    pattern = re.compile(r'vendure_jobs_(completed|failed|retried)_total{.*queue="(.*)"}')
    return {match.groups(): value for series, value in found.items() if (match := pattern.fullmatch(series))}


async def test_the_same_load_has_the_same_job_metrics(tmp_path):
    """
    The index is brought up to date for the same three orders; what ran when the shop was populated is long gone.
    """
    found = {}
    for jobs in WHERE:
        with run_vendure(ShopVariant(jobs=jobs)) as shop:
            await place_orders(shop, seed=5, orders=3)
            found[jobs] = await done(shop, tmp_path / f"{jobs}.db")
    assert found["sql"] == found["bullmq"]
    assert found["sql"]["completed", "update-search-index"] == 3
