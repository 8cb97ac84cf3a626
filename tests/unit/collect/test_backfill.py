"""Counting events once and at their own times: the decisions."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toban.collect.backfill import (
    COARSE_STEP,
    FINE_RANGE,
    FINE_STEP,
    StableLayouts,
    reread_from,
    sample_times,
    slice_end,
)
from toban.collect.collectors.vendure_db.order_events import FAILS_AFTER, GRACE, decide_failures, discounts
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.intervals import backed_off
from toban.collect.repository import ReadPosition, moved_position
from toban.core.labels import NAME, Labels
from toban.core.samples import Batch, Layout

NOW = datetime(2026, 11, 20, tzinfo=UTC)
AGO = st.timedeltas(timedelta(0), timedelta(days=100))


@given(AGO, AGO)
def test_sample_times_are_finer_for_recent_times(one: timedelta, other: timedelta):
    """
    Fine for the newest day, coarser before; every moment lies in one of them.
    """
    since, until = NOW - max(one, other), NOW - min(one, other)
    found = list(sample_times(since, until, NOW))
    assert bool(found) == (since < until)
    before = since
    for at in found:
        assert timedelta(0) < at - before <= (FINE_STEP if NOW - before <= FINE_RANGE else COARSE_STEP)
        before = at
    assert before == until


@given(AGO, st.integers(1, 50))
def test_slices_are_contiguous_up_to_now(ago: timedelta, most: int):
    """
    None is empty, none goes beyond now.
    """
    at = NOW - ago
    end = slice_end(at, NOW, most)
    assert at <= end <= NOW
    assert (at == end) == (at == NOW)
    assert len(list(sample_times(at, end, NOW))) <= most


@given(st.lists(st.tuples(AGO, st.integers(0, 9), st.integers(0, 9)), max_size=9))
def test_a_position_never_goes_back(changes: list[tuple[timedelta, int, int]]):
    """
    Whatever was read: also the number from which rows are looked at again.
    """
    position = ReadPosition(NOW - timedelta(days=100), NOW - timedelta(days=100))
    for ago, top, floor in changes:
        after = moved_position(position, NOW - ago, top, floor)
        assert (after.until, after.top, after.floor) >= (position.until, position.top, position.floor)
        assert after.until >= position.until
        assert after.top >= position.top
        assert reread_from(after, timedelta(hours=1), NOW) >= after.began
        position = after


@given(st.dictionaries(st.text("AB", min_size=1), st.none() | AGO), AGO)
def test_an_order_is_placed_failed_or_pending(orders: dict[str, timedelta | None], ago: timedelta):
    """
    Placed in time, failed when its time is over, else nothing; one that was not looked up waits.
    """
    until = NOW - ago
    at = NOW - timedelta(days=50)
    placed = {order: None if away is None else NOW - away for order, away in orders.items()}
    attempts = [FailedAttempt(order, "card", at) for order in [*orders, "unknown"]]
    failures, ended = decide_failures(attempts, placed, until)
    failed = {failure.id for failure in failures}
    assert not failed & set(ended)
    assert "unknown" not in failed | set(ended)
    for order, when in placed.items():
        in_time = when is not None and when <= at + FAILS_AFTER
        assert (order in ended) == in_time
        assert (order in failed) == (not in_time and at + FAILS_AFTER + GRACE <= until)


def test_a_slow_query_backs_off():
    """
    Half a percent of the server's time at most, and never sooner than it is wanted.
    """
    minute = timedelta(minutes=1)
    assert backed_off(minute, 0.01) == minute
    assert backed_off(minute, 2) == timedelta(seconds=400)


def test_series_in_another_order_reuse_the_layout():
    """
    Numbers stay with their series.
    """
    a, b = Labels({NAME: "a"}), Labels({NAME: "b"})
    steady = StableLayouts()
    first = steady.stabilize([Batch(Layout([a, b]), 1, np.array([1.0, 2.0]))])
    again = steady.stabilize([Batch(Layout([b, a]), 2, np.array([4.0, 3.0]))])
    assert again[0].layout is first[0].layout
    assert again[0].values.tolist() == [3.0, 4.0]


def test_invalid_json_has_no_discounts():
    """
    A line that can't be read costs its own discount.
    """
    found = discounts([("1", "7")], [("1", "{", "[]", False), ("1", "7", "", True)], 100, gross=False)
    assert found == {"1": {"7": 0.0}}
