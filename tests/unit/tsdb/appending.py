"""
A store under load, to be killed: `python -m tests.unit.tsdb.appending FOLDER SEED`.

Appends batches of several layouts, some late, some twice; windows are short, so it flushes and compacts all the time.
Each batch is printed when its append begins, and again when it is acknowledged.
"""

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import ABSENT, STALE, Batch, Layout, gauge, milliseconds
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

WINDOW = timedelta(seconds=20)
SPAN = 4000
"""Milliseconds of one value: value and time determine each other, so a wrong sample shows."""


class Clock:
    """Runs ahead with each append: a day of windows passes in a second."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


def layout_of(places: list[int]) -> Layout:
    return Layout((Labels(__name__="load", place=str(place)) for place in places), [gauge("load", "Load.")])


def values_of(chance: random.Random, places: list[int], number: int) -> np.ndarray:
    """Return values that identify the append and the series."""
    values = np.array([number * 1000.0 + place + (0.5 if place % 3 == 0 else 0) for place in places])
    values[[chance.random() < 0.1 for _ in places]] = ABSENT
    values[[chance.random() < 0.02 for _ in places]] = STALE
    return values


async def appending(store: Store, clock: Clock, chance: random.Random, worker: int, last: list[int]) -> None:
    layouts = [sorted(chance.sample(range(worker * 20, worker * 20 + 20), chance.randint(1, 20))) for _ in range(4)]
    known = [(places, layout_of(places)) for places in layouts]
    while True:
        places, layout = chance.choice(known)
        if chance.random() < 0.05:
            layout = layout_of(places)
        last[0] += 1
        clock.at += timedelta(milliseconds=chance.randint(1, 400))
        late = chance.choice([0, 0, 0, 0, 5_000, 60_000, 600_000])
        at = milliseconds(clock.at) - chance.randint(0, late) if late else milliseconds(clock.at)
        batch = Batch(layout, at, values_of(chance, places, last[0]))
        line = f"{at} {','.join(map(str, places))} {batch.values.tobytes().hex()}"
        number = last[0]
        print(f"begun {number} {line}", flush=True)
        await store.append([batch])
        print(f"done {number}", flush=True)


async def main(folder: Path, seed: int) -> None:
    chance, clock, last = random.Random(seed), Clock(), [seed * 1_000_000]
    clock.at += timedelta(minutes=seed % 1000)
    with Store(folder, TsdbSettings(), clock, MetricRegistry(), window=WINDOW) as store:
        async with asyncio.TaskGroup() as group:
            group.create_task(store.run())
            for worker in range(3):
                group.create_task(appending(store, clock, chance, worker, last))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
