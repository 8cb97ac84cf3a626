"""Orders around an incident: exact ones, against what is usual where enough is known."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from tests.unit.health.test_sales import NOW, counted
from toban.health.orders_around import MOST, OrdersAround
from toban.health.sales import SalesHour
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor


async def between(source: ScriptSource, start: datetime, end: datetime = NOW) -> Sequence[SalesHour]:
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await OrdersAround(engine, FakeClock(NOW)).between(start, end)


def outage(at: datetime) -> float:
    """60 orders an hour, 90 a week ago, none in the last hour."""
    if at >= NOW - timedelta(hours=1):
        return 0
    return 90 if (NOW.date() - at.date()).days == 7 else 60


async def test_each_interval_has_its_orders_and_the_range_of_the_same_time_of_four_weeks():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, outage)
    found = await between(source, NOW - timedelta(hours=2))
    assert {b.starts - a.starts for a, b in pairwise(found)} == {timedelta(minutes=5)}
    before = [it for it in found if it.starts + timedelta(minutes=5) <= NOW - timedelta(hours=1)]
    during = [it for it in found if NOW - timedelta(hours=1) <= it.starts and it.orders is not None]
    assert [it.orders for it in before] == [pytest.approx(5)] * len(before)
    assert [it.orders for it in during] == [pytest.approx(0)] * len(during)
    assert during[0].usual.least == pytest.approx(5)
    assert during[0].usual.most == pytest.approx(7.5)


async def test_an_interval_that_is_not_over_is_not_known():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, outage)
    found = await between(source, NOW - timedelta(hours=2), NOW + timedelta(minutes=30))
    assert all((it.orders is None) == (it.starts + timedelta(minutes=5) > NOW) for it in found)
    assert found[-1].starts > NOW


async def test_nothing_is_usual_without_two_weeks_to_compare_with():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=10), NOW, outage)
    found = await between(source, NOW - timedelta(hours=2))
    assert [it.usual for it in found] == [None] * len(found)
    assert found[0].orders == pytest.approx(5)


async def test_a_shop_whose_orders_are_not_counted_has_none():
    assert await between(ScriptSource(), NOW - timedelta(hours=2)) == ()


@pytest.mark.parametrize("hours", [0.01, 1, 5, 30, 100, 5000])
async def test_a_chart_has_a_bounded_number_of_intervals(hours):
    source = ScriptSource()
    counted(source, NOW - timedelta(days=9), NOW, outage)
    found = await between(source, NOW - timedelta(hours=hours))
    assert len(found) <= MOST
