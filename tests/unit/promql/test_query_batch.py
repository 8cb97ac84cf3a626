"""Batches of queries at one time."""

import pytest

from tests.promql_scripts import ScriptSource
from toban.core.errors import QueryError
from toban.core.query_result import DataPresence
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import BATCH_SECONDS, run_batch


def source() -> ScriptSource:
    """Return a source with one series that is up."""
    made = ScriptSource()
    made.load("load 15s\n  up 1x10")
    return made


def test_each_query_of_a_batch_has_its_own_result_or_error():
    """
    A query that is none does not keep the others from being answered; an empty answer says what is there.
    """
    answered, empty, missing, broken, last = run_batch(
        PromqlEngine(source()), ["up", "up > 1", "down > 1", "up +", "up + 1"], 60_000
    )

    assert answered.result.series[0].last == 1
    assert (empty.result.series, empty.presence) == ((), DataPresence.PRESENT)
    assert (missing.result.series, missing.presence) == ((), DataPresence.MISSING)
    with pytest.raises(QueryError, match="parse error"):
        assert broken.result
    assert last.result.series[0].last == 2


def test_a_batch_runs_at_least_one_query():
    """
    Slow questions are answered one at a time, so that nothing that waits behind them waits for all; each says how long
    it took.
    """
    at = [0.0]

    def slow() -> float:
        at[0] += BATCH_SECONDS
        return at[0]

    made = run_batch(PromqlEngine(source(), now=slow), ["up"] * 5, 60_000)

    assert len(made) == 1
    assert made[0].result.series
    assert made[0].seconds >= BATCH_SECONDS
