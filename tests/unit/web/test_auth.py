"""Permissions of endpoints, and limits of bodies."""

import asyncio
import os
import pwd
import socket

import pytest
from starlette.requests import HTTPConnection
from starlette.routing import Route

from toban.access.permissions import Permission
from toban.core.metric_registry import MetricRegistry
from toban.web.application import _application
from toban.web.auth import NetworkAccess, TrustedAccess, parse_authority
from toban.web.endpoint import Endpoint, actor
from toban.web.http_protocol import peer_user
from toban.web.request_bodies import BodyBuffer, BodyError, RequestBody
from toban.web.settings import WebSettings


async def respond(request):
    raise AssertionError


def test_an_endpoint_without_permission_is_an_error_at_the_start():
    """
    Nobody is let in by oversight.
    """
    with pytest.raises(TypeError, match="declares no permission"):
        _application([Route("/x", respond)])
    with pytest.raises(TypeError):
        Endpoint("/x", respond)
    with pytest.raises(TypeError, match="which types it accepts"):
        Endpoint("/x", respond, Permission.ACT, methods=["POST"])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("toban.example", ("toban.example", 0)),
        ("Toban.Example:80", ("toban.example", 80)),
        ("[::1]:9119", ("::1", 9119)),
        ("", ("", 0)),
        ("a@b", ("", 0)),
        ("a/b", ("", 0)),
        ("a:x", ("", 0)),
        ("[::1", ("", 0)),
        ("a\n", ("", 0)),
        ("a?b", ("", 0)),
    ],
)
def test_a_host_header_is_parsed_as_browsers_write_it(written, read):
    """
    What else stands there is no name.
    """
    assert parse_authority(written) == read


@pytest.mark.parametrize(
    ("listen", "server", "host", "fits"),
    [
        ("0.0.0.0:1", "192.0.2.7", "192.0.2.7:9119", True),
        ("0.0.0.0:1", "192.0.2.7", "192.0.2.8:9119", False),
        ("[::]:1", "fdaa::3", "[fdaa::3]:9119", True),
        ("[::]:1", "::ffff:192.0.2.7", "192.0.2.7", True),
        ("toban.lan:1", "192.0.2.7", "toban.lan", True),
        ("0.0.0.0:1", "192.0.2.7", "toban.lan", False),
        ("0.0.0.0:1", None, "192.0.2.7", False),
    ],
)
def test_an_address_is_toban_s_where_the_connection_went_to_it(listen, server, host, fits):
    """
    Whatever addresses this machine has, and gets.
    """
    access = NetworkAccess(respond, WebSettings(listen=listen, token="hush"), None)
    assert access._is_own_host(host, {"server": server and (server, 9119)}) is fits


class Sender:
    """Sends pieces, and then nothing any more."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.is_silent = asyncio.Event()

    async def __call__(self):
        if not self._pieces:
            self.is_silent.set()
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}


async def test_a_body_that_does_not_arrive_is_rejected_with_408(monkeypatch):
    """
    With 408, and its room is free.
    """
    monkeypatch.setattr("toban.web.request_bodies.SECONDS", 0.0)
    room = BodyBuffer(100)
    with room.body(Sender(b"x" * 10), {"headers": []}, 100) as body:
        with pytest.raises(BodyError) as refused:
            while True:
                await body()
        assert refused.value.status == 408
    assert room.held == 0


async def test_a_stalled_body_releases_its_buffer():
    """
    The one that toban has waited for the longest; those that are worked on keep theirs.
    """
    room, scope, sender = BodyBuffer(100), {"headers": []}, Sender(b"x" * 60)
    with room.body(sender, scope, 100) as stalled, room.body(Sender(), scope, 100) as worked_on:
        worked_on.take(30)
        await stalled()
        stalled._spent = 5.0
        waiting = asyncio.create_task(stalled())
        await sender.is_silent.wait()
        with room.body(Sender(), scope, 100) as new:
            new.take(70)
            with pytest.raises(BodyError) as refused:
                await waiting
            assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "2")
            with pytest.raises(BodyError, match="busy"):
                new.take(1)
        assert worked_on.held == 30


def test_an_invalid_content_length_is_rejected():
    """
    A number that is none, or larger than any memory, is no trouble.
    """
    for length, is_too_long in (("", False), ("x", False), ("10", False), ("11", True), ("9" * 5_000, True)):
        assert RequestBody(BodyBuffer(), respond, 10, length)._is_too_long is is_too_long


async def _actor_of(access, headers=(), **state):
    found = []

    async def app(scope, receive, send):
        found.append(actor(HTTPConnection(scope)))

    access.app = app
    scope = {"type": "http", "method": "GET", "http_version": "1.1", "scheme": "http", "server": None, "state": state}
    await access({**scope, "headers": [(b"host", b"localhost"), *headers]}, None, None)
    return str(found[0])


async def test_the_actor_is_the_authenticated_principal():
    """
    Not who a request says that it is.
    """
    shown = [(b"authorization", b"Bearer hush")]
    guarded = NetworkAccess(respond, WebSettings(token="hush"), MetricRegistry())
    assert await _actor_of(guarded, shown) == "web.token (token)"
    assert await _actor_of(guarded) == "anonymous (loopback)"
    assert await _actor_of(NetworkAccess(respond, WebSettings(), MetricRegistry()), shown) == "anonymous (loopback)"
    assert await _actor_of(TrustedAccess(respond), peer_user="ann") == "ann (local socket)"
    assert await _actor_of(NetworkAccess(respond, WebSettings(), MetricRegistry()), peer_user="ann") == (
        "anonymous (loopback)"
    )


def test_the_actor_of_a_unix_socket_is_its_peer():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket(socket.AF_INET) as network:
        assert peer_user(ours) == pwd.getpwuid(os.getuid()).pw_name
        assert peer_user(network) == ""
        assert peer_user(None) == ""
