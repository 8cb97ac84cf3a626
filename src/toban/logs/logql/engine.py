"""The engine: runs LogQL over stored lines, off the event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Final, Self, TypeVar

import numpy as np

from toban.core.errors import QueryCanceledError, QueryError
from toban.core.labels import Labels
from toban.core.matchers import Matcher
from toban.core.query_result import DataPresence, QueryResult, ResultSeries, ResultType
from toban.logs.line_store import LineStore
from toban.logs.logql.data_presence import stored_presence
from toban.logs.logql.evaluation import Evaluation, closed
from toban.logs.logql.parser import parse_metric_query
from toban.logs.logql.query_limits import WAITING, LogqlLimits
from toban.logs.logql.search import FoundSlice, LineSearch, joined, search
from toban.logs.logql.statistics import FoundStreams, FoundVolumes, matching_streams, volumes
from toban.logs.logql.syntax_tree import MetricQuery, NumberLiteral
from toban.logs.logql.vectors import Vector
from toban.logs.logql.windows import Times
from toban.promql.query_limits import QueryBudget, QueryLimits

T = TypeVar("T")

THREADS: Final = 3
"""Threads for queries; of several one is free of queries for series, which run as a whole."""

FINISHED: Final = object()


class LogqlEngine:
    """
    Runs queries over a store in some threads, several at once.

    Cancelling the waiting task cancels its query. All methods raise ``QueryError`` or ``StoreError``.
    """

    def __init__(
        self,
        store: LineStore,
        limits: LogqlLimits | None = None,
        *,
        threads: int = THREADS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or LogqlLimits()
        self._store = store
        self._now = now
        self._threads = ThreadPoolExecutor(threads, "logql")
        self._series = asyncio.Semaphore(max(1, threads - 1))
        self._queries: set[threading.Event] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exception_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all queries, and wait for the threads."""
        self._closed = True
        for canceled in self._queries:
            canceled.set()
        await asyncio.to_thread(self._threads.shutdown)

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """
        Return the result of a query for series at one time (milliseconds).

        ``time_limit`` can only shorten the engine's own.
        """
        root = parse_metric_query(query)
        if isinstance(root, NumberLiteral):
            return scalar_of(root, at)
        times = np.array([at], np.int64)
        return await self._evaluate(root, times, ResultType.VECTOR, time_limit)

    async def range(
        self, query: str, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds)."""
        root = parse_metric_query(query)
        self.limits.check_range(start, end, step)
        return await self.evaluate(root, start, end, step, time_limit=time_limit)

    async def evaluate(
        self, root: MetricQuery, start: int, end: int, step: int, *, time_limit: timedelta | None = None
    ) -> QueryResult:
        """Return the matrix of a query that was parsed already, or built."""
        times = np.arange(start, end + 1, step, dtype=np.int64)
        return await self._evaluate(root, times, ResultType.MATRIX, time_limit)

    async def presence(self, query: str, at: int) -> DataPresence:
        """Return how much of the data that a query for series reads at a time (milliseconds) is there."""
        root = parse_metric_query(query)
        async with self._admitted(None) as budget, self._series:
            return await self._run(lambda: stored_presence(self._store, root, at, budget.check), budget)

    async def search(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> AsyncGenerator[FoundSlice]:
        """
        Find lines, and yield them slice by slice, also empty slices, to tell how far back the search has looked.

        Its time limit counts the time in which it searches, not that in which the caller reads.
        """
        self.limits.check_lines(wanted.limit)
        slices = self.slices(lambda store, check: search(store, wanted, check), time_limit=time_limit)
        async with aclosing(slices):
            async for part in slices:
                yield part

    async def lines(self, wanted: LineSearch, *, time_limit: timedelta | None = None) -> FoundSlice:
        """Return all lines of a search together."""
        return await joined(self.search(wanted, time_limit=time_limit), self.limits)

    async def streams(self, selectors: Sequence[Sequence[Matcher]], start: int, end: int) -> FoundStreams:
        """Return the labels of the streams that any selector chooses, of all streams without a selector."""
        async with self._admitted(None):
            labels = await asyncio.wrap_future(
                self._threads.submit(matching_streams, self._store, selectors, start, end)
            )
        return FoundStreams(labels)

    async def volumes(
        self, matchers: tuple[Matcher, ...], names: Sequence[str], start: int, end: int, step: int
    ) -> FoundVolumes:
        """
        Return the volumes of streams that have the same values of some labels, by step of time (milliseconds).

        Without names each stream is a group.
        """
        found = FoundVolumes({})
        slices = self.slices(lambda store, check: volumes(store, matchers, names, start, end, step, check))
        async with aclosing(slices):
            async for part in slices:
                found.add(part)
        return found

    async def kept_since(self) -> int | None:
        """Return the time from which on all lines are here (`LineStore.kept_since`)."""
        async with self._admitted(None):
            return await asyncio.wrap_future(self._threads.submit(self._store.kept_since))

    async def slices(
        self,
        work: Callable[[LineStore, Callable[[], None]], Iterator[T]],
        *,
        time_limit: timedelta | None = None,
    ) -> AsyncGenerator[T]:
        """Run an iteration over the store in the threads; it often calls the function that it is given."""
        async with self._admitted(time_limit) as budget:
            items = work(self._store, budget.check)
            pending: Future[object] | None = None
            try:
                while True:
                    budget.check()
                    pending = self._threads.submit(next, items, FINISHED)
                    item = await asyncio.wrap_future(pending)
                    if item is FINISHED:
                        return
                    yielded = self._now()
                    yield item  # type: ignore[misc]  # it is no end
                    budget.deadline += self._now() - yielded
            finally:
                budget.canceled.set()
                if pending:
                    pending.add_done_callback(lambda _: _close(items))

    async def _evaluate(
        self, root: MetricQuery, times: Times, shape: ResultType, time_limit: timedelta | None
    ) -> QueryResult:
        async with self._admitted(time_limit) as budget, self._series:
            return await self._run(lambda: self._result(root, times, shape, budget), budget)

    async def _run(self, work: Callable[[], T], budget: QueryBudget) -> T:
        try:
            return await asyncio.wrap_future(self._threads.submit(work))
        finally:
            budget.canceled.set()

    def _result(self, root: MetricQuery, times: Times, shape: ResultType, budget: QueryBudget) -> QueryResult:
        budget.check()
        vector = Evaluation(self._store, times, self.limits, budget).vector(root)
        return result_of(vector, times, shape, self.limits, budget)

    @asynccontextmanager
    async def _admitted(self, time_limit: timedelta | None) -> AsyncIterator[QueryBudget]:
        """Admit a query; one that is beyond the limit is rejected."""
        if self._closed:
            raise QueryCanceledError("the query engine is closed")
        if len(self._queries) >= WAITING:
            raise QueryError(f"{WAITING} queries are running and waiting already")
        limit = self.limits.time if time_limit is None else min(time_limit, self.limits.time)
        budget = QueryBudget(
            QueryLimits(self.limits.samples, self.limits.steps, limit),
            self._now() + limit.total_seconds(),
            threading.Event(),
            self._now,
        )
        self._queries.add(budget.canceled)
        try:
            yield budget
        finally:
            self._queries.discard(budget.canceled)


def _close(items: Iterator[object]) -> None:
    with closed(items):
        pass


def result_of(vector: Vector, times: Times, shape: ResultType, limits: LogqlLimits, budget: QueryBudget) -> QueryResult:
    """Return an evaluated query as a result. Raises ``BadQueryError`` where it has too many series."""
    series = tuple(_series(vector, times))
    limits.check_series(len(series))
    return QueryResult(shape, series, at=int(times[-1]), samples=budget.samples)


def scalar_of(root: NumberLiteral, at: int) -> QueryResult:
    """Return a number as a result."""
    points = ResultSeries(Labels(), np.array([at], np.int64), np.array([root.value]))
    return QueryResult(ResultType.SCALAR, (points,), at=at)


def _series(vector: Vector, times: Times) -> Iterator[ResultSeries]:
    for labels, points in sorted(vector.items(), key=lambda pair: tuple(pair[0].items())):
        if points.present.any():
            yield ResultSeries(labels, times[points.present], points.values[points.present])
