"""What is left of an error budget."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from toban.core.errors import QueryError
from toban.core.labels import NAME, Labels
from toban.core.samples import milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.memory_source import MemorySource
from toban.review.error_budget import STEP, BudgetState, Counts, error_budget
from toban.review.metric_families import OBSERVED, TOTAL, bad
from toban.review.service_level import ServiceLevel
from toban.review.service_levels import ServiceLevels
from toban.review.settings import ServiceLevelSettings
from toban.review.traffic import doubts

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def level_of(target="99", **settings):
    written = {"target": target, "total": "requests_total", "bad": "failures_total", **settings}
    return ServiceLevel("shop", ServiceLevelSettings.model_validate(written))


def counts_of(total, failed, observed=None):
    """Return counts of steps that end now."""
    times = milliseconds(NOW) - (STEP // timedelta(milliseconds=1)) * np.arange(len(total) - 1, -1, -1)
    seen = np.ones(len(total), bool) if observed is None else np.array(observed, bool)
    return Counts(times, np.array(total, float), np.array(failed, float), seen)


def test_a_budget_counts_events_and_not_time():
    """
    One failure of two at night, none of 998 at noon.
    """
    found = error_budget(level_of(), counts_of([2, 998], [1, 0]), (), None, NOW)
    assert (found.events, found.bad, found.ratio) == (1000, 1, 0.001)
    assert found.left == pytest.approx(0.9)
    assert found.state is BudgetState.FREE


@pytest.mark.parametrize(
    ("failed", "state"),
    [(0, "free"), (4, "free"), (5, "careful"), (9, "careful"), (10, "spent"), (500, "spent")],
)
def test_a_budget_says_what_it_allows(failed, state):
    assert error_budget(level_of(), counts_of([1000], [failed]), (), None, NOW).state == state


def test_planned_windows_count_and_are_shown_apart():
    counts = counts_of([100, 100, 100, 100], [0, 10, 0, 2])
    window = (NOW - 3 * STEP, NOW - 2 * STEP)
    found = error_budget(level_of(), counts, [window], None, NOW)
    assert found.ratio == 0.03
    assert found.outside_planned == pytest.approx(2 / 300)
    assert found.planned == STEP


def test_overlapping_planned_windows_count_once():
    windows = [
        (NOW - 60 * MINUTE, NOW - 20 * MINUTE),
        (NOW - 50 * MINUTE, NOW - 30 * MINUTE),
        (NOW - MINUTE, NOW + STEP),
    ]
    assert error_budget(level_of(), counts_of([1], [0]), windows, None, NOW).planned == 41 * MINUTE


def test_blind_time_is_a_number_of_its_own_and_begins_with_the_first_look():
    counts = counts_of([np.nan, np.nan, 5, np.nan, 5], [np.nan, np.nan, 0, np.nan, 1], [0, 0, 1, 0, 1])
    found = error_budget(level_of(), counts, (), None, NOW)
    assert (found.events, found.bad) == (10, 1)
    assert found.blind == STEP
    assert found.since == NOW - 3 * STEP


@pytest.mark.parametrize("counts", [counts_of([np.nan] * 3, [np.nan] * 3, [0, 0, 0]), counts_of([0, 0], [0, 0])])
def test_without_events_nothing_is_claimed(counts):
    found = error_budget(level_of(), counts, (), float("nan"), NOW)
    assert (found.state, found.ratio, found.left, found.burn, found.lasts) == (BudgetState.NO_DATA, *[None] * 4)


def test_how_long_a_budget_lasts_follows_from_the_last_hour():
    """
    Half of the budget of 30 days is left; at three times the pace it lasts five days.
    """
    found = error_budget(level_of(), counts_of([1000], [5]), (), 0.03, NOW)
    assert found.burn == pytest.approx(3)
    assert found.lasts == timedelta(days=5)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=50), st.data())
def test_the_share_is_that_of_all_events_in_any_order(steps, data):
    total = [max(one, other) for one, other in steps]
    failed = [min(one, other) for one, other in steps]
    order = data.draw(st.permutations(range(len(steps))))
    found = error_budget(level_of(), counts_of(total, failed), (), None, NOW)
    again = error_budget(
        level_of(), counts_of([total[it] for it in order], [failed[it] for it in order]), (), None, NOW
    )
    assert found.ratio == again.ratio == (sum(failed) / sum(total) if sum(total) else None)


async def test_budgets_are_read_from_what_the_rules_recorded():
    """
    Each event counts once, although the rules record the last five minutes each minute.
    """
    source, clock = MemorySource(), FakeClock(NOW)
    level = level_of(period="7d")
    minutes = range(-120, 1)
    for metric, value in ((TOTAL.name, 50.0), (bad(STEP), 1.0), (OBSERVED.name, 1.0)):
        samples = [(milliseconds(NOW + it * MINUTE), value) for it in minutes]
        source.add(Labels({NAME: metric, **level.labels}), samples)
    async with QueryExecutor(PromqlEngine(source)) as engine:
        levels = ServiceLevels([level], engine, lambda begins, ends: (), clock)
        (found,) = await levels.budgets()
    assert (found.events, found.bad, found.ratio) == (25 * 50, 25, 0.02)
    assert found.left == pytest.approx(-1)
    assert found.blind == timedelta()


class FailingEngine:
    async def range(self, query, start, end, step, *, time_limit=None):
        raise QueryError("query timed out")

    async def instant(self, query, at, *, time_limit=None):
        raise QueryError("query timed out")


async def test_a_budget_that_can_not_be_read_says_why():
    levels = ServiceLevels([level_of()], FailingEngine(), lambda begins, ends: (), FakeClock(NOW))
    (found,) = await levels.budgets()
    assert (found.state, found.error) == (BudgetState.NO_DATA, "query timed out")


@pytest.mark.parametrize(
    ("target", "events", "expected"),
    [
        ("99.9", 12, "99.9 % needs at least 70 events an hour, there are 12: .*take 99 %, or join services"),
        ("99.9", 60, "there are 60: .*take 99.5 %"),
        ("99", 0.5, "there are 0.5: .*join services, or count looks"),
        ("99.5", 60, ""),
    ],
)
def test_too_few_events_for_a_target_are_reported(target, events, expected):
    found = doubts(level_of(target), events)
    assert bool(found) == bool(expected)
    if expected:
        assert re.search(expected, found[0])
