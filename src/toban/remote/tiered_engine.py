"""Queries that read further back than toban's own metrics run on the remote engine."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from toban.core.errors import StoreError
from toban.core.matchers import Matcher
from toban.core.ports import EmbeddedQueryEngine, QueryEngine
from toban.core.query_result import QueryResult

Oldest = Callable[[Sequence[Matcher]], int | None]
"""Returns the time of the oldest sample of the series that match (milliseconds), None where there is none."""

TOLERANCE: Final = 5 * 60_000
"""Milliseconds that a query may read further back than toban's metrics and still run here: the lookback delta."""


class TieredEngine:
    """
    A ``QueryEngine`` of two: the embedded one for recent data, the outside one for queries that read further back.

    A query runs on one of them as a whole. When the outside one can't be reached, the result is that of the embedded
    one, with a warning.
    """

    def __init__(self, embedded: EmbeddedQueryEngine, outside: QueryEngine, oldest: Oldest) -> None:
        self._embedded = embedded
        self._outside = outside
        self._oldest = oldest

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query at one time (milliseconds). Raises ``QueryError`` or ``StoreError``."""
        if await asyncio.to_thread(self._is_recent, query, at, at):
            return await self._embedded.instant(query, at, time_limit=time_limit)
        try:
            return await self._outside.instant(query, at, time_limit=time_limit)
        except StoreError as error:
            return _partial(await self._embedded.instant(query, at, time_limit=time_limit), error)

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        if await asyncio.to_thread(self._is_recent, query, start, end):
            return await self._embedded.range(query, start, end, step, time_limit=time_limit)
        try:
            return await self._outside.range(query, start, end, step, time_limit=time_limit)
        except StoreError as error:
            return _partial(await self._embedded.range(query, start, end, step, time_limit=time_limit), error)

    def _is_recent(self, query: str, start: int, end: int) -> bool:
        """Return whether toban's own metrics reach back as far as the query reads."""
        for matchers, earliest in self._embedded.earliest_reads(query, start, end):
            oldest = self._oldest(matchers)
            if oldest is None or earliest < oldest - TOLERANCE:
                return False
        return True


def _partial(result: QueryResult, error: StoreError) -> QueryResult:
    warning = f"{error}; what toban itself no longer holds is missing here"
    return QueryResult(
        result.type,
        result.series,
        result.text,
        result.at,
        (*result.warnings, warning),
        result.infos,
        samples=result.samples,
    )
