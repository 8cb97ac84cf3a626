"""Fly's log stream, from a real nats-server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import nats
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests import servers
from tests.fakes import ListLineSink
from tests.integration.scraping import poll_until
from tests.program import eventually, toban
from toban.core.clock import SystemClock
from toban.core.log_line import LogLevel
from toban.core.metric_registry import MetricRegistry
from toban.demo.servers import Server
from toban.logs import fly_log_stream
from toban.logs.fly_log_stream import (
    CONNECTED,
    GAP_SECONDS,
    GAPS,
    MESSAGES,
    FlyLogConnection,
    FlyLogStream,
    parse_message,
)

ORG, TOKEN = "shop-gmbh", "FlyV1 fm2_lJPECAAAAAAAA"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def stream() -> Iterator[Server]:
    with servers.nats(ORG, TOKEN) as server:
        yield server


def message(text, app="shop", machine="d896d7c609dd68", provider="app", level="info"):
    """Return a message as in Fly's stream."""
    content = {
        "event": {"provider": provider},
        "fly": {"app": {"instance": machine, "name": app}, "region": "fra"},
        "host": "9f2a",
        "log": {"level": level},
        "message": text if isinstance(text, str) else json.dumps(text),
        "timestamp": "2026-01-01T12:00:00.123456789Z",
    }
    return json.dumps(content).encode()


class Reader:
    """A log stream, and the lines that it read."""

    def __init__(self, server, *, token=TOKEN, apps=(), own=""):
        self.meters = MetricRegistry()
        self.lines = ListLineSink()
        self.connection = FlyLogConnection(f"nats://[::1]:{server.port}", ORG, token)
        self.logs = FlyLogStream(self.connection, apps, own, self.lines, SystemClock(), self.meters)

    def texts(self):
        return [line.message for line in self.lines.lines]

    async def has(self, many):
        return await poll_until(self._texts, lambda found: len(found) >= many)

    async def _texts(self):
        return self.texts()

    async def connected(self):
        async def ask():
            return self.meters.value(CONNECTED)

        await poll_until(ask, bool)


@asynccontextmanager
async def reading(server, **options) -> AsyncIterator[Reader]:
    reader = Reader(server, **options)
    task = asyncio.create_task(reader.logs.run())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def sending(server):
    client = await nats.connect(f"nats://[::1]:{server.port}", user=ORG, password=TOKEN)

    async def send(data, app="shop", machine="d896d7c609dd68"):
        await client.publish(f"logs.{app}.fra.{machine}", data)
        await client.flush()

    try:
        yield send
    finally:
        await client.close()


async def test_lines_are_read_in_order(stream):
    """
    Those of the configured apps; lines of toban itself are left out.
    """
    async with reading(stream, apps=["shop", "toban"], own="toban") as reader, sending(stream) as send:
        await reader.connected()
        await send(message("first"))
        await send(message("of another"), app="other")
        await send(message("own", app="toban"), app="toban")
        await send(b"no JSON")
        await send(message({"level": "error", "message": "second"}))
        assert await reader.has(2) == ["first", "second"]
        assert reader.meters.value(MESSAGES, outcome="accepted") == 3
        assert reader.meters.value(MESSAGES, outcome="rejected") == 1
        assert reader.logs.health().ok


async def test_a_lost_connection_is_restored_and_the_gap_is_counted(monkeypatch):
    """
    With backoff between the attempts.
    """
    attempts, delays = [], []
    real = fly_log_stream.retry_delay

    def quick(many, asked, chance):
        attempts.append(many)
        delays.append(real(many, asked, 1))
        return real(many, asked, chance) / 20

    monkeypatch.setattr(fly_log_stream, "retry_delay", quick)
    with servers.nats(ORG, TOKEN) as server:
        async with reading(server) as reader:
            await reader.connected()
            server.kill()

            async def away():
                return len(attempts)

            await poll_until(away, lambda many: many >= 4)
            assert reader.meters.value(CONNECTED) == 0
            assert "log stream of nats://[::1]" in reader.logs.health().message
            assert "connection refused" in reader.logs.health().message
            server.start()
            await reader.connected()
            async with sending(server) as send:
                await send(message("back"))
                assert await reader.has(1) == ["back"]
            assert reader.meters.value(GAPS) == 1
            assert reader.meters.value(GAP_SECONDS) > 0
    assert attempts[1:] == sorted(attempts[1:])
    assert [it.total_seconds() for it in delays[1:4]] == [1, 2, 4]


async def test_a_wrong_token_is_reported_without_the_token(stream):
    """
    And connecting is retried.
    """
    async with reading(stream, token="FlyV1 fm2_other") as reader:

        async def message():
            return reader.logs.health().message

        found = await poll_until(message, lambda text: "is wrong" in text)
        assert "fm2" not in found


@pytest.mark.parametrize(
    ("token", "error"), [(TOKEN, ""), ("FlyV1 fm2_other", "shop.fly_org or shop.fly_token is wrong")]
)
async def test_the_connection_is_checked_without_reading_lines(stream, token, error):
    """
    For `toban check`.
    """
    assert await Reader(stream, token=token).connection.check() == error


def test_the_running_toban_shows_the_lines(stream, tmp_path):
    """
    `toban check` connects to the stream, `toban logs` shows its lines.
    """
    settings = {
        "shop": {"fly_token": TOKEN, "fly_org": ORG},
        "logs": {"fly": True, "fly_server": f"nats://[::1]:{stream.port}"},
        "collect": [{"kind": "fly", "token": TOKEN, "enabled": False}],
    }
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("log stream connected")

        async def send():
            async with sending(stream) as one:
                await one(message({"level": "warn", "message": "out of paper", "context": "Printer"}))

        asyncio.run(send())
        lines = eventually(lambda: program.run("logs", "paper").stdout, lambda text: "paper" in text)
        assert "out of paper" in lines
        checked = program.run("check", "--config", str(tmp_path / "toban.yaml")).stdout
        assert f"nats://[::1]:{stream.port}  reachable" in checked


async def test_messages_beyond_the_queue_are_dropped_and_counted(stream, monkeypatch):
    """
    Memory stays bounded.
    """
    monkeypatch.setattr(fly_log_stream, "MAX_QUEUE", 5)
    reader = Reader(stream)
    for number in range(8):
        await reader.logs._enqueue(type("Message", (), {"data": message(f"{number}")}))
    assert reader.meters.value(MESSAGES, outcome="dropped") == 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message("\x1b[32minfo\x1b[39m ready \n"), ("info ready", LogLevel.INFO, "", "", "shop")),
        (message("x", level="warn"), ("x", LogLevel.WARN, "", "", "shop")),
        (message("PU02", provider="proxy", level="error"), ("PU02", LogLevel.ERROR, "fly proxy", "", "shop")),
        (
            message({"level": "error", "message": "no", "context": "Payment", "stack": "at x", "order": "A1"}),
            ("no", LogLevel.ERROR, "Payment", "at x", "shop"),
        ),
        (message({"level": 40, "msg": "pino"}), ("pino", LogLevel.WARN, "", "", "shop")),
        (message({"level": "error", "code": 5}), ('{"level": "error", "code": 5}', LogLevel.ERROR, "", "", "shop")),
        (message("{half of it"), ("{half of it", LogLevel.INFO, "", "", "shop")),
    ],
)
def test_a_programs_json_line_is_parsed(data, expected):
    """
    Without terminal colours.
    """
    line = parse_message(data, NOW)
    assert (line.message, line.level, line.context, line.trace, line.service) == expected
    assert line.instance == "d896d7c609dd68"
    assert line.at == datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("2026-01-01T14:00:00.1+02:00", datetime(2026, 1, 1, 12, 0, 0, 100000, UTC)),
        ("0001-01-01T00:00:00+23:59", NOW),
        ("2026-01-01T12:00:00", NOW),
        ("soon", NOW),
        (None, NOW),
    ],
)
def test_a_lines_time_is_utc_and_defaults_to_now(timestamp, at):
    """
    Also when it is out of range.
    """
    content = json.loads(message("x")) | {"timestamp": timestamp}
    line = parse_message(json.dumps(content).encode(), NOW)
    assert (line.at, line.at.tzinfo) == (at, UTC)


def test_other_fields_of_a_line_are_its_facts():
    """
    With the region.
    """
    line = parse_message(message({"message": "paid", "category": "business", "order": "A1"}), NOW)
    assert (line.category, line.facts) == ("business", {"order": "A1", "region": "fra"})


@pytest.mark.parametrize(
    ("text", "milliseconds", "is_exact"),
    [
        ({"message": "paid", "timestamp": "2026-01-01T12:00:00.119Z"}, 119, True),
        ({"message": "paid", "timestamp": "2026-01-01T14:00:00.119Z"}, 123, False),
        ("info 1/1/26, 12:00 PM - [Orders] paid", 123, False),
        ("paid", 123, False),
    ],
)
def test_the_time_that_a_program_writes_is_that_of_its_line(text, milliseconds, is_exact):
    """
    Unless it is another hour, in a zone that is not known, or has no seconds: then it is that of the stream.
    """
    line = parse_message(message(text), datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC))
    assert (line.at.replace(microsecond=0), line.at.microsecond // 1000) == (NOW.replace(hour=12), milliseconds)
    assert (line.message, line.is_time_exact) == ("paid", is_exact)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["message", "fly", "log", "event", "timestamp", "level", "msg", "context", "app"])


@given(st.binary() | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_are_a_line_or_none(data):
    """
    No exception is raised.
    """
    parse_message(data, NOW)


@given(st.dictionaries(FIELDS, JSON), st.dictionaries(FIELDS, JSON))
def test_any_fields_are_accepted(outer, inner):
    """
    In the message and in the program's line.
    """
    found = parse_message(json.dumps({**outer, "message": json.dumps(inner)}).encode(), NOW)
    assert found is not None
    ListLineSink().write([found])
