"""The collector of Sentry's issues, by a strict fake of its API."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fake_http import broken, busy, half, reset, says
from tests.fake_sentry_api import FakeSentryApi
from tests.fakes import FakeClock
from tests.integration.scraping import ScrapedSamples, collector_tools, open_scraper
from toban.collect.collectors import sentry as sentry_collector
from toban.collect.collectors.sentry import Sentry, next_page
from toban.core.errors import CollectError


@pytest.fixture
async def sentry():
    async with FakeSentryApi() as sentry:
        yield sentry


@pytest.fixture
async def tools():
    async with collector_tools() as tools:
        yield replace(tools, clock=FakeClock())


def collector(sentry, **fields):
    given = {"token": sentry.token, "api": f"{sentry.url}/api/0", "organization": "acme", **fields}
    return Sentry.model_validate({"kind": "sentry", "name": "sentry", **given})


def values(result, name):
    found = ScrapedSamples(result)[name]
    return {(dict(labels)["project"], dict(labels)["level"]): value for labels, value in found.items() if value}


def complete(result):
    return ScrapedSamples(result)["sentry_issues_complete"][()]


async def test_issues_are_counted_by_project_and_level_over_all_pages(sentry, tools):
    now = tools.clock.now()
    for project, level, hours in (
        ("shop", "error", 1),
        ("shop", "error", 30),
        ("shop", "fatal", 23),
        ("worker", "warning", 500),
        ("worker", "sample", 1),
    ):
        sentry.add(project, level, now - timedelta(hours=hours))
    found = await open_scraper(collector(sentry), tools).collect()
    assert values(found, "sentry_unresolved_issues") == {
        ("shop", "error"): 2,
        ("shop", "fatal"): 1,
        ("worker", "warning"): 1,
        ("worker", "other"): 1,
    }
    assert values(found, "sentry_new_issues") == {("shop", "error"): 1, ("shop", "fatal"): 1, ("worker", "other"): 1}
    assert (len(sentry.requests), complete(found)) == (3, 1)


async def test_named_projects_alone_are_read_and_have_zeros(sentry, tools):
    for project in ("shop", "other", "shop", "shop"):
        sentry.add(project, "error", tools.clock.now())
    found = await open_scraper(collector(sentry, projects=["shop", "worker"]), tools).collect()
    assert values(found, "sentry_unresolved_issues") == {("shop", "error"): 3}
    zeros = ScrapedSamples(found)["sentry_unresolved_issues"]
    assert zeros[("level", "fatal"), ("project", "worker")] == 0


async def test_pages_are_limited_and_the_newest_issues_are_counted(sentry, tools, monkeypatch):
    monkeypatch.setattr(sentry_collector, "MAX_PAGES", 2)
    now = tools.clock.now()
    for hours in (100, 90, 80, 3, 2, 1):
        sentry.add("shop", "error", now - timedelta(hours=hours))
    found = await open_scraper(collector(sentry), tools).collect()
    assert values(found, "sentry_new_issues") == {("shop", "error"): 3}
    assert values(found, "sentry_unresolved_issues") == {("shop", "error"): 4}
    assert (len(sentry.requests), complete(found)) == (2, 0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (broken, "answered 500"),
        (half, "GET "),
        (reset, "GET "),
        (says(200, b"{}"), "is no list of issues"),
        (says(200, b"<html>"), "is not JSON"),
        (says(200, b"[]", link='<https://evil.example/x>; rel="next"; results="true"'), "not requested"),
    ],
)
async def test_errors_of_the_api_show_no_token(sentry, tools, fault, words):
    sentry.next(fault)
    with pytest.raises(CollectError, match=words) as raised:
        await collector(sentry).collect(tools)
    assert sentry.token not in str(raised.value)


@pytest.mark.parametrize(("token", "status"), [("sntrys_wrong", 401), (FakeSentryApi.without_scope, 403)])
async def test_a_token_without_permission_says_which_scopes_it_needs(sentry, tools, token, status):
    with pytest.raises(CollectError, match=f"answered {status}.*event:read and org:read") as raised:
        await collector(sentry, token=token).collect(tools)
    assert token not in str(raised.value)


async def test_retry_after_of_sentry_is_obeyed(sentry, tools):
    scraper = open_scraper(collector(sentry), tools)
    sentry.next(busy(90))
    with pytest.raises(CollectError, match="answered 429"):
        await scraper.collect()
    with pytest.raises(CollectError, match="a pause of 90 s more"):
        await scraper.collect()
    assert len(sentry.requests) == 1
    tools.clock.advance(91)
    assert complete(await scraper.collect()) == 1


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("", ""),
        ('<https://x/1>; rel="previous"; results="true"; cursor="0:0:1"', ""),
        ('<https://x/1>; rel="next"; results="false"; cursor="0:100:0"', ""),
        ('<https://x/0>; rel="previous"; results="false", <https://x/2>; rel="next"; results="true"', "https://x/2"),
        ("<" * 100_000, ""),
        ('<x>; a="' * 10_000, ""),
    ],
)
def test_the_next_page_is_the_one_with_results(link, url):
    assert next_page(link) == url
