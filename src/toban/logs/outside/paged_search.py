"""One search over the lines of an engine outside, page by page."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from toban.core.errors import BadQueryError, ResponseTooLargeError, StoreError
from toban.core.log_line import LogLine
from toban.logs.line_store import LAST_NUMBER, Direction, LinePosition, StoredLine
from toban.logs.logql.plan import LinePipeline, line_matcher, plan
from toban.logs.logql.search import FoundLine, LineSearch, found_line
from toban.logs.outside.client import OutsideClient
from toban.logs.outside.line_mapping import MILLISECOND, OutsideLine, restored_line
from toban.logs.outside.selection import outside_selection

PAGE: Final = 1_000
"""Lines of a response."""

SMALLEST_PAGE: Final = 10
"""Lines of a response when longer ones are too large."""

SPARE: Final = 50
"""Lines that are asked for beyond those that are wanted: the last millisecond of a response may be cut."""

FIRST_SPAN: Final = 6 * 3_600_000
LONGEST_SPAN: Final = 30 * 86_400_000
"""Milliseconds that one request covers: at first, and at most (Loki's own limit); each twice as many as the last."""


class PagedSearch:
    """
    Reads pages of whole milliseconds, and runs the query over them.

    Within a millisecond lines are numbered by their nanoseconds, as toban has sent them: so every line has a position,
    and a search can go on from it.
    """

    def __init__(
        self, client: OutsideClient, wanted: LineSearch, oldest: int, redacted: Callable[[LogLine], LogLine]
    ) -> None:
        self._client = client
        self._redacted = redacted
        self._wanted = wanted
        self._selection = outside_selection(wanted.query, client.labels)
        self._is_backward = wanted.direction is Direction.BACKWARD
        self._start, self._end = max(wanted.start, oldest), wanted.end
        if wanted.before:
            self._end = min(self._end, wanted.before.at + 1)
        if wanted.after:
            self._start = max(self._start, wanted.after.at)
        self._before, self._after = wanted.before, wanted.after
        self._span = FIRST_SPAN
        self._page = PAGE
        found = plan(wanted.query)
        self._is_exact = not found.stages and not wanted.nanoseconds
        self._matches, self._pipeline = line_matcher(found), LinePipeline(found.stages)

    @property
    def is_complete(self) -> bool:
        """Whether all was read."""
        return self._start >= self._end

    @property
    def reached(self) -> int:
        """The time (milliseconds) up to which all lines are found."""
        return self._end if self._is_backward else self._start

    async def next_page(self, wanted: int) -> list[FoundLine]:
        """Return the lines of the next page, in the order of the search; ``wanted`` is how many are of use."""
        start, end = self._start, self._end
        if self._is_backward:
            start = max(start, end - self._span)
        else:
            end = min(end, start + self._span)
        limit = min(self._page, wanted + SPARE) if self._is_exact else self._page
        try:
            lines = await self._lines(start, end, limit)
        except ResponseTooLargeError as error:
            if limit <= SMALLEST_PAGE:
                raise BadQueryError(f"{self._client.shown}: {error}: ask for a shorter time") from error
            self._page = max(limit // 2, SMALLEST_PAGE)
            return []
        if len(lines) < limit:
            self._go_on(start if self._is_backward else end)
            self._span = min(self._span * 2, LONGEST_SPAN)
        else:
            lines = await self._whole(lines)
        return await asyncio.to_thread(self._found, lines)

    def _go_on(self, at: int) -> None:
        if self._is_backward:
            self._end = at
        else:
            self._start = at

    async def _lines(self, start: int, end: int, limit: int) -> Sequence[OutsideLine]:
        lines = await self._client.lines(
            self._selection, start * MILLISECOND, end * MILLISECOND, limit, self._wanted.direction
        )
        if any(not start <= line.at // MILLISECOND < end for line in lines):
            raise StoreError(f"{self._client.shown}: the response has lines of another time")
        return lines

    async def _whole(self, lines: Sequence[OutsideLine]) -> Sequence[OutsideLine]:
        """Return the whole milliseconds of a response that may be cut in the last one, and go on after them."""
        times = {line.at // MILLISECOND for line in lines}
        last = min(times) if self._is_backward else max(times)
        if len(times) > 1:
            self._go_on(last + 1 if self._is_backward else last)
            return [line for line in lines if line.at // MILLISECOND != last]
        most = self._client.limits.lines
        whole = await self._lines(last, last + 1, most)
        if len(whole) >= most:
            raise BadQueryError(
                f"{self._client.shown}: there are {most:,} lines or more in the millisecond {last}: "
                "narrow the search by labels or words"
            )
        self._go_on(last if self._is_backward else last + 1)
        return whole

    def _found(self, lines: Sequence[OutsideLine]) -> list[FoundLine]:
        found = [
            found_line(stored, record)
            for stored in self._numbered(lines)
            if self._is_wanted(stored) and self._matches(stored) and (record := self._pipeline.run(stored))
        ]
        return found[::-1] if self._is_backward else found

    def _numbered(self, lines: Sequence[OutsideLine]) -> Iterator[StoredLine]:
        """Yield lines with their positions, in order; one that is there twice, for it was sent twice, once."""
        labels, numbered = self._client.settings.labels, dict[LinePosition, OutsideLine]()
        for line in sorted({line.key: line for line in lines}.values(), key=lambda it: str(it.key)):
            at, number = divmod(line.at, MILLISECOND)
            while (position := LinePosition(at, number)) in numbered:
                number += MILLISECOND
            numbered[position] = line
        highest: dict[int, int] = {}
        for at, number in numbered:
            highest[at] = max(number, highest.get(at, 0))
        self._before = _reduced(self._wanted.before, highest)
        self._after = _reduced(self._wanted.after, highest)
        for position in sorted(numbered):
            yield StoredLine(position, self._redacted(restored_line(numbered[position], labels)))

    def _is_wanted(self, stored: StoredLine) -> bool:
        position, bounds = stored.position, self._wanted.nanoseconds
        return (
            (self._before is None or position < self._before)
            and (self._after is None or position > self._after)
            and (not bounds or position.nanoseconds in bounds)
        )


def _reduced(position: LinePosition | None, highest: dict[int, int]) -> LinePosition | None:
    """Return a position from toban's own store, whose numbers are larger, as one among the lines of its millisecond."""
    if position is None or position.number >= LAST_NUMBER or position.number <= highest.get(position.at, LAST_NUMBER):
        return position
    return LinePosition(position.at, position.number % MILLISECOND)
