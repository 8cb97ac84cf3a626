"""Lines that toban no longer holds are searched in the outside engine."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from toban.core.errors import QueryCanceledError, QueryError, StoreError
from toban.core.matchers import Matcher
from toban.core.query_result import QueryResult
from toban.logs.line_store import Direction
from toban.logs.log_engine import LogEngine
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.parser import parse_metric_query
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.search import FoundSlice, LineSearch, MissingLines, joined
from toban.logs.logql.statistics import FoundStreams, FoundVolumes
from toban.logs.logql.syntax_tree import MetricQuery, range_aggregations
from toban.logs.outside.engine import OutsideLogEngine

T = TypeVar("T")

NEVER: Final = 2**62
"""The time since which lines are kept where all are searched outside."""


class TieredLogEngine:
    """
    A ``LogEngine`` of two: the embedded one for the time in which no line was deleted, the outside one for older lines.

    A search over both is split at that border; a query for series that reads further back runs outside as a whole, for
    two engines don't count alike. What the outside one can't answer is named in the result, with the reason: the part
    that is held here is answered.
    """

    def __init__(self, embedded: LogqlEngine, outside: OutsideLogEngine | None = None) -> None:
        self.limits: LogqlLimits = embedded.limits
        self.outside = outside
        self._embedded = embedded

    async def search(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> AsyncGenerator[FoundSlice]:
        """Find lines, and yield them slice by slice; the outside engine's are marked."""
        self.limits.check_lines(wanted.limit)
        outside, border = self.outside, await self._border()
        older = replace(wanted, end=min(wanted.end, border))
        newer = replace(wanted, start=max(wanted.start, border))
        left = wanted.limit
        for part in (older, newer) if wanted.direction is Direction.FORWARD else (newer, older):
            if not left or not _has_lines(part):
                continue
            part = replace(part, limit=left)
            if part.end > border:
                slices = self._embedded.search(part, time_limit=time_limit)
            elif outside is not None and part.end > outside.oldest:
                slices = self._search_outside(outside, part, time_limit)
            else:
                continue
            async with aclosing(slices):
                async for found in slices:
                    left -= len(found.lines)
                    yield found

    async def lines(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> FoundSlice:
        """Return all lines of a search together."""
        return await joined(self.search(wanted, time_limit=time_limit), self.limits)

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query for series at one time."""
        root = parse_metric_query(query)
        return await self._evaluated(root, at, at, lambda engine: engine.instant(query, at, time_limit=time_limit))

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end."""
        root = parse_metric_query(query)
        self.limits.check_range(start, end, step)
        return await self._evaluated(
            root, start, end, lambda engine: engine.range(query, start, end, step, time_limit=time_limit)
        )

    async def evaluate(
        self, root: MetricQuery, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return the matrix of a query that was parsed already, or built."""
        return await self._evaluated(
            root, start, end, lambda engine: engine.evaluate(root, start, end, step, time_limit=time_limit)
        )

    async def streams(self, selectors: Sequence[Sequence[Matcher]], start: int, end: int) -> FoundStreams:
        """Return the labels of the streams that any selector chooses, of both engines."""
        parts, missing = await self._both(start, end, lambda engine, *times: engine.streams(selectors, *times))
        found = {tuple(sorted(it.items())): it for part in parts for it in part.labels}
        return FoundStreams([found[key] for key in sorted(found)], missing)

    async def volumes(
        self, matchers: tuple[Matcher, ...], names: Sequence[str], start: int, end: int, step: int
    ) -> FoundVolumes:
        """Return the volumes of streams that have the same values of some labels, of both engines."""
        parts, missing = await self._both(
            start, end, lambda engine, *times: engine.volumes(matchers, names, *times, step)
        )
        found = FoundVolumes({}, missing)
        for part in parts:
            await asyncio.to_thread(found.add, part.volumes)
        return found

    async def _border(self) -> int:
        """Return the time (milliseconds) since which lines are searched here."""
        if self.outside is None:
            return -NEVER
        if self.outside.client.settings.only:
            return NEVER
        since = await self._embedded.kept_since()
        return NEVER if since is None else since

    async def _search_outside(
        self, outside: OutsideLogEngine, part: LineSearch, time_limit: timedelta | None
    ) -> AsyncGenerator[FoundSlice]:
        is_forward = part.direction is Direction.FORWARD
        reached = part.start if is_forward else part.end
        try:
            async with aclosing(outside.search(part, time_limit=time_limit)) as slices:
                async for found in slices:
                    reached = found.reached
                    yield replace(found, outside=part.end)
        except QueryCanceledError:
            raise
        except (QueryError, StoreError) as error:
            oldest = max(part.start, outside.oldest)
            start, end = (max(reached, oldest), part.end) if is_forward else (oldest, reached)
            missing = MissingLines(start, end, str(error))
            yield FoundSlice([], part.end if is_forward else part.start, (missing,), part.end)

    async def _evaluated(
        self, root: MetricQuery, start: int, end: int, run: Callable[[LogEngine], Awaitable[QueryResult]]
    ) -> QueryResult:
        outside, border = self.outside, await self._border()
        earliest = min((start - it.offset - it.span for it in range_aggregations(root)), default=border)
        if outside is None or earliest >= border:
            return await run(self._embedded)
        try:
            return await run(outside)
        except QueryCanceledError:
            raise
        except (QueryError, StoreError) as error:
            if border == NEVER:
                raise  # nothing of it is here
            missing = MissingLines(max(earliest, outside.oldest), min(border, end), str(error))
        result = await run(self._embedded)
        return replace(result, warnings=(*result.warnings, missing.warning))

    async def _both(
        self, start: int, end: int, ask: Callable[[LogEngine, int, int], Awaitable[T]]
    ) -> tuple[list[T], list[MissingLines]]:
        """Ask each engine for its part of a range of time; return the answers, and what could not be asked."""
        outside, border = self.outside, await self._border()
        found, missing = list[T](), list[MissingLines]()
        if max(start, border) < end:
            found.append(await ask(self._embedded, max(start, border), end))
        last = min(end, border)
        if outside is None or last <= max(start, outside.oldest):
            return found, missing
        try:
            found.append(await ask(outside, start, last))
        except QueryCanceledError:
            raise
        except (QueryError, StoreError) as error:
            missing.append(MissingLines(max(start, outside.oldest), last, str(error)))
        return found, missing


def _has_lines(part: LineSearch) -> bool:
    """Tell whether a search can find anything."""
    is_before = part.before is not None and part.before.at < part.start
    is_after = part.after is not None and part.after.at >= part.end
    return part.start < part.end and not is_before and not is_after
