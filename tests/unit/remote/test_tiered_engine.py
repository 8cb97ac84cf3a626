"""Which engine runs a query."""

import pytest

from tests.promql_scripts import ScriptSource
from toban.core.errors import QueryError, StoreError
from toban.core.query_result import QueryResult, ResultType
from toban.promql.earliest_reads import earliest_reads
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.parser import parse
from toban.remote.tiered_engine import TieredEngine

HOUR = 3_600_000
BORN = 100 * HOUR
"""When our oldest number was."""


class FakeRemoteEngine:
    """An engine that says that it was asked."""

    def __init__(self, error=None):
        self.error = error

    async def instant(self, query, at, *, time_limit=None):
        if self.error:
            raise self.error
        return QueryResult(ResultType.STRING, text="outside")

    async def range(self, query, start, end, step, *, time_limit=None):
        return await self.instant(query, start)


def oldest(matchers):
    return None if any(it.value == "never" for it in matchers) else BORN


@pytest.mark.parametrize(
    ("query", "start", "end", "where"),
    [
        ("1 + 1", 0, 0, "inside"),
        ("x", BORN, BORN, "inside"),
        ("x", BORN - HOUR, BORN, "outside"),
        ("never", BORN + HOUR, BORN + HOUR, "outside"),
        ("rate(x[50m])", BORN + HOUR, BORN + 2 * HOUR, "inside"),
        ("rate(x[2h])", BORN + HOUR, BORN + 2 * HOUR, "outside"),
        ("x offset 2h", BORN + HOUR, BORN + HOUR, "outside"),
        ("x offset -2h", BORN - HOUR, BORN - HOUR, "inside"),
        ("x @ 0", BORN + HOUR, BORN + HOUR, "outside"),
        ("x @ end()", BORN - HOUR, BORN + HOUR, "inside"),
        ("x @ start()", BORN - HOUR, BORN + HOUR, "outside"),
        ("max_over_time(rate(x[30m])[1h:5m])", BORN + 2 * HOUR, BORN + 2 * HOUR, "inside"),
        ("max_over_time(rate(x[30m])[2h:5m])", BORN + 2 * HOUR, BORN + 2 * HOUR, "outside"),
        ("sum by (a) (x) / x offset 3h", BORN + HOUR, BORN + HOUR, "outside"),
    ],
)
async def test_queries_beyond_local_retention_run_on_the_remote_engine(query, start, end, where):
    """
    As a whole: half an answer from each would be none.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        engine = TieredEngine(inside, FakeRemoteEngine(), oldest)
        response = await engine.range(query, start, end, 60_000)
        assert (response.text or "inside") == where
        if start == end:
            assert ((await engine.instant(query, start)).text or "inside") == where


async def test_without_the_remote_engine_local_samples_are_returned_with_a_warning():
    """
    With a warning: it is not all.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        response = await TieredEngine(inside, FakeRemoteEngine(StoreError("outside: refused")), oldest).instant("x", 0)
        assert response.warnings == ("outside: refused; what toban itself no longer holds is missing here",)


async def test_an_error_of_the_remote_engine_is_raised():
    """
    It is not asked again here.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        with pytest.raises(QueryError, match="too large"):
            await TieredEngine(inside, FakeRemoteEngine(QueryError("too large")), oldest).range("x", 0, 1, 1)


def test_the_earliest_read_of_every_selector_is_found():
    """
    With the earliest time at which it is looked.
    """
    query = "sum(rate(a[5m] offset 1m)) + topk(3, b) > on () group_left () (c @ 7 or d)"
    found = {it.matchers[0].value: at for it, at in earliest_reads(parse(query).root, 1000, 1000, 2000, 300)}
    assert found == {"a": 1000 - 360_000, "b": 700, "c": 6700, "d": 700}
