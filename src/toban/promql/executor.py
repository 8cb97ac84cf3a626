"""Runs queries of the event loop in a thread."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from toban.core.errors import QueryCanceledError, QueryError, QueryTimeoutError
from toban.core.matchers import Matcher
from toban.core.query_result import BatchResult, QueryResult
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import BATCH_SECONDS, run_batch

T = TypeVar("T")

MAX_WAITING: Final = 64
"""How many queries may wait for the thread."""


class QueryExecutor:
    """
    The embedded engine's executor: one thread, in which queries run one after the other.

    Cancelling the waiting task cancels its query. The time of waiting counts against the time limit. Closing ends all
    queries with ``QueryCanceledError``.
    """

    def __init__(self, engine: PromqlEngine, *, waiting: int = MAX_WAITING) -> None:
        self.engine = engine
        self._limit = waiting + 1
        self._queries: set[threading.Event] = set()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="promql")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exception_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all queries and wait for the thread, which checks for that several times a second."""
        self._closed = True
        for canceled in self._queries:
            canceled.set()
        await asyncio.to_thread(self._thread.shutdown)

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """
        Return the result of a query at one time (milliseconds).

        ``time_limit`` can only shorten the engine's own. Raises ``QueryError`` or ``StoreError``.
        """
        return await self._run(
            lambda deadline, canceled: self.engine.instant(query, at, deadline=deadline, canceled=canceled),
            self._time_limit(time_limit),
        )

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        return await self._run(
            lambda deadline, canceled: self.engine.range(query, start, end, step, deadline=deadline, canceled=canceled),
            self._time_limit(time_limit),
        )

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run the first queries at a time (milliseconds), as many as begin within a short time; at least one."""
        # Each has its own time limit, so that a slow one is not blamed on another in its batch.
        limit = self._time_limit(None) + timedelta(seconds=2 * BATCH_SECONDS)
        try:
            return await self._run(lambda _, canceled: run_batch(self.engine, queries, at, canceled=canceled), limit)
        except QueryError as error:  # the first query did not begin
            return [BatchResult(error)]

    def earliest_reads(self, query: str, start: int, end: int) -> Sequence[tuple[Sequence[Matcher], int]]:
        """Return the matchers of each selector of a query, and the earliest time that it reads (milliseconds)."""
        return self.engine.earliest_reads(query, start, end)

    def _time_limit(self, requested: timedelta | None) -> timedelta:
        return self.engine.limits.time if requested is None else min(requested, self.engine.limits.time)

    async def _run(self, evaluate: Callable[[float, threading.Event], T], limit: timedelta) -> T:
        if self._closed:
            raise QueryCanceledError("the query engine is closed")
        if len(self._queries) >= self._limit:
            raise QueryError(f"{self._limit} queries are waiting already")
        deadline = self.engine.now() + limit.total_seconds()
        canceled = threading.Event()
        self._queries.add(canceled)
        result = asyncio.get_running_loop().run_in_executor(self._thread, evaluate, deadline, canceled)
        result.add_done_callback(lambda _: self._queries.discard(canceled))
        try:
            # The future itself is never cancelled: the place in the queue is free only when the thread has finished.
            await asyncio.wait([result], timeout=limit.total_seconds())
            if not result.done():
                raise QueryTimeoutError("query timed out in query execution")
            return result.result()
        finally:
            canceled.set()
            # Retrieve the exception of a query that nobody waits for any more.
            result.add_done_callback(lambda done: done.cancelled() or done.exception())
