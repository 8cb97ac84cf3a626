"""What searches log lines, and counts them."""

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import Protocol

from toban.core.matchers import Matcher
from toban.core.query_result import QueryResult
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.search import FoundSlice, LineSearch
from toban.logs.logql.statistics import FoundStreams, FoundVolumes
from toban.logs.logql.syntax_tree import MetricQuery


class LogEngine(Protocol):
    """
    Runs LogQL over lines, off the event loop.

    Times are milliseconds. ``time_limit`` can only shorten the engine's own. All methods raise ``QueryError`` or
    ``StoreError``.
    """

    limits: LogqlLimits

    def search(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> AsyncGenerator[FoundSlice]:
        """Find lines, and yield them slice by slice, also empty slices, to tell how far the search has looked."""
        ...

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query for series at one time."""
        ...

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end."""
        ...

    async def evaluate(
        self, root: MetricQuery, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return the matrix of a query that was parsed already, or built."""
        ...

    async def streams(self, selectors: Sequence[Sequence[Matcher]], start: int, end: int) -> FoundStreams:
        """Return the labels of the streams that any selector chooses, of all streams without a selector."""
        ...

    async def volumes(
        self, matchers: tuple[Matcher, ...], names: Sequence[str], start: int, end: int, step: int
    ) -> FoundVolumes:
        """Return the volumes of streams that have the same values of some labels, by step of time."""
        ...
