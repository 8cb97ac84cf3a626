"""Durable counters, on SQLite and on PostgreSQL alike."""

import pytest

from tests.fakes import sample_values
from toban.core.samples import counter, gauge, histogram
from toban.state import durable_counters

ORDERS = counter("orders_total", "", optional_labels=("channel",))
HEAT, TOTALS = gauge("heat", ""), histogram("amount", "", (10, 100))


async def test_saved_counters_are_loaded_with_labels_and_buckets(state):
    """
    Each owner loads its own.
    """

    def count(connection):
        meters = durable_counters.load(connection, "shop", [ORDERS, HEAT, TOTALS])
        meters.add(ORDERS, 2, channel="default")
        meters.set(HEAT, 7)
        meters.observe(TOTALS, 99.99)
        durable_counters.save(connection, "shop", meters)
        return meters

    await state.transaction(count)
    await state.transaction(count)
    meters = await state.transaction(
        lambda connection: durable_counters.load(connection, "shop", [ORDERS, HEAT, TOTALS])
    )
    other = await state.transaction(lambda connection: durable_counters.load(connection, "other", [ORDERS]))

    assert sample_values(meters.read(1, {})) == {
        'orders_total{channel="default"}': 4,
        "heat": 7,
        'amount_bucket{le="10"}': 0,
        'amount_bucket{le="100"}': 2,
        'amount_bucket{le="+Inf"}': 2,
        "amount_sum": 199.98,
        "amount_count": 2,
    }
    assert list(other.series()) == []


async def test_a_failed_transaction_counts_nothing(state):

    def fail(connection):
        meters = durable_counters.load(connection, "shop", [ORDERS])
        meters.add(ORDERS)
        durable_counters.save(connection, "shop", meters)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await state.transaction(fail)
    meters = await state.transaction(lambda connection: durable_counters.load(connection, "shop", [ORDERS]))

    assert meters.value(ORDERS) == 0


async def test_sums_of_money_are_exact(state):
    """
    A hundred times 0.1 is 10.
    """

    def pay(connection):
        meters = durable_counters.load(connection, "shop", [ORDERS])
        for _ in range(10):
            meters.add(ORDERS, 0.1)
        durable_counters.save(connection, "shop", meters)

    for _ in range(10):
        await state.transaction(pay)
    meters = await state.transaction(lambda connection: durable_counters.load(connection, "shop", [ORDERS]))

    assert meters.value(ORDERS) == 10
