"""When resources are full."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.health.capacity import forecast, forecasts, season_of
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor

NOW = datetime(2026, 6, 15, tzinfo=UTC)
DAY = 86_400.0


def test_a_steady_growth_is_continued():
    times = [it * DAY / 4 for it in range(112)]
    shares = [0.5 + 0.01 * it / DAY for it in times]
    full, earliest, latest = forecast(times, shares)
    assert full == pytest.approx(times[-1] + (1 - shares[-1]) / 0.01 * DAY)
    assert earliest == pytest.approx(full)
    assert latest == pytest.approx(full)


def test_noise_and_a_clean_up_in_between_change_little_and_widen_the_range():
    dice = random.Random(7)
    times = [it * DAY / 4 for it in range(112)]
    shares = [0.3 + 0.01 * it / DAY - (0.1 if it > 20 * DAY else 0) + dice.gauss(0, 0.01) for it in times]
    full, earliest, latest = forecast(times, shares)
    true = times[-1] + (1 - (0.3 + 0.01 * times[-1] / DAY - 0.1)) / 0.01 * DAY
    assert earliest < true < (latest or float("inf"))
    assert full is not None


def test_what_does_not_grow_is_never_full():
    times = [it * DAY for it in range(28)]
    assert forecast(times, [0.7] * 28) == (None, None, None)
    assert forecast(times, [0.9 - 0.01 * it for it in range(28)])[0] is None


async def found_in(source: ScriptSource):
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await forecasts(engine, FakeClock(NOW))


def daily(days: int, share):
    start = NOW - timedelta(days=days)
    return [
        (round((start + timedelta(hours=it)).timestamp() * 1000), float(share(it / 24))) for it in range(days * 24 + 1)
    ]


async def test_resources_are_named_and_the_fullest_in_time_is_first():
    source = ScriptSource()
    source.add({"__name__": "fly_volume_used_ratio", "app": "shop", "volume": "v1"}, daily(28, lambda it: 0.5))
    source.add({"__name__": "postgres_connections_limit"}, daily(28, lambda it: 100))
    source.add({"__name__": "postgres_connections_used"}, daily(28, lambda it: 30 + it))
    first, second = await found_in(source)
    assert (first.key, first.share) == ("connections", pytest.approx(0.58))
    assert abs((first.full - NOW) - timedelta(days=42)) < timedelta(days=1)
    assert (second.key, second.name, second.full) == ("volume", "shop v1", None)


async def test_a_few_days_are_too_few():
    source = ScriptSource()
    source.add(
        {"__name__": "fly_volume_used_ratio", "app": "shop", "volume": "v1"}, daily(6, lambda it: 0.5 + it / 100)
    )
    assert await found_in(source) == []


def test_the_season_of_last_year_speeds_the_forecast_and_its_range_covers_both():
    times = [it * DAY / 4 for it in range(112)]
    shares = [0.5 + 0.005 * it / DAY for it in times]
    plain, _, _ = forecast(times, shares)
    full, earliest, latest = forecast(times, shares, 2.0)
    assert full - times[-1] == pytest.approx((plain - times[-1]) / 2)
    assert (earliest, latest) == (pytest.approx(full), pytest.approx(plain))


@pytest.mark.parametrize(
    ("before", "after", "season"), [(1, 3, 3.0), (1, 9, 4.0), (2, 1, 0.5), (1, -1, None), (0, 1, None)]
)
def test_the_season_is_how_growth_went_on_a_year_ago(before: float, after: float, season: float | None):
    times = [it * DAY / 4 for it in range(16 * 7 * 4 + 1)]
    at = 28 * DAY
    shares = [0.1 + (before * min(it, at) + after * max(0.0, it - at)) / DAY / 1000 for it in times]
    found = season_of(times, shares, at)
    assert found == (None if season is None else pytest.approx(season))


async def test_the_season_is_known_from_data_of_13_months_and_named_as_unknown_before():
    labels = {"__name__": "fly_volume_used_ratio", "app": "shop", "volume": "v1"}
    found = []
    for days in (400, 300):
        source, begin = ScriptSource(), NOW - timedelta(days=days)
        year = (NOW - timedelta(weeks=52) - begin) / timedelta(days=1)
        points = daily(days, lambda it, year=year: 0.1 + (it + min(max(0.0, it - year), 84)) / 1000)
        source.add(labels, points)
        (forecast_,) = await found_in(source)
        found.append(forecast_.season)
    assert found == [pytest.approx(2.0, abs=0.1), None]
