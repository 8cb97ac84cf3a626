"""Questions asked from the event loop, answered in a thread."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

from toban.core.errors import QueryCanceledError, QueryError, QueryTimeoutError
from toban.core.query_result import QueryResult
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import MOMENT, BatchResult, run_batch

T = TypeVar("T")

WAITING: Final = 64
"""How many queries may wait for their turn."""


class QueryExecutor:
    """
    The embedded ``QueryEngine``: one thread for all queries, so that one after the other is answered.

    Cancelling who waits cancels the query. Waiting counts against the time limit. Closing ends what runs and what
    waits with ``QueryCanceledError``.
    """

    def __init__(self, engine: PromqlEngine, *, waiting: int = WAITING) -> None:
        self.engine = engine
        self._limit = waiting + 1
        self._asked: set[threading.Event] = set()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="promql")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all queries and wait for the thread, which looks up several times a second."""
        self._closed = True
        for canceled in self._asked:
            canceled.set()
        await asyncio.to_thread(self._thread.shutdown)

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """
        Return what the query comes to at one time (milliseconds).

        ``patience`` shortens the engine's own time limit. Raises ``QueryError`` or ``StoreError``.
        """
        return await self._ask(
            lambda deadline, canceled: self.engine.instant(query, at, deadline=deadline, canceled=canceled),
            self._patience(patience),
        )

    async def range(
        self, query: str, start: int, end: int, step: int, *, patience: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        return await self._ask(
            lambda deadline, canceled: self.engine.range(query, start, end, step, deadline=deadline, canceled=canceled),
            self._patience(patience),
        )

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Answer the first of some queries at a time (milliseconds), and those after it as long as a moment lasts."""
        # Each has its own time limit, so that a slow one is not taken for the one that was asked with it.
        limit = self._patience(None) + timedelta(seconds=2 * MOMENT)
        try:
            return await self._ask(lambda _, canceled: run_batch(self.engine, queries, at, canceled=canceled), limit)
        except QueryError as error:  # the first of them got no turn
            return [BatchResult(error)]

    def _patience(self, wanted: timedelta | None) -> timedelta:
        return self.engine.limits.time if wanted is None else min(wanted, self.engine.limits.time)

    async def _ask(self, ask: Callable[[float, threading.Event], T], limit: timedelta) -> T:
        if self._closed:
            raise QueryCanceledError("the query engine is closed")
        if len(self._asked) >= self._limit:
            raise QueryError(f"{self._limit} queries are waiting already")
        deadline = self.engine.now() + limit.total_seconds()
        canceled = threading.Event()
        self._asked.add(canceled)
        answer = asyncio.get_running_loop().run_in_executor(self._thread, ask, deadline, canceled)
        answer.add_done_callback(lambda _: self._asked.discard(canceled))
        try:
            # Never cancelled itself: the place in the queue is free only when the thread is done with the query.
            await asyncio.wait([answer], timeout=limit.total_seconds())
            if not answer.done():
                raise QueryTimeoutError("query timed out in query execution")
            return answer.result()
        finally:
            canceled.set()
            # What the thread still says has nobody to hear it.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
