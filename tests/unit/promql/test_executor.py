"""Asking from the event loop."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.promql_scripts import ScriptSource
from toban.core.errors import BadQueryError, QueryCanceledError, QueryError, QueryTimeoutError
from toban.core.matchers import Matcher
from toban.core.samples import SeriesBlock
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor

ENDLESS = "sum(stddev_over_time(vector(1)[11000s:1s]))"
"""Far more work than any test waits for: each of its steps looks at 11,000 samples."""


class GatedSource(ScriptSource):
    """Holds every query until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        self.entered.set()
        self.gate.wait()
        return super().select(matchers, start, end)


async def endless(querying: QueryExecutor, **more: timedelta) -> None:
    await querying.range(ENDLESS, 0, 11_000_000, 1_000, **more)


async def test_results_and_errors_are_returned():
    """
    What the engine says or raises is what who waits gets.
    """
    memory = ScriptSource()
    memory.load("load 1m\n  x 1 2 3")
    async with QueryExecutor(PromqlEngine(memory)) as querying:
        assert (await querying.instant("x + 1", 60_000)).series[0].last == 3.0
        assert (await querying.range("x", 0, 120_000, 60_000)).series[0].values.tolist() == [1.0, 2.0, 3.0]
        with pytest.raises(BadQueryError):
            await querying.instant("x +", 0)


async def test_the_loop_is_free_while_a_query_runs():
    """
    Others go on while the thread calculates.
    """
    source = GatedSource()
    async with QueryExecutor(PromqlEngine(source)) as querying:
        running = asyncio.create_task(querying.instant("x", 0))
        await asyncio.to_thread(source.entered.wait)
        assert not running.done()
        source.gate.set()
        assert not (await running).series


async def test_cancelling_the_request_cancels_the_query():
    """
    The thread gives up, and the next question is answered.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as querying:
        running = asyncio.create_task(endless(querying))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await querying.instant("1", 0)).series[0].last == 1.0


async def test_a_request_can_shorten_the_time_limit():
    """
    Waiting for a turn counts too.
    """
    source = GatedSource()
    async with QueryExecutor(PromqlEngine(source)) as querying:
        first = asyncio.create_task(querying.instant("x", 0))
        await asyncio.to_thread(source.entered.wait)
        with pytest.raises(QueryTimeoutError):
            await querying.instant("1", 0, time_limit=timedelta(milliseconds=1))
        source.gate.set()
        await first
        with pytest.raises(QueryTimeoutError):
            await endless(querying, time_limit=timedelta(milliseconds=5))


async def test_a_full_queue_rejects_queries():
    """
    One runs, one waits, the third is told so; a place that is free again is given away.
    """
    source = GatedSource()
    async with QueryExecutor(PromqlEngine(source), waiting=1) as querying:
        running = [asyncio.create_task(querying.instant("x", 0)) for _ in range(2)]
        await asyncio.to_thread(source.entered.wait)
        with pytest.raises(QueryError, match="waiting already"):
            await querying.instant("1", 0)
        source.gate.set()
        await asyncio.gather(*running)
        await querying.instant("1", 0)


async def test_closing_cancels_running_and_queued_queries():
    """
    Who asked is told that the query was canceled, and so is who comes too late.
    """
    querying = QueryExecutor(PromqlEngine(ScriptSource()))
    running = [asyncio.create_task(endless(querying)) for _ in range(3)]
    await asyncio.sleep(0)
    await querying.close()
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        assert isinstance(outcome, QueryCanceledError)
    with pytest.raises(QueryCanceledError):
        await querying.instant("1", 0)
