"""Numbers in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import told
from toban.core.metric_registry import MetricRegistry, bound_text
from toban.core.samples import counter, gauge, histogram

ORDERS = counter("orders_total", "")
HEAT = gauge("heat", "")
SECONDS = histogram("seconds", "", (0.1, 1))
TARGET = {"job": "shop"}


def test_a_new_counter_is_nought_just_before_its_first_value():
    """
    So that `increase` sees its first event; a gauge has no need. The noughts stand where the last reading did.
    """
    meters = MetricRegistry()
    meters.set(HEAT, 7)
    first = meters.read(1000, TARGET)
    meters.add(ORDERS, shop="a")
    noughts, second = meters.read(2000, TARGET)

    assert [batch.at for batch in (*first, noughts, second)] == [1000, 1000, 2000]
    assert told([noughts]) == {'orders_total{job="shop", shop="a"}': 0}
    assert told([second]) == {'heat{job="shop"}': 7, 'orders_total{job="shop", shop="a"}': 1}
    assert len(meters.read(3000, TARGET)) == 1


def test_what_was_told_as_a_total_was_never_nought():
    """
    A process that has counted for hours, or a row that was loaded, did not begin just now.
    """
    meters = MetricRegistry()
    meters.set(ORDERS, 500, shop="a")
    meters.restore(ORDERS, [70], shop="b")
    meters.add(ORDERS, shop="b")

    assert [told([batch]) for batch in meters.read(1000, {})] == [
        {'orders_total{shop="a"}': 500, 'orders_total{shop="b"}': 71}
    ]


def test_a_layout_is_used_again_while_nothing_changes():
    """
    The store recognises it by identity.
    """
    meters = MetricRegistry()
    meters.set(HEAT, 1)
    (first,), (second,) = meters.read(1, TARGET), meters.read(2, TARGET)
    meters.set(HEAT, 1, room="b")
    (third,) = meters.read(3, TARGET)
    meters.remove(HEAT)
    (fourth,) = meters.read(4, TARGET)

    assert first.layout is second.layout
    assert len(third.layout) == 2
    assert told([fourth]) == {'heat{job="shop", room="b"}': 1}


def test_a_series_own_labels_stand_above_the_target_s():
    """
    What a process of the shop tells of itself bears its own job.
    """
    meters = MetricRegistry()
    meters.set(HEAT, 1, job="vendure-worker")

    assert told(meters.read(1, {"job": "telemetry", "instance": "here"})) == {
        'heat{instance="here", job="vendure-worker"}': 1
    }


def test_a_histogram_is_what_prometheus_has():
    """
    Buckets add up, a value on a bound lies below it, and the last bound is infinite.
    """
    meters = MetricRegistry()
    for value in (0.1, 0.5, 7):
        meters.observe(SECONDS, value)

    assert told(meters.read(1, {})[1:]) == {
        'seconds_bucket{le="0.1"}': 1,
        'seconds_bucket{le="1"}': 2,
        'seconds_bucket{le="+Inf"}': 3,
        "seconds_sum": 7.6,
        "seconds_count": 3,
    }
    assert meters.value(SECONDS) == 3


def test_a_family_is_what_it_is():
    """
    To add to a histogram, or to observe a counter, is a mistake in the code.
    """
    with pytest.raises(TypeError, match="seconds is a histogram"):
        MetricRegistry().add(SECONDS)
    with pytest.raises(TypeError, match="orders_total is no histogram"):
        MetricRegistry().observe(ORDERS, 1)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_numbers_that_were_kept_are_taken_back_whole(values):
    """
    Whatever was observed, a histogram made of its numbers tells the same, and goes on from there.
    """
    kept, again = MetricRegistry(), MetricRegistry()
    for value in values:
        kept.observe(SECONDS, value)
    for family, labels, numbers in kept.series():
        again.restore(family, numbers, **labels)
    for meters in (kept, again):
        meters.observe(SECONDS, 0.5)

    assert [numbers for *_, numbers in kept.series()] == [numbers for *_, numbers in again.series()]


@given(st.floats(0, 1e9))
def test_a_bound_is_written_so_that_it_reads_the_same(bound):
    """
    `1`, not `1.0`, as Prometheus' Go client writes it; and nothing is rounded away.
    """
    assert float(bound_text(bound)) == bound
    assert bound_text(500000) == "500000"
