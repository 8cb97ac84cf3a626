"""Fakes of the ports. Each passes the same contract as the real implementation."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from toban.collect.service import CollectionService
from toban.core.errors import StoreError
from toban.core.log_line import LogLine
from toban.core.samples import Batch, is_stale
from toban.logs.line_redaction import LineRedactor


class FakeClock:
    """A clock that advances only by its methods; sleeping advances it, so that no test waits."""

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
        """Set the time of day, as on a machine: the monotonic clock stays."""
        self._at = at

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class ListSink:
    """Stores appended batches; raises ``error`` if there is one."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.error: Exception | None = None
        self._appended = asyncio.Condition()

    async def wait_for(self, count: int, condition: Callable[[], bool] = lambda: True) -> None:
        """Wait until there are so many batches and a condition is met."""
        async with self._appended:
            await self._appended.wait_for(lambda: len(self.batches) >= count and condition())

    async def append(self, batches: Sequence[Batch]) -> None:
        if self.error:
            raise self.error
        self.batches.extend(batches)
        async with self._appended:
            self._appended.notify_all()


class ListSampleLog:
    """Stores appended batches until they are committed; raises ``StoreError`` with ``error`` if there is one."""

    def __init__(self) -> None:
        self.dropped = 0
        self.error = ""
        self._batches: list[Batch] = []
        self._committed = 0

    def append(self, batches: Sequence[Batch]) -> None:
        self._batches.extend(batches)

    def pending(self, samples: int) -> list[tuple[int, Batch]]:
        self._check()
        found = []
        for position, batch in enumerate(self._batches[self._committed :], self._committed + 1):
            if samples <= 0:
                break
            found.append((position, batch))
            samples -= len(batch.layout)
        return found

    def commit(self, position: int) -> None:
        self._check()
        self._committed = max(self._committed, position)

    def _check(self) -> None:
        if self.error:
            raise StoreError(self.error)


def sample_values(batches: Sequence[Batch]) -> dict[str, float | str]:
    """Return the values of batches by series, without the metrics of the scrape."""
    return {
        str(labels): "stale" if stale else value
        for batch in batches
        for labels, value, stale in zip(
            batch.layout.series, batch.values.tolist(), is_stale(batch.values).tolist(), strict=True
        )
        if not labels.name.startswith("scrape_")
    }


class ListLineSink:
    """Stores log lines, redacted."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []

    def write(self, lines: Sequence[LogLine]) -> None:
        self.lines.extend(map(LineRedactor().redacted, lines))

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        self.write(lines)


async def collect_once(service: CollectionService) -> None:
    """Scrape each target once."""
    await asyncio.gather(*(loop.collect() for loop in service.loops))
