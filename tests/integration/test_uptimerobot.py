"""UptimeRobot: its API by a strict fake, its webhook with the whole program."""

import json
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from tests.fake_http import broken, busy, half, reset, says, unchanged
from tests.fake_uptimerobot import FakeUptimeRobot
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, open_scraper
from tests.program import eventually, toban
from toban.collect.collectors.uptimerobot import UP, Uptimerobot
from toban.core.errors import CollectError
from toban.shop.settings import ShopSettings

HEALTH, FRONT = "https://toban.example/health", "https://shop.example/"


@pytest.fixture
async def robot():
    async with FakeUptimeRobot() as robot:
        yield robot


@pytest.fixture
async def tools():
    async with collector_tools() as tools:
        settings = ShopSettings.model_validate({"storefront": FRONT, "check": {"storefront": "Buy"}})
        yield replace(tools, clock=FakeClock(), shop=replace(tools.shop, settings=settings))


def collector(robot, **fields):
    given = {"key": robot.key, "api": f"{robot.url}/v3", "health": HEALTH, **fields}
    return Uptimerobot.model_validate({"kind": "uptimerobot", "name": "uptimerobot", **given})


async def test_missing_monitors_are_created(robot, tools):
    """
    Page by page, with their own names; what is there stays as it is.
    """
    robot.add("Tom & Jerry's", FRONT.rstrip("/"), sslExpiryDateTime="2026-12-31T00:00:00Z", currentStateDuration=60)
    robot.add("Blog", "https://blog.example/?secret=1", "DOWN", lastDayUptimes={"histogram": [{"uptime": 50}]})
    robot.add("Old", "https://old.example/", "PAUSED")
    one = collector(robot)
    tried = await open_scraper(one, tools).check()
    assert tried.notes == [f"`toban up` creates a monitor at UptimeRobot for {HEALTH}"]
    assert len(robot.monitors) == 3

    assert not (await open_scraper(one, tools).collect()).error
    found = await open_scraper(one, tools).collect()
    assert robot.monitors[3]["type"] == "KEYWORD"
    ups = {sample.labels["monitor"]: sample.value for sample in found.samples if sample.family == UP}
    assert ups == {"Tom & Jerry's": 1, "Blog": 0}
    assert {sample.labels["url"] for sample in found.samples} >= {"https://blog.example/"}
    assert len(robot.monitors) == 4


async def test_a_read_only_key_creates_no_monitors(robot, tools):
    """
    It is tried once an hour; numbers come all the same.
    """
    robot.add("Blog", "https://blog.example/")
    one = collector(robot, key=robot.reading)
    found = await open_scraper(one, tools).collect()
    assert "toban: health: can't be created" in found.error
    assert "use a main API key" in found.error
    assert found.samples
    assert (await open_scraper(one, tools).collect()).error == found.error
    assert [asked.method for asked in robot.requests].count("POST") == 2


async def test_a_monitor_that_was_not_created_is_reported(robot, tools):
    """
    It is said at the next look, and tried again an hour later.
    """
    one = collector(robot, storefront=False)
    robot.next(says(200, b'{"data": [], "nextLink": null}'), unchanged)
    assert not (await open_scraper(one, tools).collect()).error
    assert not robot.monitors
    assert "toban: health: was created, and is missing" in (await open_scraper(one, tools).collect()).error
    tools.clock.advance(3600)
    assert not (await open_scraper(one, tools).collect()).error
    assert len(robot.monitors) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (broken, "answered 500"),
        (half, "GET "),
        (reset, "GET "),
        (says(200, b"[]"), "has no list of monitors"),
        (says(200, b"<html>"), "is not JSON"),
        (says(200, b'{"data": [], "nextLink": "https://evil.example/x"}'), "not requested"),
        (says(401), "use a main API key"),
    ],
)
async def test_errors_of_the_api_show_no_key(robot, tools, fault, words):
    """
    Whatever it answers.
    """
    robot.next(fault)
    with pytest.raises(CollectError, match=words) as raised:
        await collector(robot).collect(tools)
    assert robot.key not in str(raised.value)


async def test_retry_after_of_uptimerobot_is_obeyed(robot, tools):
    """
    429 with Retry-After: no request until then.
    """
    one = collector(robot)
    robot.next(busy(90))
    with pytest.raises(CollectError, match="answered 429"):
        await open_scraper(one, tools).collect()
    asked = len(robot.requests)
    with pytest.raises(CollectError, match="a pause of 90 s more"):
        await open_scraper(one, tools).collect()
    assert len(robot.requests) == asked
    tools.clock.advance(91)
    assert not (await open_scraper(one, tools).collect()).error


def test_its_webhook_fires_and_resolves_an_alert_in_each_format(tmp_path):
    """
    JSON by the template, JSON that a name broke, a form, a query; what says nothing is refused with the way out. By
    GET nothing is taken: a picture on any page would do.
    """
    forms = {
        "application/json": lambda said: json.dumps(said),
        "application/json; charset=utf-8": lambda said: json.dumps({**said, "monitorFriendlyName": "@"}).replace(
            "@", 'the "shop"'
        ),
        "application/x-www-form-urlencoded": urlencode,
    }
    with toban(tmp_path / "data") as program:

        def firing():
            return {it["labels"]["monitor_id"] for it in program.json("/api/v1/alerts")["data"]["alerts"]}

        for number, (kind, form) in enumerate(forms.items()):
            said = {"monitorID": str(number), "monitorURL": FRONT, "monitorFriendlyName": "Shop", "alertType": "1"}
            assert program.post("/hooks/uptimerobot", form(said).encode(), kind) == (200, "")
            eventually(firing, lambda found, number=number: str(number) in found)
            assert program.post("/hooks/uptimerobot", form({**said, "alertType": "2"}).encode(), kind) == (200, "")
            eventually(firing, lambda found, number=number: str(number) not in found)
        query = urlencode({"monitorID": "9", "alertType": "3", "monitorFriendlyName": "Shop"})
        assert program.get(f"/hooks/uptimerobot?{query}")[0] == 405
        assert program.post(f"/hooks/uptimerobot?{query}", b"", "")[0] == 200
        eventually(firing, lambda found: found == {"9"})
        for wrong in (b"", b"{", b'{"monitorID": "1"}', b"monitorID=1&alertType=7", b"\xff\xfe"):
            code, text = program.post("/hooks/uptimerobot", wrong)
            assert (code, "docs/send-alerts.md" in text) == (400, True)
        code, text = program.post("/hooks/uptimerobot", b"monitorID=1&alertType=1&monitorFriendlyName=" + b"x" * 6_000)
        assert (code, "at most 5000 are accepted" in text) == (400, True)
        assert program.post("/hooks/uptimerobot", b"x", "text/plain")[0] == 415
        assert program.post("/hooks/uptimerobot", b"x" * 200_000)[0] == 413
