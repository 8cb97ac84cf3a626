"""Searches the lines of an engine outside: it selects them, the query runs over them here."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import numpy as np

from toban.core.errors import BadQueryError, QueryTimeoutError, ResponseTooLargeError
from toban.core.log_line import LogLevel, LogLine, LogStream
from toban.core.matchers import Matcher, matches_all
from toban.core.ports import Clock
from toban.core.query_result import QueryResult, ResultType
from toban.core.samples import milliseconds
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import StreamCount
from toban.logs.logql.engine import scalar_of
from toban.logs.logql.parser import parse_metric_query
from toban.logs.logql.records import stream_labels
from toban.logs.logql.search import FoundSlice, LineSearch
from toban.logs.logql.statistics import FoundStreams, FoundVolumes, Volume, group_of
from toban.logs.logql.syntax_tree import LogQuery, MetricQuery, NumberLiteral
from toban.logs.logql.windows import Times
from toban.logs.outside.client import OutsideClient
from toban.logs.outside.paged_search import LONGEST_SPAN, PagedSearch

T = TypeVar("T")

_NO_TIME: Final = datetime.fromtimestamp(0, UTC)


class OutsideLogEngine:
    """
    Runs queries over the lines of an engine outside.

    Queries for series are evaluated there, as far as it can. Lines are redacted when they are read: other programs may
    have sent some.
    All methods raise ``QueryError`` or ``StoreError``.
    """

    def __init__(self, client: OutsideClient, clock: Clock, redactor: LineRedactor) -> None:
        self.limits = client.limits
        self.client = client
        self._clock = clock
        self._redactor = redactor

    @property
    def oldest(self) -> int:
        """The time (milliseconds) of the oldest line that may be kept there."""
        return milliseconds(self._clock.now() - self.client.settings.retention)

    async def search(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> AsyncGenerator[FoundSlice]:
        """Find lines, and yield them page by page, also pages without lines."""
        self.limits.check_lines(wanted.limit)
        limit = (min(time_limit, self.limits.time) if time_limit else self.limits.time).total_seconds()
        search, left = PagedSearch(self.client, wanted, self.oldest, self._redactor.redacted), wanted.limit
        while not search.is_complete and left:
            started = self._clock.monotonic()
            found = (await search.next_page(left))[:left]
            limit -= self._clock.monotonic() - started
            left -= len(found)
            yield FoundSlice(found, found[-1].position.at if found and not left else search.reached)
            if limit < 0 and left and not search.is_complete:
                raise QueryTimeoutError(f"{self.client.shown}: the search took too long: ask for a shorter time")

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query for series at one time (milliseconds)."""
        root = parse_metric_query(query)
        if isinstance(root, NumberLiteral):
            return scalar_of(root, at)
        return await self._evaluate(root, np.array([at], np.int64), ResultType.VECTOR, time_limit)

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds)."""
        self.limits.check_range(start, end, step)
        return await self.evaluate(parse_metric_query(query), start, end, step, time_limit=time_limit)

    async def evaluate(
        self, root: MetricQuery, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return the matrix of a query that was parsed already, or built."""
        times = np.arange(start, end + 1, step, dtype=np.int64)
        return await self._evaluate(root, times, ResultType.MATRIX, time_limit)

    async def streams(self, selectors: Sequence[Sequence[Matcher]], start: int, end: int) -> FoundStreams:
        """Return the labels of the streams that any selector chooses, of all streams without a selector."""
        found = set[LogStream]()
        for first, last in self._spans(start, end):
            for matchers in selectors or [()]:
                streams = await self._bounded(self.client.streams(tuple(matchers), first, last))
                found.update(await asyncio.to_thread(self._all_redacted, streams))
        labels = [stream_labels(stream) for stream in sorted(found)]
        return FoundStreams([it for it in labels if not selectors or any(matches_all(one, it) for one in selectors)])

    async def volumes(
        self, matchers: tuple[Matcher, ...], names: Sequence[str], start: int, end: int, step: int
    ) -> FoundVolumes:
        """Return the volumes of streams that have the same values of some labels, by step of time (milliseconds)."""
        found = FoundVolumes({})
        for first, last in self._spans(start, end):
            counts = await self._bounded(self.client.counts(LogQuery(matchers), first, last, step))
            await asyncio.to_thread(self._add, found, counts, names)
        return found

    def _add(self, found: FoundVolumes, counts: Sequence[StreamCount], names: Sequence[str]) -> None:
        for count in counts:
            group = group_of(self._redacted(count.stream), names)
            found.add({(group, count.at): Volume(count.lines, count.bytes)})

    def _all_redacted(self, streams: Sequence[LogStream]) -> list[LogStream]:
        return [self._redacted(stream) for stream in streams]

    def _redacted(self, stream: LogStream) -> LogStream:
        fields = stream._asdict()
        level = LogLevel(fields.pop("level"))
        return self._redactor.redacted(LogLine(_NO_TIME, level, "", **fields)).stream

    def _spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range of time that can be asked for at once."""
        start = max(start, self.oldest)
        for first in range(start, end, LONGEST_SPAN):
            yield first, min(first + LONGEST_SPAN, end)

    async def _evaluate(
        self, root: MetricQuery, times: Times, shape: ResultType, time_limit: timedelta | None
    ) -> QueryResult:
        return await self._bounded(self.client.evaluate(root, times, shape, time_limit))

    async def _bounded(self, response: Awaitable[T]) -> T:
        try:
            return await response
        except ResponseTooLargeError as error:
            raise BadQueryError(f"{self.client.shown}: {error}: ask for a shorter time or fewer series") from error
