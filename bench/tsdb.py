"""
How fast and how small the store is: `python bench/tsdb.py [--series N] [--hours N]`.

The data is what an exporter shows: 60 % histogram buckets, 20 % counters, 5 % sums with fractions, 15 % gauges, half
of them with two decimal places, one look each 15 s with a few milliseconds of jitter. The clock is the bench's own, the
disk is real.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from toban.core.labels import Labels
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Layout, milliseconds
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Exporter:
    def __init__(self, series: int, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        names = ["buckets_bucket"] * (series * 60 // 100) + ["counts_total"] * (series * 20 // 100)
        names += ["seconds_sum"] * (series * 5 // 100)
        names += ["gauges"] * (series - len(names))
        self.layout = Layout(
            Labels(__name__=name, job="bench", instance="shop:9100", status=str(i % 5), id=f"{i:05}")
            for i, name in enumerate(names)
        )
        kinds = np.array(names)
        self.buckets, self.counts = kinds == "buckets_bucket", kinds == "counts_total"
        self.sums, self.gauges = kinds == "seconds_sum", kinds == "gauges"
        self.rates = self.random.exponential(0.4, series)
        self.values = np.floor(self.random.exponential(1000, series))
        self.whole = self.gauges & (np.arange(series) % 2 == 0)

    def scrape(self, at: datetime) -> Batch:
        size = len(self.values)
        self.values += np.where(self.buckets, self.random.poisson(self.rates * 0.3, size), 0)
        self.values += np.where(self.counts, self.random.poisson(self.rates * 3, size), 0)
        self.values += np.where(self.sums, self.random.exponential(0.3, size), 0)
        self.values += np.where(self.whole, self.random.integers(-1, 2, size), 0)
        drift = np.round(self.values + self.random.normal(0, 1, size), 2)
        self.values = np.where(self.gauges & ~self.whole, drift, self.values)
        jitter = int(self.random.integers(-5, 6))
        return Batch(self.layout, milliseconds(at) + jitter, self.values.copy())


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def say(what: str, number: float, unit: str) -> None:
    print(f"{what:<58} {number:>10.3f} {unit}", flush=True)


def percentiles(what: str, seconds: list[float]) -> None:
    for share in (50, 95, 99, 100):
        say(f"{what}, p{share}", float(np.percentile(seconds, share)) * 1000, "ms")


def median(store: Store, matchers: list[Matcher], begin: int, end: int) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        store.select(matchers, begin, end)
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1000


async def main(series: int, hours: int, folder: Path) -> None:
    clock, settings = Clock(START), TsdbSettings()
    exporter = Exporter(series)
    say("resident before", resident(), "MiB")
    with Store(folder, settings, clock, MetricRegistry()) as store:
        idle: list[float] = []
        for scrape in range(hours * 240):
            batch = exporter.scrape(clock.at)
            began = time.perf_counter()
            await store.append([batch])
            idle.append(time.perf_counter() - began)
            clock.at += timedelta(seconds=15)
            if scrape % 40 == 0 and scrape < (hours - 2) * 240:
                await store.maintain()
        percentiles(f"append of {series} series", idle)
        say("resident with two hours in the head", resident(), "MiB")
    clock.at = START + timedelta(hours=hours)

    began = time.perf_counter()
    with Store(folder, settings, clock, MetricRegistry()) as store:
        opened = time.perf_counter() - began
        store.select(
            [Matcher("job", MatchOperator.EQUAL, "bench")], milliseconds(clock.at) - 300_000, milliseconds(clock.at)
        )
        say("open with two hours in the head, to the first answer", (time.perf_counter() - began) * 1000, "ms")
        say("  of it opening", opened * 1000, "ms")

        clock.at += timedelta(minutes=15)
        during: list[float] = []
        sealing = threading.Event()

        async def seal() -> None:
            began = time.perf_counter()
            await store.maintain()
            say("sealing the head", (time.perf_counter() - began) * 1000, "ms")
            sealing.set()

        task = asyncio.create_task(seal())
        removed = time.perf_counter() + 0.5
        while not sealing.is_set() or time.perf_counter() < removed:
            clock.at += timedelta(milliseconds=50)
            batch = exporter.scrape(clock.at)
            began = time.perf_counter()
            await store.append([batch])
            during.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
        await task
        percentiles("append while the head is sealed", during)

        samples = sum(len(group.ids) * group.count for block in store._block_set.blocks for group in block.groups)
        size = sum(store._block_set.sizes().values())
        say("bytes a sample, sealed", size / samples, "B")
        end = milliseconds(START + timedelta(hours=hours))
        one = [
            Matcher("__name__", MatchOperator.EQUAL, "counts_total"),
            Matcher("id", MatchOperator.EQUAL, f"{series * 70 // 100:05}"),
        ]
        everything = [Matcher("job", MatchOperator.EQUAL, "bench")]
        for back in (1, 6, 24):
            if back <= hours:
                begin = end - back * 3_600_000
                say(f"select {series} series over {back} h from blocks", median(store, everything, begin, end), "ms")
                say(f"select one series over {back} h from blocks", median(store, one, begin, end), "ms")
        rss = resident()
        groups = store.select(everything, max(0, end - 6 * 3_600_000), end)
        print("groups:", len(groups), "points:", sum(group.values.size for group in groups))
        del groups
        say("resident", rss, "MiB")
    say("greatest resident", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--series", type=int, default=1000)
    options.add_argument("--hours", type=int, default=8)
    chosen = options.parse_args(sys.argv[1:])
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(chosen.series, chosen.hours, Path(place)))
