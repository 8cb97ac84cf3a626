"""
A store of lines under load, to be killed: `python -m tests.unit.logs.store.appending FOLDER SEED`.

Appends batches, each with a cursor, and maintains all the time; chunks and blocks are small, and minutes are days. What
is appended is printed when it begins, and again when it is acknowledged.
"""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.unit.logs.store.lines import make_small, some_lines
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.settings import LogSettings
from toban.logs.store.store import EmbeddedLineStore

SETTINGS = LogSettings(retention="10y")


class Clock:
    """Runs ahead with each append."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def main(folder: Path, seed: int) -> None:
    chance, clock = random.Random(seed), Clock()
    clock.at += timedelta(days=seed)
    make_small(setattr)
    with EmbeddedLineStore(folder, SETTINGS, clock, MetricRegistry()) as store:
        number = store.report().next_number
        while True:
            clock.at += timedelta(hours=chance.choice([1, 1, 1, 12]))
            count = chance.choice([0, 1, 2, 5, 20, 60])
            print(f"begun {number} {count}", flush=True)
            store.append(some_lines(count, number), {"source": str(number + count)})
            print(f"done {number} {count}", flush=True)
            number += count
            if chance.random() < 0.4:
                store.maintain(milliseconds(clock.now()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
