"""Which engine answers."""

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


class Outside:
    """An engine that says that it was asked."""

    def __init__(self, trouble=None):
        self.trouble = trouble

    async def instant(self, query, at, *, time_limit=None):
        if self.trouble:
            raise self.trouble
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
async def test_what_reaches_further_back_than_our_numbers_goes_outside(query, start, end, where):
    """
    As a whole: half an answer from each would be none.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        engine = TieredEngine(inside, Outside(), oldest)
        answer = await engine.range(query, start, end, 60_000)
        assert (answer.text or "inside") == where
        if start == end:
            assert ((await engine.instant(query, start)).text or "inside") == where


async def test_when_nobody_answers_outside_what_is_here_is_told():
    """
    With a warning: it is not all.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        answer = await TieredEngine(inside, Outside(StoreError("outside: refused")), oldest).instant("x", 0)
        assert answer.warnings == ("outside: refused; what toban itself no longer holds is missing here",)


async def test_what_the_outside_refuses_is_refused():
    """
    It is not asked again here.
    """
    async with QueryExecutor(PromqlEngine(ScriptSource())) as inside:
        with pytest.raises(QueryError, match="too large"):
            await TieredEngine(inside, Outside(QueryError("too large")), oldest).range("x", 0, 1, 1)


def test_every_selector_is_found():
    """
    With the earliest time at which it is looked.
    """
    query = "sum(rate(a[5m] offset 1m)) + topk(3, b) > on () group_left () (c @ 7 or d)"
    found = {it.matchers[0].value: at for it, at in earliest_reads(parse(query).root, 1000, 1000, 2000, 300)}
    assert found == {"a": 1000 - 360_000, "b": 700, "c": 6700, "d": 700}
