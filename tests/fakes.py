"""Stand-ins for the seams. Each is held to the same contract as the real thing."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from toban.collect.service import CollectionService
from toban.core.log_line import LogLine
from toban.core.samples import Batch, is_stale


class FakeClock:
    """A clock that stands still until somebody sleeps or moves it: then it jumps, so that no test waits."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._at = at
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._at

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)
        self._seconds += seconds

    def set(self, at: datetime) -> None:
        """Set the time of day, as somebody sets a machine's clock: no time passes."""
        self._at = at

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class ListSink:
    """Keeps what it is given; raises ``trouble`` instead when there is some."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.trouble: Exception | None = None
        self._given = asyncio.Condition()

    async def has(self, many: int, and_so: Callable[[], bool] = lambda: True) -> None:
        """Wait until so many batches have come, and something else is so."""
        async with self._given:
            await self._given.wait_for(lambda: len(self.batches) >= many and and_so())

    async def append(self, batches: Sequence[Batch]) -> None:
        if self.trouble:
            raise self.trouble
        self.batches.extend(batches)
        async with self._given:
            self._given.notify_all()


def told(batches: Sequence[Batch]) -> dict[str, float | str]:
    """Return what batches say, by series; without what each look says of itself."""
    return {
        str(labels): "stale" if stale else value
        for batch in batches
        for labels, value, stale in zip(
            batch.layout.series, batch.values.tolist(), is_stale(batch.values).tolist(), strict=True
        )
        if not labels.name.startswith("scrape_")
    }


class ListLines:
    """Keeps the log lines that it is given."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def write(self, lines: Sequence[LogLine]) -> None:
        self.lines.extend(lines)


async def look_once(collecting: CollectionService) -> None:
    """Let each target be looked at once, without the service's beat."""
    await asyncio.gather(*(watch.collect() for watch in collecting.loops))
