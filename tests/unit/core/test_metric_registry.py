"""The metric registry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import sample_values
from toban.core.metric_registry import MetricRegistry, bound_text
from toban.core.samples import UndeclaredLabelsWarning, counter, gauge, histogram

ORDERS = counter("orders_total", "", optional_labels=("shop",))
HEAT = gauge("heat", "", optional_labels=("room",))
SECONDS = histogram("seconds", "", (0.1, 1))
TARGET = {"job": "shop"}


def test_a_new_counter_has_a_zero_sample_before_its_first_value():
    """
    So that `increase` sees its first event; a gauge has none. The zero has the time of the last read.
    """
    meters = MetricRegistry()
    meters.set(HEAT, 7)
    first = meters.read(1000, TARGET)
    meters.add(ORDERS, shop="a")
    zeros, second = meters.read(2000, TARGET)

    assert [batch.at for batch in (*first, zeros, second)] == [1000, 1000, 2000]
    assert sample_values([zeros]) == {'orders_total{job="shop", shop="a"}': 0}
    assert sample_values([second]) == {'heat{job="shop"}': 7, 'orders_total{job="shop", shop="a"}': 1}
    assert len(meters.read(3000, TARGET)) == 1


def test_a_total_that_is_set_or_restored_has_no_zero_sample():
    meters = MetricRegistry()
    meters.set(ORDERS, 500, shop="a")
    meters.restore(ORDERS, [70], shop="b")
    meters.add(ORDERS, shop="b")

    assert [sample_values([batch]) for batch in meters.read(1000, {})] == [
        {'orders_total{shop="a"}': 500, 'orders_total{shop="b"}': 71}
    ]


def test_the_layout_is_reused_while_the_series_are_the_same():
    meters = MetricRegistry()
    meters.set(HEAT, 1)
    (first,), (second,) = meters.read(1, TARGET), meters.read(2, TARGET)
    meters.set(HEAT, 1, room="b")
    (third,) = meters.read(3, TARGET)
    meters.remove(HEAT)
    (fourth,) = meters.read(4, TARGET)

    assert first.layout is second.layout
    assert len(third.layout) == 2
    assert sample_values([fourth]) == {'heat{job="shop", room="b"}': 1}


def test_a_series_own_labels_override_the_target_s():
    meters = MetricRegistry()
    meters.set(HEAT, 1, job="vendure-worker")

    assert sample_values(meters.read(1, {"job": "telemetry", "instance": "here"})) == {
        'heat{instance="here", job="vendure-worker"}': 1
    }


def test_a_histogram_has_the_series_of_prometheus():
    """
    Buckets are cumulative, a value that equals a bound is in its bucket, and the last bound is infinite.
    """
    meters = MetricRegistry()
    for value in (0.1, 0.5, 7):
        meters.observe(SECONDS, value)

    assert sample_values(meters.read(1, {})[1:]) == {
        'seconds_bucket{le="0.1"}': 1,
        'seconds_bucket{le="1"}': 2,
        'seconds_bucket{le="+Inf"}': 3,
        "seconds_sum": 7.6,
        "seconds_count": 3,
    }
    assert meters.value(SECONDS) == 3


def test_using_a_family_as_another_type_is_an_error():
    with pytest.raises(TypeError, match="seconds is a histogram"):
        MetricRegistry().add(SECONDS)
    with pytest.raises(TypeError, match="orders_total is not a histogram"):
        MetricRegistry().observe(ORDERS, 1)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_histogram_continues_from_restored_values(values):
    kept, again = MetricRegistry(), MetricRegistry()
    for value in values:
        kept.observe(SECONDS, value)
    for family, labels, saved in kept.series():
        again.restore(family, saved, **labels)
    for meters in (kept, again):
        meters.observe(SECONDS, 0.5)

    assert [found for *_, found in kept.series()] == [found for *_, found in again.series()]


def test_merged_counts_are_those_of_both_registries():
    one, other = MetricRegistry(), MetricRegistry()
    sales = counter("sales_total", "", labels=("shop",))
    one.add(sales, 2, shop="a")
    other.add(sales, 3, shop="a")
    other.add(sales, shop="b")
    other.observe(SECONDS, 0.5)
    for _ in range(2):
        one.merge(other)
    assert (one.value(sales, shop="a"), one.value(sales, shop="b"), one.value(SECONDS)) == (8, 2, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"shop": "a", "city": "b"}, "sales_total: undeclared label city"),
        ({}, "sales_total: missing label shop"),
        ({"city": "b"}, "sales_total: undeclared label city, missing label shop"),
    ],
)
def test_a_series_with_undeclared_or_missing_labels_is_warned_of_and_counted(labels, message):
    sales = counter("sales_total", "", labels=("shop",))
    meters = MetricRegistry()
    with pytest.warns(UndeclaredLabelsWarning, match=f"^{message}$"):
        meters.add(sales, **labels)

    assert meters.value(sales, **labels) == 1
    meters.add(sales, **labels)  # it is warned of a series once: another warning would be an error here


@given(st.floats(0, 1e9))
def test_a_bound_s_text_is_short_and_exact(bound):
    """
    `1`, not `1.0`, as Prometheus' Go client writes it.
    """
    assert float(bound_text(bound)) == bound
    assert bound_text(500000) == "500000"
