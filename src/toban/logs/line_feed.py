"""Tells those who follow the log which lines were just stored."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from toban.core.errors import QueryError
from toban.logs.line_store import StoredLine
from toban.logs.logql.plan import LinePipeline, line_matcher, plan
from toban.logs.logql.search import FoundLine, found_line
from toban.logs.logql.syntax_tree import LogQuery

MAX_SUBSCRIPTIONS: Final = 100
"""How many may follow at once."""

MAX_LINES: Final = 10_000
MAX_CHARACTERS: Final = 8 * 2**20
"""Lines, and characters of their texts, that wait for a reader; the oldest are dropped."""

SLICE: Final = 100
"""Lines that are matched without a pause for other tasks."""

INTERVAL: Final = 1.0
"""Seconds without a line after which a reader hears that there was none."""


@dataclass(frozen=True, slots=True)
class NewLines:
    """Lines that a query found among those just stored; ``dropped`` others were not read in time, at most."""

    lines: Sequence[FoundLine]
    dropped: int = 0


class LineFeed:
    """Passes stored lines on, in the order in which they were stored. For the event loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, lines: Sequence[StoredLine]) -> None:
        """Pass lines on to all subscriptions; this never waits."""
        for subscription in self._subscriptions:
            subscription.offer(lines)

    @property
    def is_full(self) -> bool:
        """Whether as many follow as may."""
        return len(self._subscriptions) >= MAX_SUBSCRIPTIONS

    @contextmanager
    def subscribe(self, query: LogQuery) -> Iterator["Subscription"]:
        """Subscribe to the lines that a query finds. Raises ``QueryError`` when too many follow."""
        if self.is_full:
            raise QueryError(f"{MAX_SUBSCRIPTIONS} readers follow the log already: try again later")
        subscription = Subscription(query)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)


class Subscription:
    """The lines that wait for one reader."""

    def __init__(self, query: LogQuery) -> None:
        self._plan = plan(query)
        self._matches = line_matcher(self._plan)
        self._pipeline = LinePipeline(self._plan.stages)
        self._batches: deque[tuple[Sequence[StoredLine], int]] = deque()
        self._lines, self._characters, self._dropped = 0, 0, 0
        self._arrived = asyncio.Event()

    def offer(self, lines: Sequence[StoredLine]) -> None:
        """Add lines, and drop the oldest beyond the limits."""
        characters = sum(len(it.line.message) + len(it.line.trace) for it in lines)
        self._batches.append((lines, characters))
        self._lines += len(lines)
        self._characters += characters
        while self._batches and (self._lines > MAX_LINES or self._characters > MAX_CHARACTERS):
            self._dropped += sum(self._plan.selects(it.line.stream) for it in self._take())
        self._arrived.set()

    async def new_lines(self) -> AsyncIterator[NewLines]:
        """Yield lines as they arrive, and nothing at least once a second, so that the reader can look around."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._arrived.wait()
            except TimeoutError:
                yield NewLines(())
                continue
            self._arrived.clear()
            while self._batches:
                batch = self._take()
                for first in range(0, len(batch), SLICE):
                    lines = list(self._found(batch[first : first + SLICE]))
                    if lines or self._dropped:
                        dropped, self._dropped = self._dropped, 0
                        yield NewLines(lines, dropped)
                    await asyncio.sleep(0)

    def _take(self) -> Sequence[StoredLine]:
        lines, characters = self._batches.popleft()
        self._lines -= len(lines)
        self._characters -= characters
        return lines

    def _found(self, batch: Sequence[StoredLine]) -> Iterator[FoundLine]:
        for stored in batch:
            if self._matches(stored) and (record := self._pipeline.run(stored)):
                yield found_line(stored, record)
