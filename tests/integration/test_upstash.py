"""Upstash's developer API, by a strict fake."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_http import broken, busy, half, reset, says, unchanged
from tests.fake_upstash import FakeUpstash, series
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, open_scraper
from toban.collect.collectors.upstash import Upstash, forecast, parse_go_time
from toban.core.errors import CollectError

NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)


@pytest.fixture
async def upstash():
    async with FakeUpstash() as upstash:
        yield upstash


@pytest.fixture
async def tools():
    async with collector_tools() as tools:
        yield replace(tools, clock=FakeClock(NOW))


def collector(upstash, **fields):
    given = {"email": upstash.email, "key": upstash.key, "database": upstash.id, "api": f"{upstash.url}/v2", **fields}
    return Upstash.model_validate({"kind": "upstash", "name": "upstash", **given})


async def scrape_once(upstash, tools, **fields):
    scrape = await collector(upstash, **fields).collect(tools)
    return {sample.family.name: sample.value for sample in scrape.samples}


async def test_the_statistics_are_read(upstash, tools):
    """
    The newest of each series counts; milliseconds are seconds here; credentials stay there.
    """
    assert await scrape_once(upstash, tools) == {
        "upstash_database_active": 1,
        "upstash_commands_today": 12_000,
        "upstash_commands_month": 120_000,
        "upstash_commands_month_limit": 500_000,
        # 120,000 in six days and a half: the rest in twenty days and a half
        "upstash_commands_end_timestamp_seconds": datetime(2026, 1, 28, 2, tzinfo=UTC).timestamp(),
        "upstash_bandwidth_month_bytes": 5_000_000,
        "upstash_storage_bytes": 1_048_576,
        "upstash_storage_limit_bytes": 268_435_456,
        "upstash_connections": 7,
        "upstash_connections_limit": 10_000,
        "upstash_commands_per_second": 2,
        "upstash_commands_per_second_limit": 10_000,
        "upstash_latency_p99_seconds": 0.0015,
        "upstash_billing_month_dollars": 0.25,
    }
    assert [asked.path.partition("?")[2] for asked in upstash.requests] == ["credentials=hide", ""]


async def test_exhausted_throttled_and_unlimited_plans(upstash, tools):
    """
    A plan without an end has no forecast; one that is used up has ended.
    """
    upstash.database["db_request_limit"] = 0
    upstash.database["state"] = "suspended"
    upstash.stats["throughput"] = series(*[10_000] * 5)
    plain = await scrape_once(upstash, tools)
    assert plain["upstash_database_active"] == 0
    assert plain["upstash_commands_per_second"] == plain["upstash_commands_per_second_limit"]
    assert {"upstash_commands_month_limit", "upstash_commands_end_timestamp_seconds"} & set(plain) == set()

    upstash.database["db_request_limit"] = 120_000
    full = await scrape_once(upstash, tools)
    assert full["upstash_commands_end_timestamp_seconds"] == NOW.timestamp()


async def test_missing_and_invalid_fields_have_no_samples(upstash, tools):
    """
    Fields may go and come.
    """
    upstash.database = {"state": "active", "db_max_clients": "many"}
    upstash.stats = {"daily_net_commands": None, "connection_count": [{"x": "yesterday", "y": 5}, 7], "throughput": {}}
    assert await scrape_once(upstash, tools) == {"upstash_database_active": 1}


def made(at, **fields):
    return {"creation_time": at, **fields}


@pytest.mark.parametrize(
    ("backups", "newest"),
    [
        ([], 0),
        ([made(1_767_600_000, state="completed"), made(1_767_700_000, state="failed")], 1_767_600_000),
        ([made(1_767_600_000_000), made(1_767_500_000_000)], 1_767_600_000),
    ],
)
async def test_the_newest_backup_is_reported_if_configured(backups, newest, upstash, tools):
    """
    Only a finished one counts.
    """
    upstash.backups = backups
    found = await scrape_once(upstash, tools, backup="26h")
    assert (found["backup_newest_timestamp_seconds"], found["backup_age_limit_seconds"]) == (newest, 26 * 3600)


@pytest.mark.parametrize("fault", [broken, half, reset, says(500), says(200, b"[]"), unchanged])
async def test_an_error_fails_one_scrape(fault, upstash, tools):
    """
    Half an answer, none, a page for people, or an answer in which nothing stands.
    """
    one = collector(upstash)
    upstash.next(fault, fault)
    if fault is unchanged:
        assert (await open_scraper(one, tools).collect()).samples == []
    else:
        with pytest.raises(CollectError, match="upstash: GET database"):
            await open_scraper(one, tools).collect()
    upstash.clear_faults()
    assert (await open_scraper(one, tools).collect()).samples


async def test_retry_after_is_obeyed(upstash, tools):
    """
    No request is sent meanwhile.
    """
    one = collector(upstash)
    upstash.next(busy(300))
    with pytest.raises(CollectError, match="answered 429"):
        await open_scraper(one, tools).collect()
    with pytest.raises(CollectError, match="asked for a pause of 300 s"):
        await open_scraper(one, tools).collect()
    assert len(upstash.requests) == 1
    await tools.clock.sleep(301)
    assert (await open_scraper(one, tools).collect()).samples


async def test_a_key_without_permission_is_an_error_with_the_remedy(upstash, tools):
    """
    Without the key itself.
    """
    with pytest.raises(CollectError, match="use a management API key") as caught:
        await collector(upstash, key="other").collect(tools)
    assert "other" not in str(caught.value)


@given(st.floats(1, 1e9), st.floats(1, 1e9), st.integers(3600, 30 * 86_400 - 1))
def test_the_forecast_is_within_the_month_or_absent(used, limit, seconds):
    """
    What is used up is over; what is forecast lies ahead, and before the month's end.
    """
    begin = datetime(2026, 4, 1, tzinfo=UTC)
    now = begin + timedelta(seconds=seconds)
    end = forecast(used, limit, now)
    if used >= limit:
        assert end == now
    else:
        assert end is None or now <= end < datetime(2026, 5, 1, tzinfo=UTC)


def test_the_end_of_a_months_commands_is_forecast():
    """
    Day by day, at an even pace of 20,000 a day: 500,000 last until the 26th.
    """
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    for hours in range(1, 25 * 24, 7):
        now = begin + timedelta(hours=hours)
        end = forecast(20_000 * hours / 24, 500_000, now)
        assert abs(end - (begin + timedelta(days=25))) < timedelta(seconds=1)
    assert forecast(0, 500_000, begin) is None
    assert forecast(10_000 * 10, 500_000, begin + timedelta(days=10)) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-08-31 15:12:52.799480932 +0000 UTC", datetime(2025, 8, 31, 15, 12, 52, 799480, UTC)),
        ("2025-08-31 15:12:52 +0000 UTC", datetime(2025, 8, 31, 15, 12, 52, 0, UTC)),
        ("2025-08-31 15:12:52.7 +0000 UTC m=+0.1", datetime(2025, 8, 31, 15, 12, 52, 700000, UTC)),
        ("2025-08-31T15:12:52Z", None),
        ("2025-13-31 15:12:52 +0000 UTC", None),
    ],
)
def test_times_are_parsed_as_go_prints_them(text, at):
    """
    With any number of digits.
    """
    assert parse_go_time(text) == at
