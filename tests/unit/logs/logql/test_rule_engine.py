"""The engine of rules over log lines: batches, presence of data, limits, cancelling."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.fake_line_store import FakeLineStore
from tests.unit.logs.logql.test_engine import AT, line
from toban.core.errors import BadQueryError, QueryTimeoutError, StoreError
from toban.core.labels import VALUE_LENGTH
from toban.core.query_result import DataPresence
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.rule_engine import LogRuleEngine

COUNT = 'sum by (service) (count_over_time({service=~".+"} |= "failed" [5m])) > 1'
NOW = AT + 60_000


class BlockingStore(FakeLineStore):
    """A store whose counts and searches wait for an event, if it has one."""

    def __init__(self, *args):
        super().__init__(*args)
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def search(self, *args, **options):
        self.begun.set()
        for part in super().search(*args, **options):
            while not self.gate.wait(0.005):
                yield part  # the engine looks at its limits
            yield part

    def count(self, *args):
        self.begun.set()
        for part in super().count(*args):
            while not self.gate.wait(0.005):
                yield part
            yield part


@asynccontextmanager
async def engine(store, now=time.monotonic):
    async with LogqlEngine(store, LogqlLimits(time=timedelta(seconds=10)), threads=1, now=now) as found:
        yield LogRuleEngine(found)


async def test_a_comparison_keeps_the_series_for_which_it_holds():
    lines = [*(line(it, "payment failed") for it in range(3)), line(4, "failed", service="worker")]
    async with engine(FakeLineStore(lines)) as rules:
        (outcome,) = await rules.run_batch([COUNT, COUNT], NOW)
    assert [(str(it.labels), it.last) for it in outcome.result.series] == [('{service="api"}', 3.0)]
    assert outcome.presence is DataPresence.PRESENT


@pytest.mark.parametrize(
    ("lines", "query", "presence"),
    [
        ([line(1, "fine")], COUNT, DataPresence.PRESENT),
        ([line(1, "fine")], 'rate({level="error"}[5m]) > 0', DataPresence.PRESENT),
        ([line(-600, "failed")], COUNT, DataPresence.NO_INCREASE),
        ([line(-600, "fine")], 'rate({level="error"}[5m] offset 10m) > 0', DataPresence.PRESENT),
        ([line(-600, "fine")], f"({COUNT}) or vector(0) > 1", DataPresence.PRESENT),
        ([line(-600, "fine")], "vector(1) < 0 unless " + COUNT, DataPresence.PRESENT),
        ([line(-600, "fine")], 'rate({a="b"}[1h]) > rate({a="b"}[5m])', DataPresence.NO_INCREASE),
        ([], COUNT, DataPresence.MISSING),
        ([], 'absent_over_time({service="api"}[5m]) > 1', DataPresence.PRESENT),
        ([], "vector(1) < 0", DataPresence.PRESENT),
    ],
)
async def test_an_empty_result_says_whether_lines_arrive_at_all(lines, query, presence):
    """
    Lines of any stream: that one is silent may mean that all is well.
    """
    async with engine(FakeLineStore(lines)) as rules:
        (outcome,) = await rules.run_batch([query], NOW)
    assert (outcome.result.series, outcome.presence) == ((), presence)


async def test_long_texts_are_cut_and_stay_apart():
    """
    A fact may have thousands of characters; an alert's labels go into messages, and recorded ones into the store.
    """
    texts = ["x" * 1_000 + end for end in "ab"]
    store = FakeLineStore([line(1, "failed", facts={"reason": text}) for text in texts])
    async with engine(store) as rules:
        (outcome,) = await rules.run_batch(['sum by (reason) (count_over_time({service="api"} | json [5m]))'], NOW)
    reasons = {it.labels["reason"] for it in outcome.result.series}
    assert len(reasons) == 2
    assert all(it.startswith("xxx") and len(it) <= VALUE_LENGTH for it in reasons)


async def test_an_error_is_the_outcome_of_its_query():
    store = FakeLineStore([line(1, "payment failed", facts={"size": "large"})])
    async with engine(store) as rules:
        (outcome,) = await rules.run_batch(['sum(sum_over_time({service="api"} | json | unwrap size [5m]))'], NOW)
        assert isinstance(outcome.outcome, BadQueryError) and "SampleExtractionErr" in str(outcome.outcome)
        (outcome,) = await rules.run_batch(['{service="api"}'], NOW)
        assert isinstance(outcome.outcome, BadQueryError)
        store.error = "the disk is gone"
        (outcome,) = await rules.run_batch([COUNT], NOW)
        assert isinstance(outcome.outcome, StoreError)


async def test_a_slow_query_fails_by_itself():
    """
    The time for which another waits for it does not count against that one's limit.
    """
    store = BlockingStore([line(it, "failed") for it in range(3)])
    store.gate.clear()
    elapsed = [0.0]
    async with engine(store, lambda: elapsed[0]) as rules:
        slow = asyncio.create_task(rules.run_batch([COUNT], NOW))
        await asyncio.to_thread(store.begun.wait)
        waiting = asyncio.create_task(rules.run_batch([COUNT], NOW))
        elapsed[0] = 11.0
        (outcome,) = await slow
        assert isinstance(outcome.outcome, QueryTimeoutError)
        store.gate.set()
        (outcome,) = await waiting
        assert outcome.result.series[0].last == 3


async def test_a_cancelled_evaluation_leaves_the_thread_to_others():
    store = BlockingStore([line(it, "failed") for it in range(3)])
    store.gate.clear()
    async with engine(store, lambda: 0.0) as rules:
        task = asyncio.create_task(rules.run_batch([COUNT], NOW))
        await asyncio.to_thread(store.begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.gate.set()
        assert (await rules.instant("vector(1) + 1", NOW)).series[0].last == 2
    assert store.open_searches == 0


async def test_a_slow_query_of_a_client_delays_no_rule():
    """
    Clients have threads of their own, and may have used up all of them.
    """
    store = BlockingStore([line(it, "failed") for it in range(3)])
    store.gate.clear()
    async with LogqlEngine(store) as clients, engine(FakeLineStore([line(it, "failed") for it in range(3)])) as rules:
        slow = [asyncio.create_task(clients.instant(COUNT, NOW)) for _ in range(10)]
        await asyncio.to_thread(store.begun.wait)
        (outcome,) = await rules.run_batch([COUNT], NOW)
        assert outcome.result.series[0].last == 3
        assert not any(it.done() for it in slow)
        store.gate.set()
        await asyncio.gather(*slow)
