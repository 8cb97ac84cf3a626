"""Slack's Socket Mode: connections that are replaced, end and lie; clicks are written before they are acknowledged."""

import asyncio
from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from tests.fake_slack_socket import FakeSlackSocket
from tests.fakes import FakeClock
from toban.answers import repository, slack_socket
from toban.answers.service import AnswerService
from toban.answers.slack_socket import SlackSocket
from toban.core.metric_registry import MetricRegistry
from toban.notify.channel import ChannelTools
from toban.notify.channels.slack import Slack
from toban.state.backends import SqliteBackend
from toban.state.database import State


class Life:
    """A socket that runs, and what it has written down."""

    def __init__(self, server: FakeSlackSocket, folder, http: httpx2.AsyncClient, token: str = "") -> None:
        clock, meters = FakeClock(), MetricRegistry()
        self.state = State(SqliteBackend(folder / "toban.db"), clock, meters)
        self.meters = meters
        settings = {"token": "xoxb-1", "app_token": token or server.app_token, "api": server.api}
        channel = Slack.model_validate({"name": "ops", **settings})
        service = AnswerService({}, self.state, clock, meters)
        self.socket = SlackSocket(channel, lambda: ChannelTools(http, clock), service, http, clock, meters)

    async def written(self) -> list[str]:
        """Return the actions that were written down."""
        rows = await self.state.transaction(lambda connection: connection.execute(select(repository.RECEIVED)).all())
        return [it.body["actions"][0]["action_id"] for it in rows]

    async def until_unhealthy(self) -> str:
        """Wait until the socket is unhealthy; return why."""
        async with asyncio.timeout(30):
            while (found := self.socket.health()).ok:  # noqa: ASYNC110  # a health status has no event
                await asyncio.sleep(0.01)
        return found.message


@pytest.fixture
async def server():
    async with FakeSlackSocket() as server:
        yield server


@pytest.fixture
async def lives(server, tmp_path, monkeypatch):
    monkeypatch.setattr(slack_socket, "retry_delay", lambda *_: timedelta())
    running = []
    async with httpx2.AsyncClient(timeout=10) as http:

        def begin(timeout=10, **how):
            http.timeout = timeout
            life = Life(server, tmp_path, http, **how)
            running.append(asyncio.create_task(life.socket.run()))
            return life

        yield begin
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def click(number: int, padding: int = 0):
    """Return the envelope of a click."""
    action = {"type": "button", "action_id": f"toban.{number}", "value": "i1.v0", "action_ts": f"{number}.1"}
    payload = {"type": "block_actions", "user": {"id": "U1"}, "actions": [action], "message": {"text": "x" * padding}}
    return {"envelope_id": f"e{number}", "type": "interactive", "accepts_response_payload": False, "payload": payload}


async def test_a_click_is_acknowledged_once_it_is_written_down(server, lives):
    life = lives()
    connection = await server.connected()
    await connection.deliver(click(1))
    assert await life.written() == ["toban.1"]
    await connection.deliver({**click(1), "envelope_id": "again"})
    assert await life.written() == ["toban.1"]
    await connection.deliver(click(2, padding=300_000))
    assert await life.written() == ["toban.1", "toban.2"]
    assert life.socket.health().ok


async def test_what_is_no_answer_is_acknowledged_and_not_kept(server, lives):
    life = lives()
    connection = await server.connected()
    await connection.deliver({"envelope_id": "e", "type": "events_api", "payload": {"type": "event_callback"}})
    assert await life.written() == []


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_new_connection_is_opened_before_the_old_one_ends_and_both_are_read(server, lives, reason):
    life = lives()
    old = await server.connected()
    await old.disconnect(reason)
    new = await server.connected()
    assert len(server.open_now) == 2
    await old.deliver(click(1))
    await new.deliver(click(2))
    await old.close()
    await new.deliver(click(3))
    assert await life.written() == ["toban.1", "toban.2", "toban.3"]


async def test_where_there_are_too_many_connections_the_old_one_is_closed_first(server, lives):
    lives()
    old = await server.connected()
    await old.disconnect("too_many_websockets")
    new = await server.connected()
    async with asyncio.timeout(10):
        await old.ended.wait()
    await new.deliver(click(1))


async def test_a_connection_that_ends_is_opened_again(server, lives):
    life = lives()
    for number in range(3):
        connection = await server.connected()
        await connection.deliver(click(number))
        await connection.close(1011)
    await (await server.connected()).deliver(click(3))
    assert len(await life.written()) == 4


async def test_after_errors_of_slack_it_connects_when_that_works_again(server, lives):
    server.responses = [
        JSONResponse({"ok": False, "error": "ratelimited"}, 429, {"retry-after": "1"}),
        JSONResponse({"ok": False, "error": "internal_error"}),
        Response("<html>Oops</html>", 500),
        Response('{"ok": tr', media_type="application/json"),
        JSONResponse({"ok": True, "url": server.api.replace("http", "ws").replace("api", "link/?ticket=used")}),
        JSONResponse({"ok": True, "url": "wss://nowhere.invalid/link"}),
        JSONResponse({"ok": True, "url": ""}),
    ]
    lives()
    await (await server.connected()).deliver(click(1))
    assert server.opens == 8


async def test_where_slack_does_not_answer_people_are_told_until_it_does(server, lives):
    server.is_silent = True
    life = lives(timeout=httpx2.Timeout(10, read=0.2))
    assert "can't answer from Slack" in await life.until_unhealthy()
    server.is_silent = False
    await (await server.connected()).deliver(click(1))
    assert life.socket.health().ok


async def test_a_connection_without_a_hello_is_none(server, lives, monkeypatch):
    monkeypatch.setattr(slack_socket, "HELLO_TIMEOUT", 0.1)
    server.hello = None
    life = lives()
    assert "can't answer from Slack" in await life.until_unhealthy()
    server.hello = {"type": "hello"}
    await (await server.connected()).deliver(click(1))
    assert life.socket.health().ok


async def test_a_token_that_is_not_valid_is_not_tried_again(server, lives):
    life = lives(token="xoxb-wrong")
    assert "not_allowed_token_type" in await life.until_unhealthy()
    assert server.opens == 1


async def test_where_socket_mode_is_switched_off_people_are_told(server, lives):
    life = lives()
    await (await server.connected()).disconnect("link_disabled")
    assert "switch it on" in await life.until_unhealthy()
    assert server.opens == 1


async def test_dead_connections_that_slack_counts_are_reported(server, lives):
    server.num_connections = 10
    life = lives()
    assert "counts 10 connections" in await life.until_unhealthy()
    assert life.meters.value(slack_socket.CONNECTED, channel="ops") == 10


async def test_a_server_that_answers_no_ping_is_left(server, lives, monkeypatch):
    monkeypatch.setattr(slack_socket, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(slack_socket, "PONG_TIMEOUT", 0.05)
    monkeypatch.setattr("wsproto.events.Ping.response", lambda _: None)
    lives()
    await server.connected()
    await server.connected()
