"""Query engines and rule engines: embedded, remote (a real Prometheus), tiered, and those of tests and unit tests."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import numpy as np
import pytest

from tests import servers
from tests.rule_evaluation import ImmediateEngine
from toban.alerting.remote_engine import RemoteRuleEngine
from toban.alerting.rule_unit_tests import SynchronousEngine
from toban.core.errors import BadQueryError
from toban.core.labels import Labels
from toban.core.ports import InstantQueryEngine, QueryEngine, RuleEngine
from toban.core.query_result import BatchResult, DataPresence, ResultType
from toban.core.samples import Batch, Layout
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.memory_source import MemorySource
from toban.remote.query_client import RemoteQueryClient
from toban.remote.remote_write_model import HEADERS
from toban.remote.remote_write_protobuf import Encoder
from toban.remote.settings import RemoteSettings
from toban.remote.tiered_engine import TieredEngine

START = 1_767_225_600_000
MINUTE = 60_000
SERIES = [Labels(__name__="requests_total", app=app) for app in ("shop", "worker")]
VALUES = [[10.0, 1.0], [20.0, 1.0], [40.0, 1.0]]
"""One row for each minute."""


@pytest.fixture(scope="module")
def prometheus_url() -> Iterator[str]:
    """A Prometheus that has the samples."""
    layout = Layout(SERIES)
    batches = [Batch(layout, START + i * MINUTE, np.array(row)) for i, row in enumerate(VALUES)]
    body, _ = Encoder({}).encode(batches)
    with servers.prometheus() as server:
        url = f"http://127.0.0.1:{server.port}"
        httpx2.post(f"{url}/api/v1/write", content=body, headers=HEADERS).raise_for_status()
        yield url


def memory() -> MemorySource:
    source = MemorySource()
    for column, labels in enumerate(SERIES):
        source.add(labels, [(START + i * MINUTE, row[column]) for i, row in enumerate(VALUES)])
    return source


@asynccontextmanager
async def embedded() -> AsyncIterator[QueryExecutor]:
    async with QueryExecutor(PromqlEngine(memory())) as engine:
        yield engine


@asynccontextmanager
async def remote(url: str) -> AsyncIterator[RemoteQueryClient]:
    async with httpx2.AsyncClient() as http:
        yield RemoteQueryClient(RemoteSettings(query_url=url), http)


@pytest.fixture(params=["embedded", "remote", "tiered, recent", "tiered, older"])
async def query_engine(request: pytest.FixtureRequest) -> AsyncIterator[QueryEngine]:
    if request.param == "embedded":
        async with embedded() as engine:
            yield engine
    else:
        async with remote(request.getfixturevalue("prometheus_url")) as client, embedded() as engine:
            oldest = {"tiered, recent": START, "tiered, older": START + timedelta(days=1).total_seconds() * 1000}
            is_tiered = request.param in oldest
            yield TieredEngine(engine, client, lambda _: int(oldest[request.param])) if is_tiered else client


@pytest.fixture(params=["embedded", "remote", "of unit tests", "of tests"])
async def rule_engine(request: pytest.FixtureRequest) -> AsyncIterator[RuleEngine]:
    if request.param == "embedded":
        async with embedded() as engine:
            yield engine
    elif request.param == "remote":
        async with remote(request.getfixturevalue("prometheus_url")) as client:
            yield RemoteRuleEngine(client, timedelta(minutes=5))
    else:
        yield SynchronousEngine(memory()) if request.param == "of unit tests" else ImmediateEngine(memory())


async def check_instant_queries(engine: InstantQueryEngine) -> None:
    """Hold an engine to what every rule and page relies on."""
    at = START + 2 * MINUTE
    result = await engine.instant('requests_total{app="shop"} * 2', at, time_limit=timedelta(seconds=10))
    assert result.type is ResultType.VECTOR
    assert [(str(it.labels), it.times.tolist(), it.last) for it in result.series] == [('{app="shop"}', [at], 80.0)]
    assert (await engine.instant("count(requests_total)", at)).series[0].last == 2
    assert (await engine.instant("nothing_of_the_kind", at)).series == ()
    assert (await engine.instant("requests_total", START + 10 * MINUTE)).series == ()
    number = await engine.instant("3", at)
    assert (number.type, number.series[0].last) == (ResultType.SCALAR, 3.0)
    with pytest.raises(BadQueryError, match="parse error"):
        await engine.instant("requests_total +", at)


async def test_a_query_engine_runs_instant_queries(query_engine: QueryEngine):
    """
    Values at one time, no series where there is none, and an error for what can't be parsed.
    """
    await check_instant_queries(query_engine)


async def test_a_query_engine_runs_range_queries(query_engine: QueryEngine):
    """
    Both ends are included.
    """
    result = await query_engine.range('requests_total{app="shop"}', START, START + 2 * MINUTE, MINUTE)
    assert result.type is ResultType.MATRIX
    assert [it.values.tolist() for it in result.series] == [[10.0, 20.0, 40.0]]
    assert result.series[0].times.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    with pytest.raises(BadQueryError):
        await query_engine.range("rate(requests_total)", START, START + MINUTE, MINUTE)


async def test_a_rule_engine_runs_instant_queries(rule_engine: RuleEngine):
    """
    As every query engine does.
    """
    await check_instant_queries(rule_engine)


async def all_of(engine: RuleEngine, queries: Sequence[str], at: int) -> list[BatchResult]:
    """Run all queries, as the evaluation does: those that did not begin are asked again."""
    results: list[BatchResult] = []
    while len(results) < len(queries):
        begun = await engine.run_batch(queries[len(results) :], at)
        assert begun
        results += begun
    return results


async def test_a_batch_has_one_outcome_for_each_query_in_their_order(rule_engine: RuleEngine):
    """
    An error is the outcome of its query alone.
    """
    queries = ["sum(requests_total)", "rate(requests_total)", 'requests_total{app="worker"}']
    first, second, third = await all_of(rule_engine, queries, START + 2 * MINUTE)
    assert first.result.series[0].last == 41
    assert isinstance(second.outcome, BadQueryError)
    assert third.result.series[0].last == 1


@pytest.mark.parametrize("rule_engine", ["embedded", "remote", "of tests"], indirect=True)
async def test_an_empty_result_says_how_much_of_its_data_exists(rule_engine: RuleEngine):
    """
    A rule whose data is missing is inactive, not healthy.
    """
    queries = ["requests_total > 1000", "increase(errors_total[2m]) > 0", "errors_total > 0"]
    results = await all_of(rule_engine, queries, START + 2 * MINUTE)
    assert [it.presence for it in results] == [DataPresence.PRESENT, DataPresence.NO_INCREASE, DataPresence.MISSING]
