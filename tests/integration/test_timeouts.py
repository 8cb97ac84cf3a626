"""Reasons of missing responses: refused, no connection, or accepted without a response."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.integration.scraping import ScrapedSamples, collector_tools, scrape
from tests.scripted_server import full_port, silent_port
from toban.collect.collector import Collector
from toban.collect.collectors.http.http import Http
from toban.collect.collectors.postgres import Postgres
from toban.collect.collectors.redis.redis import Redis
from toban.collect.collectors.scrape.scrape import Scrape
from toban.collect.collectors.shop_api import ShopApi
from toban.collect.collectors.sql import Sql
from toban.collect.collectors.tls import Tls
from toban.core.errors import CollectError
from toban.shop import database, redis

NO_RESPONSE = "accepts connections but does not answer: it hangs"
NO_HANDSHAKE = "accepts connections but does not answer the TLS handshake"


@asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    yield servers.free_port()


HTTP: dict[str, Callable[[int], Collector]] = {
    "http": lambda port: Http(url=f"http://127.0.0.1:{port}/", timeout="300ms"),
    "scrape": lambda port: Scrape(url=f"http://127.0.0.1:{port}/metrics", scrape_timeout="300ms"),
    "shop_api": lambda port: ShopApi(url=f"http://127.0.0.1:{port}/shop-api", timeout="300ms"),
}
TLS: dict[str, Callable[[int], Collector]] = {
    "tls": lambda port: Tls(url=f"https://127.0.0.1:{port}/", timeout="1s"),
    "https": lambda port: Http(url=f"https://127.0.0.1:{port}/", timeout="1s"),
    "scrape": lambda port: Scrape(url=f"https://127.0.0.1:{port}/metrics", scrape_timeout="1s"),
    "shop_api": lambda port: ShopApi(url=f"https://127.0.0.1:{port}/shop-api", timeout="1s"),
}
STATES = [(refusing, "connection refused"), (full_port, "no connection in time"), (silent_port, NO_RESPONSE)]


async def trouble(collector: Collector, **shop: str) -> str:
    """Return why a look failed."""
    async with collector_tools(**shop) as tools:
        try:
            return (await scrape(collector, tools)).error
        except CollectError as error:
            return str(error)


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize(("server", "words"), STATES, ids=["refused", "full", "hangs"])
async def test_a_timeout_names_the_stage_of_the_request(kind, server, words):
    """
    The limit over the whole answer does not swallow it.
    """
    async with server() as port:
        assert (await trouble(HTTP[kind](port))).endswith(words)


@pytest.mark.parametrize("kind", TLS)
@pytest.mark.parametrize(
    ("server", "words"), [*STATES[:2], (silent_port, NO_HANDSHAKE)], ids=["refused", "full", "handshake"]
)
async def test_a_tls_timeout_names_the_handshake(kind, server, words):
    """
    A port that is open says nothing of what stands behind it.
    """
    async with server() as port:
        assert (await trouble(TLS[kind](port))).endswith(words)


@asynccontextmanager
async def ending(greeting: bytes = b"") -> AsyncIterator[int]:
    """A server that reads a little, says something, and ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


ALERT = b"\x15\x03\x03\x00\x02\x02"
TLS_SAID = {
    b"": r"in the TLS handshake: the server closed the connection|TLS: the server closed the connection too early",
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "TLS: wrong version number: the server does not speak TLS",
    ALERT + bytes([40]): "TLS: the server refuses the handshake",
    ALERT + bytes([112]): "TLS: the server knows no host of that name",
}


@pytest.mark.parametrize("kind", TLS)
@pytest.mark.parametrize("greeting", TLS_SAID, ids=["ends", "http", "refuses", "name"])
async def test_tls_errors_have_readable_reasons(kind, greeting):
    """
    Not with a class of Python's, nor with OpenSSL's abbreviations.
    """
    async with ending(greeting) as port:
        assert re.search(TLS_SAID[greeting], await trouble(TLS[kind](port)))


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience: a server has two seconds."""
    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 2)
    monkeypatch.setitem(database.PARAMETERS, "connect_timeout", "2")
    monkeypatch.setattr(redis, "TIMEOUT", 0.5)  # less than the second after which a SYN is sent again


@pytest.mark.parametrize("kind", ["postgres", "redis"])
@pytest.mark.parametrize(("server", "words"), STATES, ids=["refused", "full", "hangs"])
async def test_a_session_timeout_names_its_stage(kind, server, words, prompt):
    """
    Of the shop's database and Redis.
    """
    async with server() as port:
        if kind == "postgres":
            found = await trouble(Postgres(), database=f"postgresql://u@127.0.0.1:{port}/shop")
        else:
            found = await trouble(Redis(), redis=f"redis://:pw@127.0.0.1:{port}/1")
        assert words in found.lower() if words == "connection refused" else found.endswith(words)


def processes(server: servers.Server) -> list[int]:
    """Return a server's processes, its children first."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [*map(int, children), server.process.pid]


def send(server: servers.Server, what: signal.Signals) -> None:
    for process in processes(server):
        os.kill(process, what)


ONE = {"name": "one", "help": "One.", "query": "SELECT 1 AS value"}


@pytest.mark.parametrize("kind", [Postgres, lambda: Sql(metrics=[ONE])], ids=["postgres", "sql"])
async def test_a_real_database_that_is_stopped_hangs(kind, prompt):
    """
    Also for who was connected already; when it goes on, so do the looks.
    """
    with servers.postgres() as server:
        async with collector_tools(database=server.address()) as tools:
            collector = kind()
            assert not (await scrape(collector, tools)).error
            send(server, signal.SIGSTOP)
            for _ in range(2):
                tools.clock.advance(600)
                assert NO_RESPONSE in await scrape_error(collector, tools)
            send(server, signal.SIGCONT)
            tools.clock.advance(600)
            assert not (await scrape(collector, tools)).error


async def test_a_real_redis_that_is_stopped_hangs(prompt):
    """
    The same of Redis.
    """
    with servers.valkey() as server:
        async with collector_tools(redis=f"redis://127.0.0.1:{server.port}") as tools:
            assert not (await scrape(Redis(), tools)).error
            send(server, signal.SIGSTOP)
            for _ in range(2):
                assert NO_RESPONSE in await scrape_error(Redis(), tools)
            send(server, signal.SIGCONT)
            assert not (await scrape(Redis(), tools)).error


async def scrape_error(collector: Collector, tools: object) -> str:
    try:
        found: ScrapedSamples = await scrape(collector, tools)  # type: ignore[arg-type]  # tools
    except CollectError as error:
        return str(error)
    return found.error
