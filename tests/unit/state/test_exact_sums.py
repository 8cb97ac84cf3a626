"""Exposed sums equal stored ones, without rounding."""

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select

from tests.counter_decreases import decreases, stored_samples
from tests.fakes import sample_values
from toban.core.samples import Batch, counter, histogram
from toban.instruments.business_metrics import BusinessMetrics, Order, money
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.metric_families import CAMPAIGN_DISCOUNT, CAMPAIGN_USAGE, ORDER_TOTAL, ORDERS_CREATED, REVENUE
from toban.state import durable_counters

T = TypeVar("T")
SUM, TOTALS = counter("sum_total", ""), histogram("amount", "", (10, 100))
AMOUNTS = st.decimals(0, 10**9, places=2) | st.floats(0, 1e15) | st.integers(0, 10**9)
BUSINESS = (ORDER_TOTAL, ORDERS_CREATED, REVENUE, CAMPAIGN_USAGE, CAMPAIGN_DISCOUNT)


def kept() -> Callable[[Callable[[Connection], T]], T]:
    """Return what does some work on a new database."""
    engine = create_engine("sqlite://")
    durable_counters.COUNTERS.create(engine)

    def transact(work: Callable[[Connection], T]) -> T:
        with engine.begin() as connection:
            return work(connection)

    return transact


@given(st.lists(st.lists(AMOUNTS, max_size=4), min_size=1, max_size=8))
def test_exposed_sums_equal_stored_sums_and_never_decrease(lives: list[list[Decimal | float]]):
    """
    Told before it is kept and after, through restarts: the same, and the sum on paper.
    """
    transact, batches = kept(), list[Batch]()

    def live(connection: Connection, amounts: list[Decimal | float], at: int) -> None:
        meters = durable_counters.load(connection, "shop", [SUM, TOTALS])
        for amount in amounts:
            meters.add(SUM, amount)
            meters.observe(TOTALS, amount)
        batches.extend(meters.read(at, {}))
        durable_counters.save(connection, "shop", meters)
        batches.extend(durable_counters.load(connection, "shop", [SUM, TOTALS]).read(at + 1, {}))

    for turn, amounts in enumerate(lives):
        transact(lambda connection: live(connection, amounts, 10 * turn + 10))  # noqa: B023  # it is called at once
    assert not decreases(stored_samples(batches))
    amounts = [Decimal(repr(one)) if isinstance(one, float) else Decimal(one) for life in lives for one in life]
    for name in ("sum_total", "amount_sum") if amounts else ():
        assert sample_values(batches)[name] == float(sum(amounts))


@given(st.lists(st.integers(-(10**7), 10**7), max_size=30), st.sampled_from((0, 2, 3)))
def test_sums_of_money_are_exact_in_the_minor_unit(minor: list[int], precision: int):
    """
    Whatever precision the shop has; a total below nothing takes nothing away.
    """
    transact, batches, sums = kept(), list[Batch](), list[float]()

    def order(connection: Connection, amount: int, at: int) -> None:
        meters = durable_counters.load(connection, "shop", BUSINESS)
        business = BusinessMetrics(meters, CardinalityLimits(meters))
        business.track_order(Order(Decimal(amount).scaleb(-precision), "PaymentSettled", "USD"))
        business.track_campaign_usage("1", Decimal(amount).scaleb(-precision))
        batches.extend(meters.read(at, {}))
        durable_counters.save(connection, "shop", meters)

    for turn, amount in enumerate(minor, 1):
        transact(lambda connection: order(connection, amount, 10 * turn))  # noqa: B023  # it is called at once
        sums.append(sum(one for one in minor[:turn] if one > 0) / 10**precision)
    assert not decreases(stored_samples(batches))
    for labels, points in stored_samples(batches).items():
        if labels.name in {
            "vendure_revenue_total",
            "vendure_order_total_amount_sum",
            "vendure_campaign_discount_amount_sum",
        }:
            assert [value for at, value in points if at % 10 == 0] == sums


def test_a_float_is_converted_to_money_by_its_shortest_text():
    assert [money(0.1), money(19.99), money(1e15), money(1e-300), money(-3.0)] == [
        Decimal("0.1"), Decimal("19.99"), Decimal(10**15), Decimal(0), Decimal(0),
    ]  # fmt: skip  # a row each


@pytest.mark.parametrize("value", [18579.93, 7.0, 1e-06, 123456789012.34])
def test_counters_of_an_older_version_continue(value: float):
    """
    They were written as floats, rounded to the millionth.
    """
    transact = kept()

    def older(connection: Connection) -> None:
        row = {"owner": "shop", "family": "sum_total", "labels": "{}", "sample_values": orjson.dumps([value]).decode()}
        connection.execute(insert(durable_counters.COUNTERS).values(**row))

    def newer(connection: Connection) -> tuple[dict[str, float | str], str]:
        meters = durable_counters.load(connection, "shop", [SUM])
        meters.add(SUM, Decimal("0.01"))
        durable_counters.save(connection, "shop", meters)
        return sample_values(meters.read(1, {})), connection.execute(
            select(durable_counters.COUNTERS.c.sample_values)
        ).scalar_one()

    transact(older)
    found, numbers = transact(newer)
    assert found == {"sum_total": float(Decimal(repr(value)) + Decimal("0.01"))}
    assert orjson.loads(numbers) == [found["sum_total"]]  # and an earlier one reads what this one wrote
