"""Searching and following log lines, in toban's own API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import httpx2
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from tests import fake_http
from tests.fake_line_store import FakeLineStore
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, START, line
from tests.unit.logs.test_tiered_log_engine import BORDER, Tiers, tiers
from toban.access.permissions import EVERYTHING
from toban.access.principal import Principal
from toban.core.actor import Actor
from toban.core.log_line import LogLevel
from toban.logs.line_feed import LineFeed
from toban.logs.line_store import LinePosition, StoredLine
from toban.logs.logql.engine import LogqlEngine
from toban.logs.tiered_log_engine import TieredLogEngine
from toban.web.api import logs
from toban.web.api.logs import LogsApi
from toban.web.auth import TrustedAccess
from toban.web.log_tail import LogTail

LINES = [
    line(1, "Payment failed", LogLevel.ERROR, "worker", context="Payments", facts={"order": "A"}, trace="at x"),
    line(2, "payment done", trace_id="ab" * 16),
    line(3, "shutdown", LogLevel.DEBUG),
]
NOW = START + timedelta(minutes=1)


@pytest.fixture
def store() -> FakeLineStore:
    return FakeLineStore(LINES, slice_lines=2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def client(store: FakeLineStore, clock: FakeClock) -> AsyncIterator[httpx2.AsyncClient]:
    async with LogqlEngine(store) as engine:
        app = Starlette(routes=LogsApi(TieredLogEngine(engine), clock).routes())
        transport = httpx2.ASGITransport(TrustedAccess(app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def messages(client: httpx2.AsyncClient, **parameters: str) -> list[str]:
    response = await client.get("/api/logs", params=parameters)
    assert response.status_code == 200, response.text
    return [it["message"] for it in response.json()["lines"]]


async def test_lines_are_returned_newest_first_with_all_they_say(client):
    found = (await client.get("/api/logs")).json()
    assert [it["message"] for it in found["lines"]] == ["shutdown", "payment done", "Payment failed"]
    assert found["lines"][2] == {
        "timestamp": "2026-01-01T00:00:01Z",
        "level": "error",
        "message": "Payment failed",
        "context": "Payments",
        "service": "worker",
        "environment": "",
        "instance": "",
        "category": "",
        "trace": "at x",
        "trace_id": "",
        "facts": {"order": "A"},
        "position": f"{AT + 1000}-1",
    }
    assert (found["cursor"], found["reached"]) == ("", None)


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"query": "payment -failed"}, ["payment done"]),
        ({"query": '{service="worker"} |= "Payment"'}, ["Payment failed"]),
        ({"query": '{service="worker"} | line_format "{{.order}}"'}, ["A"]),
        ({"level": "error"}, ["Payment failed"]),
        ({"level": "info"}, ["payment done", "Payment failed"]),
        ({"service": "api", "text": "PAYMENT"}, ["payment done"]),
        ({"context": "Payments"}, ["Payment failed"]),
        ({"since": "58s"}, ["shutdown", "payment done"]),
        ({"since": "2026-01-01T00:00:01Z", "until": "2026-01-01T00:00:02Z"}, ["Payment failed"]),
        ({"limit": "1"}, ["shutdown"]),
    ],
)
async def test_lines_are_selected(client, parameters, found):
    assert await messages(client, **parameters) == found


async def test_pages_follow_each_other(client, store):
    store.append([line(2, f"same {number}") for number in range(5)], {})
    pages, cursor = [], ""
    while True:
        page = (await client.get("/api/logs", params={"limit": "3", "cursor": cursor})).json()
        pages.append([it["message"] for it in page["lines"]])
        cursor = page["cursor"]
        if not cursor:
            break
    assert pages[:3] == [
        ["shutdown", "same 4", "same 3"],
        ["same 2", "same 1", "same 0"],
        ["payment done", "Payment failed"],
    ]


async def test_a_slow_search_responds_with_how_far_back_it_has_looked(client, monkeypatch):
    monkeypatch.setattr(logs, "SECONDS", -1.0)
    found, reached, cursor = [], [], ""
    while True:
        page = (await client.get("/api/logs", params={"query": "@order:A", "cursor": cursor})).json()
        found += [it["message"] for it in page["lines"]]
        cursor = page["cursor"]
        if not cursor:
            break
        reached.append(page["reached"][:19])
    assert found == ["Payment failed"]
    assert reached == ["2026-01-01T00:00:02", "2026-01-01T00:00:01"]


async def test_lines_around_a_line_are_of_every_stream(client):
    position = f"{AT + 2000}-2"
    assert await messages(client, around=position, limit="1") == ["shutdown", "payment done", "Payment failed"]
    assert await messages(client, around=position, limit="1", query="x", level="error") == [
        "shutdown", "payment done", "Payment failed",
    ]  # fmt: skip  # as above


@pytest.mark.parametrize(
    "parameters",
    [
        {"query": '{a="b"'},
        {"since": "yesterday"},
        {"cursor": "x"},
        {"around": "1"},
        {"level": "loud"},
        {"limit": "0"},
        {"nothing": "x"},
    ],
)
async def test_invalid_parameters_are_rejected(client, parameters):
    response = await client.get("/api/logs", params=parameters)
    assert response.status_code in {400, 422}
    assert response.json()["detail"]


async def test_a_store_in_trouble_is_reported(client, store):
    store.error = "logs: disk I/O error"
    assert (await client.get("/api/logs")).status_code == 503


def tail_request(query: str, principal: Callable[[], Principal]) -> Request:
    state = {"principal": principal(), "authenticate": principal}
    scope = {"type": "http", "method": "GET", "path": "/logs/tail", "query_string": query.encode(), "headers": []}
    return Request({**scope, "state": state})


def everybody() -> Principal:
    return Principal(Actor("ann", "token"), EVERYTHING)


async def test_new_lines_are_streamed_until_permission_ends(clock, monkeypatch):
    feed = LineFeed()
    tail = LogTail(feed, clock)
    granted = [EVERYTHING]
    request = tail_request("query=payment&level=info", lambda: Principal(Actor("ann", "token"), granted[0]))
    response = await tail.tail(request)
    assert response.media_type == "text/event-stream"
    events = response.body_iterator
    async with asyncio.timeout(5):
        assert await anext(events) == b"retry: 2000\n\n"
        feed.publish([StoredLine(LinePosition(number, number), it) for number, it in enumerate(LINES, 1)])
        data = await anext(events)
        assert [orjson.loads(it)["message"] for it in data.decode().replace("data: ", "").split("\n\n") if it] == [
            "Payment failed", "payment done",
        ]  # fmt: skip  # as it is read
        granted[0] = frozenset()
        monkeypatch.setattr("toban.logs.line_feed.INTERVAL", 0.0)
        assert [it async for it in events] == []
    assert not feed.is_full


async def test_streams_end_when_others_take_their_place(clock, monkeypatch):
    monkeypatch.setattr("toban.logs.line_feed.INTERVAL", 0.0)
    tail = LogTail(LineFeed(), clock)
    events = (await tail.tail(tail_request("", everybody))).body_iterator
    await anext(events)
    tail.end()
    assert [it async for it in events] == []


@pytest.mark.parametrize("query", ["query={", "level=loud"])
async def test_an_invalid_search_is_not_followed(clock, query):
    assert (await LogTail(LineFeed(), clock).tail(tail_request(query, everybody))).status_code == 400


@pytest.fixture
async def tiered() -> AsyncIterator[tuple[httpx2.AsyncClient, Tiers]]:
    async with tiers() as found:
        app = Starlette(routes=LogsApi(found.engine, FakeClock(NOW)).routes())
        transport = httpx2.ASGITransport(TrustedAccess(app))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client, found


async def test_pages_go_on_in_the_outside_engine(tiered):
    """
    With the lines around one on both sides of the border.
    """
    client, _ = tiered
    pages, cursor = [], ""
    while True:
        page = (await client.get("/api/logs", params={"limit": "4", "cursor": cursor})).json()
        pages.append(([it["message"][-1] for it in page["lines"]], page["outside_before"] is not None, page["missing"]))
        cursor = page["cursor"]
        if not cursor:
            break
    assert pages[:3] == [(["9", "8", "7", "6"], False, []), (["5", "4", "3", "2"], True, []), (["1", "0"], True, [])]
    position = page["lines"][-1]["position"] if page["lines"] else ""
    assert position
    around = (await client.get("/api/logs", params={"around": f"{BORDER}-5", "limit": "2"})).json()
    assert [it["message"][-1] for it in around["lines"]] == ["6", "5", "4", "3", "2"]
    around = (await client.get("/api/logs", params={"around": position, "limit": "6"})).json()
    assert [it["message"][-1] for it in around["lines"]] == ["6", "5", "4", "3", "2", "1", "0"]


async def test_a_page_says_which_part_could_not_be_searched(tiered):
    client, found = tiered
    found.fake.next(fake_http.busy(7))
    page = (await client.get("/api/logs", params={"since": "2026-01-01T00:00:00Z"})).json()
    assert [it["message"][-1] for it in page["lines"]] == ["9", "8", "7", "6", "5", "4"]
    assert page["missing"] == [
        {
            "start": "2026-01-01T00:00:00Z",
            "end": "2026-01-01T00:00:04Z",
            "reason": f"loki at {found.fake.url} answered 429: slow down",
        }
    ]
    assert page["cursor"] == ""
    counted = (await client.get("/api/logs/histogram", params={"since": "2026-01-01T00:00:00Z"})).json()
    assert sum(sum(bar["lines"].values()) for bar in counted["bars"]) == 6
    assert "from 2026-01-01T00:00:00Z to 2026-01-01T00:00:04Z could not be searched" in counted["warnings"][0]


async def test_levels_of_other_programs_are_counted_as_ours(tiered):
    client, found = tiered
    found.fake.lines = [(AT * 1_000_000 + 1, {"level": level}, "x", {}) for level in ("warning", "warn", "odd")]
    counted = (await client.get("/api/logs/histogram", params={"since": "2026-01-01T00:00:00Z"})).json()
    assert [bar["lines"] for bar in counted["bars"]] == [{"warn": 2, "info": 1}]
