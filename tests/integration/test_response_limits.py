"""Endless responses and redirects to internal addresses."""

import ast
import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

import toban
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, scrape
from tests.needs import need
from tests.notifications import notification
from tests.scripted_server import ScriptedServer, respond_with, scripted_server
from toban.cli import client
from toban.collect.collectors.http.http import MAX_BODY, Http
from toban.collect.collectors.scrape.scrape import Scrape
from toban.collect.collectors.sentry import Sentry
from toban.collect.collectors.uptimerobot import Uptimerobot
from toban.collect.rest_client import RestClient
from toban.core.errors import CollectError, DeliveryError, TobanError
from toban.core.http_client import follow_redirects, is_internal_address
from toban.core.metric_registry import MetricRegistry
from toban.notify.channel import ChannelTools as NotifyTools
from toban.notify.channels.apprise import Apprise
from toban.notify.channels.webhook import Webhook
from toban.notify.heartbeat import HeartbeatService
from toban.notify.settings import Heartbeat
from toban.remote.remote_write import ERROR_BYTES, EmptySampleLog, RemoteWriteService
from toban.remote.settings import RemoteSettings
from toban.shop.graphql import GraphqlError, execute

MIB = 2**20
SECRET = {"authorization": "Bearer hush", "x-key": "hush"}


def endless(status: str = "200 OK", *, head: bool = False):
    """Answer without an end: in the body, or already in the headers."""

    async def respond(request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n".encode() + (b"" if head else b"\r\n"))
        line = b"x-more: " + b"x" * 4_000 + b"\r\n"
        while True:
            writer.write(line * 16)
            await writer.drain()

    return respond


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Hold the block to so many bytes of memory at once."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size, most


def beating(server: ScriptedServer, http: httpx2.AsyncClient) -> HeartbeatService:
    settings = Heartbeat(url=f"http://127.0.0.1:{server.port}/ping", interval=timedelta(minutes=1))
    return HeartbeatService(settings, lambda: "", http, FakeClock(), MetricRegistry())


def writing(server: ScriptedServer, http: httpx2.AsyncClient) -> RemoteWriteService:
    settings = RemoteSettings(write_url=f"http://127.0.0.1:{server.port}/api/v1/write")
    return RemoteWriteService(settings, EmptySampleLog(), http, FakeClock(), MetricRegistry())


@pytest.mark.parametrize("head", [False, True])
async def test_a_heartbeat_reads_only_the_status(head):
    async with scripted_server(endless(head=head)) as server, httpx2.AsyncClient() as http:
        one = beating(server, http)
        with at_most(2 * MIB):
            await one.once()
        assert one.health().ok is not head


@pytest.mark.parametrize(("status", "wanted"), [("200 OK", ""), ("400 Bad Request", "answered 400: x-more:")])
async def test_remote_write_reads_only_the_reported_excerpt(status, wanted):
    async with scripted_server(endless(status)) as server, httpx2.AsyncClient() as http:
        with at_most(2 * MIB):
            error = await writing(server, http).send(b"")
        assert wanted in error
        assert len(error) < ERROR_BYTES + 100


async def test_heartbeat_and_remote_write_follow_no_redirects():
    """
    Neither follows a redirect: what they carry is meant for the address that was given.
    """
    async with (
        scripted_server(respond_with("", "302 Found", location="/elsewhere")) as server,
        httpx2.AsyncClient() as http,
    ):
        one = beating(server, http)
        await one.once()
        assert one.health().message == "heartbeat not sent: answered 302"
        with pytest.raises(DeliveryError, match="answered 302"):
            await writing(server, http).send(b"")
        assert len(server.requests) == 2


async def test_responses_to_collectors_and_channels_are_limited():
    """
    A page's first megabyte, an exporter's page up to its limit, an API's and the Shop API's answer up to theirs.
    """
    async with scripted_server(endless()) as server, collector_tools() as tools:
        url = f"http://127.0.0.1:{server.port}/"
        with at_most(80 * MIB):
            assert (await scrape(Http(url=url), tools)).one("probe_http_uncompressed_body_length") == MAX_BODY
            with pytest.raises(CollectError, match="more than"):
                await scrape(Scrape(url=url), tools)
            with pytest.raises(CollectError, match="more than"):
                await scrape(Uptimerobot(key="hush", api=url), tools)
            with pytest.raises(CollectError, match="more than"):
                await scrape(Sentry(token="hush", organization="acme", api=url), tools)
            with pytest.raises(GraphqlError, match="more than"):
                await execute(tools.http, url, "{ x }")
            with pytest.raises(DeliveryError, match="more than"):
                await Webhook(name="hook", url=url).send(notification(), {}, NotifyTools(tools.http, tools.clock))


@pytest.mark.parametrize("head", [False, True])
async def test_a_response_byte_by_byte_times_out(head):
    """
    Each byte came in time; the answer as a whole did not.
    """

    async def trickling(request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"" if head else b"\r\n"))
        while True:
            writer.write(b"x-a: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with scripted_server(trickling) as server, collector_tools() as tools:
        api = RestClient(tools, "Some", "", timeout=0.3)
        with pytest.raises(CollectError, match="it hangs" if head else "the response did not end in time"):
            await api.fetch("context", "GET", f"http://127.0.0.1:{server.port}/", {})


async def test_responses_to_commands_are_limited(monkeypatch, tmp_path):
    async with scripted_server(endless()) as server:
        monkeypatch.setenv("TOBAN_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setattr(client, "MAX_BYTES", MIB)
        with pytest.raises(TobanError, match="the response has more than 1048576 bytes"):
            await asyncio.to_thread(client.get, "/api/status", None)


WHOLE = {"get", "post", "put", "patch", "delete", "request", "send", "aread", "read", "json", "text", "content"}


def test_all_responses_are_read_with_a_limit():
    """
    Of the shared client only `stream` is used: it reads nothing by itself.
    """
    found = []
    for path in sorted(Path(toban.__file__).parent.rglob("*.py")):
        if path.parent.name == "demo" or path.match("core/http_client.py"):
            continue  # the demo speaks with its own shop
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in WHOLE:
                owner = node.value
                name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                if name in {"http", "_http", "client"}:
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


@pytest.mark.parametrize(
    ("address", "yes"),
    [
        *[(it, True) for it in ("169.254.169.254", "169.254.0.1", "fe80::1", "[fe80::1%eth0]", "fd00:ec2::254")],
        *[(it, True) for it in ("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1")],
        *[(it, True) for it in ("100.100.100.200", "192.0.0.192", "fd20:ce::254")],
        *[
            (it, False)
            for it in ("127.0.0.1", "::1", "10.0.0.1", "fdaa::3", "192.0.2.1", "shop.example", "", "2851995648")
        ],
    ],
)
def test_internal_addresses_are_recognised(address, yes):
    assert is_internal_address(address) is yes


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
async def test_a_redirect_to_a_metadata_service_is_refused(host):
    async with (
        scripted_server(respond_with("", "302 Found", location=f"http://{host}/latest/meta-data/")) as server,
        collector_tools() as tools,
    ):
        url = f"http://127.0.0.1:{server.port}/"
        for collector in (Http(url=url), Scrape(url=url)):
            with pytest.raises(CollectError, match="a link-local or metadata address: that is not allowed"):
                await scrape(collector, tools)


async def test_a_redirect_to_a_name_of_an_internal_address_is_refused(monkeypatch):
    """
    Where a name leads shows when it is connected to: before the request is sent.
    """
    monkeypatch.setattr("toban.core.http_client.is_internal_address", lambda text: text == "127.0.0.1")
    async with scripted_server(respond_with("secret")) as inner:
        onward = respond_with("", "302 Found", location=f"http://localhost:{inner.port}/")
        async with scripted_server(onward) as server, httpx2.AsyncClient() as http:
            with pytest.raises(httpx2.RequestError, match=r"it redirects to localhost at 127\.0\.0\.1"):
                async with follow_redirects(http, "GET", f"http://127.0.0.1:{server.port}/"):
                    pass
        assert inner.requests == []


@pytest.mark.parametrize("kind", [Http, Scrape])
async def test_a_redirect_to_another_host_has_no_credentials(kind):
    async with scripted_server(respond_with("")) as other:
        onward = respond_with("", "302 Found", location=f"http://localhost:{other.port}/")
        async with scripted_server(onward) as server, collector_tools() as tools:
            given = {"empty": True} if kind is Http else {}
            await scrape(kind(url=f"http://127.0.0.1:{server.port}/", headers=SECRET, **given), tools)
        assert "hush" in server.requests[0]
        assert "hush" not in other.requests[0]


async def test_apprise_follows_no_redirect_to_another_host():
    need("apprise", find_spec("apprise") and "apprise")
    async with scripted_server(respond_with("")) as other:
        onward = respond_with("", "307 Temporary Redirect", location=f"http://localhost:{other.port}/")
        async with scripted_server(onward) as server, collector_tools() as tools:
            channel = Apprise(name="more", url=f"json://127.0.0.1:{server.port}/?+x-key=hush")
            with pytest.raises(DeliveryError, match="not delivered"):
                await channel.send(notification(), {}, NotifyTools(tools.http, tools.clock))
        assert (len(server.requests), other.requests) == (1, [])
