"""What an outage costs: only what is known, with its uncertainty."""

from datetime import datetime, timedelta

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from tests.unit.health.test_sales import NOW, counted
from toban.core.impact import Impact
from toban.health.impact import ShopImpact
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor


async def estimate(source: ScriptSource, start: datetime, end: datetime = NOW) -> Impact | None:
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await ShopImpact(engine, FakeClock(NOW)).estimate(start, end)


def outage(at: datetime) -> float:
    """60 orders an hour, 90 a week ago, none in the last half hour."""
    if at >= NOW - timedelta(minutes=30):
        return 0
    return 90 if (NOW.date() - at.date()).days == 7 else 60


async def test_missing_revenue_has_its_range_its_orders_and_what_it_costs_a_minute():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, outage)
    found = await estimate(source, NOW - timedelta(minutes=30))
    assert (found.currency, found.missing, found.least, found.most) == (
        "EUR",
        pytest.approx(300),
        pytest.approx(300),
        pytest.approx(450),
    )
    assert found.orders == pytest.approx(30)
    assert found.per_minute == pytest.approx(10)
    assert Impact.from_dict(found.as_dict()) == found


async def test_what_sells_as_usual_misses_nothing():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, lambda _: 60)
    found = await estimate(source, NOW - timedelta(minutes=30))
    assert (found.missing, found.least, found.per_minute) == (pytest.approx(0), pytest.approx(0), pytest.approx(0))


async def test_nothing_is_claimed_without_two_weeks_to_compare_with():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=10), NOW, outage)
    assert await estimate(source, NOW - timedelta(minutes=30)) is None


async def test_nothing_is_claimed_of_hours_in_which_nobody_buys():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, lambda _: 0.5)
    assert await estimate(source, NOW - timedelta(minutes=30)) is None


async def test_nothing_is_claimed_of_a_shop_whose_orders_are_not_counted():
    assert await estimate(ScriptSource(), NOW - timedelta(minutes=30)) is None
