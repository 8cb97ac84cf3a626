"""Orders and revenue of today against the same hours of the last weeks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.health.sales import SalesReport, UsualRange
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor

NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def counted(source: ScriptSource, since: datetime, until: datetime, per_hour) -> None:
    """Count orders, and 10 EUR each: evenly within each hour."""
    total, at, points = 1_000.0, since, []
    while at <= until:
        points.append((round(at.timestamp() * 1000), total))
        total += per_hour(at) / 60
        at += MINUTE
    labels = {"customerType": "general", "channel": "default"}
    source.add({"__name__": "vendure_orders_created_total", **labels}, points)
    source.add(
        {"__name__": "vendure_revenue_total", "currency": "EUR"},
        [(time, value * 10) for time, value in points],
    )


async def sales(source: ScriptSource, now: datetime = NOW, zone: str = "UTC"):
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await SalesReport(engine, FakeClock(now), ZoneInfo(zone)).today()


async def test_orders_of_today_are_by_the_hour_and_the_hour_of_now_is_what_it_has_so_far():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, lambda at: 60 if at.hour < 8 else 120)
    found = await sales(source)
    assert [round(it.orders, 6) if it.orders is not None else None for it in found.hours] == [
        *[60] * 8,
        *[120, 120, 60],
        *[None] * 13,
    ]
    assert found.orders.value == pytest.approx(8 * 60 + 2.5 * 120)


async def test_what_is_usual_is_the_range_of_the_same_hours_of_four_weeks():
    source = ScriptSource()
    by_week = {7: 30, 14: 60, 21: 90, 28: 120}
    counted(source, NOW - timedelta(days=30), NOW, lambda at: by_week.get((NOW.date() - at.date()).days, 240))
    found = await sales(source)
    usual = found.hours[15].usual
    assert (usual.least, usual.median, usual.most) == pytest.approx((30, 75, 120))
    assert found.orders.usual.least == pytest.approx(30 * 10.5)
    assert found.orders.missing == 0


async def test_revenue_that_is_below_every_week_is_missing():
    source = ScriptSource()
    counted(source, NOW - timedelta(days=30), NOW, lambda at: 6 if at.date() == NOW.date() else 60)
    revenue = (await sales(source)).revenue["EUR"]
    assert revenue.value == pytest.approx(10.5 * 6 * 10)
    assert revenue.missing == pytest.approx(10.5 * 54 * 10)


async def test_in_the_first_hour_orders_count_from_the_first_sample_and_nothing_is_claimed_to_be_usual():
    source = ScriptSource()
    counted(source, NOW - timedelta(minutes=20), NOW, lambda _: 60)
    found = await sales(source)
    assert found.hours[10].orders == pytest.approx(20)
    assert found.orders.value == pytest.approx(20)
    assert found.orders.usual is None
    assert found.orders.missing == 0


async def test_without_counted_orders_there_are_no_sales():
    assert await sales(ScriptSource()) is None


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-15", 24)])
async def test_a_day_has_the_hours_that_its_zone_gives_it(day, hours):
    source = ScriptSource()
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    counted(source, noon - timedelta(hours=20), noon, lambda _: 60)
    found = await sales(source, noon, "Europe/Berlin")
    assert len(found.hours) == hours
    assert found.hours[0].starts.astimezone(ZoneInfo("Europe/Berlin")).hour == 0


def test_a_range_has_the_least_the_median_and_the_most():
    assert UsualRange.of([3, 1, 10]) == UsualRange(1, 3, 10)
