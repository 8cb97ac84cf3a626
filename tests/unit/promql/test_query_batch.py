"""Several questions at one time, answered in one go."""

import pytest

from toban.core.errors import QueryError
from toban.promql.data_presence import DataPresence
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import MOMENT, run_batch
from toban.promql.test_runner import MemorySource


def source() -> MemorySource:
    """Return a source with one series that is up."""
    made = MemorySource()
    made.load("load 15s\n  up 1x10")
    return made


def test_each_has_its_own_answer_or_trouble():
    """
    A query that is none does not keep the others from being answered; an empty answer says what is there.
    """
    answered, empty, missing, broken, last = run_batch(
        PromqlEngine(source()), ["up", "up > 1", "down > 1", "up +", "up + 1"], 60_000
    )

    assert answered.answer.series[0].last == 1
    assert (empty.answer.series, empty.presence) == ((), DataPresence.PRESENT)
    assert (missing.answer.series, missing.presence) == ((), DataPresence.MISSING)
    with pytest.raises(QueryError, match="parse error"):
        assert broken.answer
    assert last.answer.series[0].last == 2


def test_a_moment_is_long_enough_for_one():
    """
    Slow questions are answered one at a time, so that nothing that waits behind them waits for all; each says how long
    it took.
    """
    at = [0.0]

    def slow() -> float:
        at[0] += MOMENT
        return at[0]

    made = run_batch(PromqlEngine(source(), now=slow), ["up"] * 5, 60_000)

    assert len(made) == 1
    assert made[0].answer.series
    assert made[0].seconds >= MOMENT
