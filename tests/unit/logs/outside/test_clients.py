"""Clients of Loki and VictoriaLogs, over faults of the engine."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from tests import fake_http
from tests.contracts.test_log_engines import SINKS
from tests.fake_http import Fault, Reply
from tests.fake_line_store import FakeLineStore
from tests.fake_log_engines import FakeLogEngine, FakeLokiEngine, FakeVictoriaLogs
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, HOUR, START, line
from toban.core.errors import BadQueryError, QueryError, QueryTimeoutError, StoreError
from toban.core.metric_registry import MetricRegistry
from toban.logs.line_redaction import LineRedactor
from toban.logs.logql.search import LineSearch, joined
from toban.logs.logql.simple_search import parse_search
from toban.logs.outside import paged_search, request
from toban.logs.outside.assembly import OutsideTools, check_outside
from toban.logs.outside.engine import OutsideLogEngine
from toban.logs.outside.request import REQUESTS, SECONDS
from toban.logs.outside.settings import OutsideLogSettings
from toban.logs.sink import SinkTools

NOW = START + timedelta(hours=2)
KINDS = {"loki": FakeLokiEngine, "victorialogs": FakeVictoriaLogs}


class Engine:
    """A fake with lines, and what queries it."""

    def __init__(self, kind: str, fake: FakeLogEngine, http: httpx2.AsyncClient, **settings: object) -> None:
        self.fake, self.http, self.kind = fake, http, kind
        self.clock, self.meters = FakeClock(NOW), MetricRegistry()
        self.tools = OutsideTools(http, self.clock, self.meters)
        self.settings = OutsideLogSettings.model_validate({"kind": kind, "url": fake.url, **settings})
        engine = self.tools.engine(self.settings, LineRedactor())
        assert engine
        self.engine: OutsideLogEngine = engine

    async def ship(self, *lines: object, **settings: object) -> None:
        store = FakeLineStore(lines)  # type: ignore[arg-type]
        sink = SINKS[type(self.fake)](url=self.fake.url, **settings)
        await sink.ship(store.numbered(1, 10_000), SinkTools(self.http, self.clock))

    async def search(self, query: str = "", start: int = AT, end: int = AT + HOUR, limit: int = 100) -> list[str]:
        found = await joined(self.engine.search(LineSearch(parse_search(query), start, end, limit)), self.engine.limits)
        return [it.text for it in found.lines]

    def requests(self, outcome: str) -> float:
        return self.meters.value(REQUESTS, engine=self.kind, outcome=outcome)


@pytest.fixture(params=KINDS)
async def it(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    async with KINDS[request.param]() as fake, httpx2.AsyncClient() as http:
        yield Engine(request.param, fake, http)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        (fake_http.busy(7), StoreError, "answered 429: slow down"),
        (fake_http.broken, StoreError, "answered 500"),
        (fake_http.says(503, b"ingester not ready"), StoreError, "answered 503: ingester not ready"),
        (fake_http.half, StoreError, "is unreachable"),
        (fake_http.reset, StoreError, "is unreachable"),
        (fake_http.unchanged, StoreError, "the response is not that of such an engine"),
        (fake_http.says(200, b"[1]"), StoreError, "the response is not that of such an engine"),
        (fake_http.says(401, b"who"), StoreError, "check logs.outside.auth"),
        (fake_http.says(404, b"?"), StoreError, "is logs.outside.url that of a"),
        (fake_http.says(400, b"parse error"), BadQueryError, "answered 400: parse error"),
    ],
)
async def test_a_fault_is_an_error_in_the_words_of_the_engine(it: Engine, fault: Fault, error: type, said: str):
    """
    What pages ask next is answered, unless the engine has asked to wait.
    """
    await it.ship(line(1, "one"))
    it.fake.next(fault)
    with pytest.raises(error) as raised:
        await it.search()
    assert said in str(raised.value)
    assert f"{it.kind} at {it.fake.url}" in str(raised.value)
    it.clock.advance(7)
    assert await it.search() == ["one"]


async def test_an_engine_that_hangs_is_a_timeout(it: Engine):
    it.settings = it.settings.model_copy(update={"timeout": timedelta(seconds=0.05)})
    it.engine = OutsideLogEngine(it.tools.client(it.settings), it.clock, LineRedactor())
    it.fake.next(fake_http.late)
    with pytest.raises(QueryTimeoutError, match=r"did not respond within 0\.05 s"):
        await it.search()
    assert it.requests("failed") == 1


async def test_an_engine_that_asks_to_wait_is_left_alone_until_then(it: Engine):
    it.fake.next(fake_http.busy(20))
    for _ in range(3):
        with pytest.raises(StoreError, match="429"):
            await it.search()
        it.clock.advance(6)
    assert len(it.fake.requests) == 1
    it.clock.advance(6)
    assert await it.search() == []


async def test_requests_are_counted_and_timed(it: Engine):
    await it.search()
    it.fake.next(fake_http.says(400), fake_http.broken)
    for _ in range(2):
        with pytest.raises((QueryError, StoreError)):
            await it.search()
    assert [it.requests(outcome) for outcome in ("answered", "rejected", "failed")] == [1, 1, 1]
    assert sum(it.meters.histogram(SECONDS, engine=it.kind).counts) == 3


@pytest.mark.parametrize(
    ("auth", "authorization"),
    [
        ({"username": "u", "password": "hush"}, "Basic dTpodXNo"),
        ({"token": "hush"}, "Bearer hush"),
        ({"headers": {"Authorization": "FlyV1 hush"}}, "FlyV1 hush"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_credentials_and_the_tenant_are_sent_and_never_shown(kind: str, auth: object, authorization: str):
    async with KINDS[kind](tenant="7", authorization=authorization) as fake, httpx2.AsyncClient() as http:
        it = Engine(kind, fake, http, auth=auth, tenant="7")
        assert await it.search() == []
        fake.next(fake_http.says(500, b"token hush is odd"))
        with pytest.raises(StoreError) as raised:
            await it.search()
        assert "hush" not in str(raised.value)
        assert await check_outside(it.settings, it.tools) == ""
        without = it.settings.model_copy(update={"tenant": None})
        assert "check logs.outside.auth" in await check_outside(without, it.tools)


async def test_the_connection_is_tried_without_reading_lines(it: Engine):
    await it.ship(line(1, "one"))
    assert await check_outside(it.settings, it.tools) == ""
    it.fake.next(fake_http.unchanged if it.kind == "victorialogs" else fake_http.says(200, b"<html>"))
    assert "not that of such an engine" in await check_outside(it.settings, it.tools)
    nowhere = it.settings.model_copy(update={"url": "http://127.0.0.1:9"})
    assert "is unreachable: connection refused" in await check_outside(nowhere, it.tools)


async def test_lines_of_other_shops_are_not_read(it: Engine):
    await it.ship(line(1, "ours"), labels={"shop": "mine"})
    await it.ship(line(2, "theirs"), labels={"shop": "other"})
    assert await it.search() == ["theirs", "ours"]
    it.settings = it.settings.model_copy(update={"labels": {"shop": "mine"}})
    it.engine = OutsideLogEngine(it.tools.client(it.settings), it.clock, LineRedactor())
    assert await it.search() == ["ours"]
    found = await it.engine.instant('sum by (service) (count_over_time({service="api"}[1h]))', AT + HOUR)
    assert [series.last for series in found.series] == [1]
    assert len((await it.engine.streams([], AT, AT + HOUR)).labels) == 1


async def test_a_line_that_was_sent_twice_is_found_once(it: Engine):
    await it.ship(line(1, "one"), line(1, "two"))
    await it.ship(line(1, "one"), line(1, "two"))
    assert await it.search() == ["two", "one"]


async def test_a_long_range_is_searched_by_parts_newest_first(it: Engine):
    """
    Loki refuses more than 30 days at once; what is older than the engine keeps is not asked for.
    """
    day = 86_400
    await it.ship(*(line(-days * day, f"{days} days ago") for days in (400, 300, 100, 45, 1, 0)))
    assert await it.search(start=0) == ["0 days ago", "1 days ago", "45 days ago", "100 days ago", "300 days ago"]
    assert len(it.fake.requests) < 25
    assert await it.search(start=0, limit=1) == ["0 days ago"]


async def test_a_millisecond_with_more_lines_than_a_page_is_read_whole(it: Engine, monkeypatch):
    monkeypatch.setattr(paged_search, "PAGE", 3)
    monkeypatch.setattr(paged_search, "SPARE", 0)
    await it.ship(line(0.5, "before"), *(line(1, str(number)) for number in range(8)), line(2, "after"))
    expected = ["after", *map(str, range(7, -1, -1)), "before"]
    assert await it.search() == expected
    for limit in range(1, 11):
        assert await it.search(limit=limit) == expected[:limit]


async def test_a_millisecond_beyond_the_limit_is_an_error_that_says_so(it: Engine, monkeypatch):
    monkeypatch.setattr(paged_search, "PAGE", 3)
    await it.ship(*(line(1, str(number)) for number in range(6)))
    object.__setattr__(it.engine.limits, "lines", 5)
    with pytest.raises(BadQueryError, match="5 lines or more in the millisecond"):
        await it.search("@order_id:1", limit=5)


async def test_a_response_that_is_too_large_is_asked_for_in_smaller_pages(it: Engine, monkeypatch):
    await it.ship(*(line(number, "x" * 500) for number in range(100)))
    monkeypatch.setattr(request, "MAX_RESPONSE", 20_000)
    assert len(await it.search()) == 100
    monkeypatch.setattr(request, "MAX_RESPONSE", 600)
    with pytest.raises(BadQueryError, match="ask for a shorter time"):
        await it.search()


async def test_an_engine_that_answers_with_lines_of_another_time_is_not_believed(it: Engine):
    await it.ship(line(1, "one"))
    (stored,) = it.fake.rows if isinstance(it.fake, FakeVictoriaLogs) else it.fake.lines
    text = fake_http.says(200, _reply(it.fake, stored).body)
    it.fake.next(text)
    with pytest.raises(StoreError, match="lines of another time"):
        await it.search(start=AT + HOUR, end=AT + 2 * HOUR)


def _reply(fake: FakeLogEngine, stored: object) -> Reply:
    if isinstance(fake, FakeVictoriaLogs):
        return Reply(200, b'{"_time":"2026-01-01T00:00:01Z","_msg":"one","_stream":"{level=\\"info\\"}"}\n')
    values = [[str(AT * 1_000_000), "one", {}]]
    data = {"resultType": "streams", "result": [{"stream": {"level": "info"}, "values": values}]}
    return Reply.json({"status": "success", "data": data})


async def test_an_old_loki_does_not_tell_metadata_from_labels():
    async with FakeLokiEngine() as fake, httpx2.AsyncClient() as http:
        it = Engine("loki", fake, http)
        labels = {"service": "api", "level": "warn", "order": "A1", "trace_id": "ab", "detected_level": "warn"}
        data = {"resultType": "streams", "result": [{"stream": labels, "values": [[str(AT * 1_000_000), "one"]]}]}
        fake.next(fake_http.says(200, Reply.json({"status": "success", "data": data}).body))
        (found,) = (await joined(it.engine.search(LineSearch(parse_search(""), AT, AT + 1, 1)), it.engine.limits)).lines
        assert (found.stored.line.facts, found.stored.line.trace_id) == ({"order": "A1"}, "ab")


async def test_what_victorialogs_can_not_count_is_an_error_that_names_it():
    async with FakeVictoriaLogs() as fake, httpx2.AsyncClient() as http:
        it = Engine("victorialogs", fake, http)
        for query, named in [
            ('sum_over_time({level="info"} | unwrap x [1m])', "| unwrap x"),
            ('sum by (order) (count_over_time({level="info"}[1m]))', "order"),
            ('count_over_time({level="info"} | logfmt [1m])', "| logfmt"),
        ]:
            with pytest.raises(BadQueryError) as raised:
                await it.engine.instant(query, AT)
            assert named in str(raised.value)


async def test_lines_of_other_programs_are_redacted_and_cut(it: Engine):
    """
    Toban's own were redacted before they were sent.
    """
    await it.ship(line(1, "password=hunter2 " + "x" * 20_000, instance="token=hunter2", facts={"api_key": "hunter2"}))
    found = await joined(it.engine.search(LineSearch(parse_search(""), AT, AT + HOUR, 1)), it.engine.limits)
    assert "hunter2" not in repr(found)
    assert len(found.lines[0].text) == 16_385
    streams = await it.engine.streams([], AT, AT + HOUR)
    volumes = await it.engine.volumes((), [], AT, AT + HOUR, HOUR)
    assert "hunter2" not in f"{streams} {volumes}"
