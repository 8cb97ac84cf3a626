"""Log engines: what is shipped to Loki or VictoriaLogs is found there as in toban's own store."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest

from tests.fake_line_store import FakeLineStore
from tests.fake_log_engines import FakeLogEngine, FakeLokiEngine, FakeVictoriaLogs
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, HOUR, LINES, START, line, matrix, vector
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import Direction, LinePosition
from toban.logs.log_engine import LogEngine
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.parser import parse_matchers
from toban.logs.logql.search import LineSearch
from toban.logs.logql.simple_search import parse_search
from toban.logs.outside import paged_search
from toban.logs.outside.assembly import OutsideTools
from toban.logs.outside.settings import OutsideLogSettings
from toban.logs.sink import SinkTools
from toban.logs.sinks.loki import Loki
from toban.logs.sinks.victorialogs import VictoriaLogs

ODD = [
    line(10, "two\nlines", trace="Error: x\n  at y", facts={"message": "a fact", "level": "own", "order-id": "A-1"}),
    line(11, "two\nlines without a trace", facts={"text": "00042", "exponent": "1e5", "number": -4.5, "flag": True}),
    line(12, '{"json": "message", "level": "x"}', LogLevel.WARN, facts={"list": [1, {"a": None}], "none": None}),
    line(13, 'quotes " \\ and `ticks` {} | 日本語', context='odd "context"\\', facts={"日本": "語", "empty": "x y"}),
    line(14, "", trace="only a trace\n  of two lines"),
]
ALL = [LineRedactor().redacted(it) for it in [*LINES, *ODD]]
"""As the pipeline stores them."""
NOW = START + timedelta(hours=2)
SINKS = {FakeLokiEngine: Loki, FakeVictoriaLogs: VictoriaLogs}


async def ship(fake: FakeLogEngine, store: FakeLineStore, http: httpx2.AsyncClient) -> None:
    await SINKS[type(fake)](url=fake.url).ship(store.numbered(1, 10_000), SinkTools(http, FakeClock(NOW)))


@pytest.fixture(params=["embedded", "loki", "victorialogs"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[LogEngine]:
    store = FakeLineStore(ALL)
    if request.param == "embedded":
        async with LogqlEngine(store) as embedded:
            yield embedded
        return
    async with (
        FakeLokiEngine() if request.param == "loki" else FakeVictoriaLogs() as fake,
        httpx2.AsyncClient() as http,
    ):
        await ship(fake, store, http)
        settings = OutsideLogSettings(kind=request.param, url=fake.url)
        outside = OutsideTools(http, FakeClock(NOW), MetricRegistry()).engine(settings, LineRedactor())
        assert outside
        yield outside


async def found(engine: LogEngine, query: str, limit: int = 100, **options: object) -> list[LogLine]:
    wanted = LineSearch(parse_search(query), AT, AT + HOUR, limit, **options)
    return [line.stored.line for part in [it async for it in engine.search(wanted)] for line in part.lines]


async def test_each_line_is_what_it_was(engine: LogEngine):
    assert await found(engine, "", direction=Direction.FORWARD) == ALL
    assert await found(engine, "") == ALL[::-1]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("service:api -failed", [1, 2, 7, 8, 9, 10, 11]),
        ("PAYMENT", [0]),
        ("level:error,warn", [0, 2, 9]),
        ('{service=~".+"} |= "a.ts:1"', [0]),
        ('{service=~".+"} |~ `^GET .* \\d+$`', []),
        ('{service=~".+"} |~ `GET.*[45]00`', [2]),
        ('{service=~".+"} |= "日本語"', [10]),
        ('{service=~".+"} |= "quotes \\" \\\\ and"', [10]),
        ('{service=~".+"} |~ "lines.without" or "it works"', [4, 8]),
        ('{service=~".+"} != "GET" !~ "level"', [0, 3, 6, 8, 10, 11]),
        ('{service=~".+"} | json | status >= 400 | __error__=""', [2, 3]),
        ('{service_name="api", detected_level="warn"}', [2, 9]),
        ('{context="odd \\"context\\"\\\\"}', [10]),
        ('{service=~".+", context!=""}', [0, 10]),
        ('{service="api"} | status="500"', [2]),
        ('{service="api"} | status=~"[25]00" and level="warn"', [2]),
        ('{service="api"} | status = 200 or level="error"', [0, 1]),
        ('{service="api"} | status="200" or status="500" | duration < 1s', [2]),
        ('{service="api"} | user=`{"id":7}`', [1]),
        ('{service="api"} | order_id="A-1"', [7]),
        ('{service="api"} | level_extracted="own"', [7]),
        ('{service="api"} | status!="500" | level="info"', [1, 7, 8, 10, 11]),
        ('{service="api"} | flag="true"', [8]),
        (f'{{service=~".+"}} | trace_id="{"ab" * 16}"', [5]),
        ('{service="api"} | line_format "{{.status}}" |= "500"', [2]),
        ("@order:A1", []),
    ],
)
async def test_queries_find_the_same(engine: LogEngine, query: str, places: list[int]):
    assert await found(engine, query, direction=Direction.FORWARD) == [ALL[place] for place in places]


@pytest.mark.parametrize("direction", Direction)
async def test_pages_follow_each_other(engine: LogEngine, direction: Direction, monkeypatch):
    """
    Each line once, whatever a page holds, and from the position of any line on.
    """
    monkeypatch.setattr(paged_search, "PAGE", 4)
    monkeypatch.setattr(paged_search, "SPARE", 1)
    monkeypatch.setattr(paged_search, "FIRST_SPAN", 5_000)
    name = "before" if direction is Direction.BACKWARD else "after"
    lines: list[LogLine] = []
    position: LinePosition | None = None
    while True:
        wanted = LineSearch(parse_search(""), AT, AT + HOUR, 3, direction, **{name: position})
        some = [line for part in [it async for it in engine.search(wanted)] for line in part.lines]
        if not some:
            break
        lines += [it.stored.line for it in some]
        position = some[-1].position
    assert lines == (ALL[::-1] if direction is Direction.BACKWARD else ALL)


async def test_positions_are_those_of_the_store(engine: LogEngine):
    wanted = LineSearch(parse_search(""), AT, AT + HOUR, 100, Direction.FORWARD)
    lines = [line for part in [it async for it in engine.search(wanted)] for line in part.lines]
    assert [it.position.number for it in lines] == list(range(1, len(ALL) + 1))
    between = range(lines[2].position.nanoseconds, lines[4].position.nanoseconds)
    wanted = LineSearch(parse_search(""), AT, AT + HOUR, 100, Direction.FORWARD, nanoseconds=between)
    some = [line for part in [it async for it in engine.search(wanted)] for line in part.lines]
    assert [it.position for it in some] == [it.position for it in lines[2:4]]


async def test_lines_are_counted(engine: LogEngine):
    """
    As pages and Grafana count them.
    """
    lines = await engine.range('sum by (level) (count_over_time({service="api"}[3s]))', AT, AT + 15_000, 3_000)
    filtered = await engine.range('sum(count_over_time({service=~".+"} |= "GET" [10s]))', AT + 10_000, AT + 10_000, 1)
    one = await engine.instant('sum by (service) (count_over_time({level=~".+"}[1m]))', AT + 60_000)
    size = await engine.range('sum(bytes_over_time({service="api"} != "x" [10s]))', AT + 10_000, AT + 10_000, 1)
    assert matrix(lines) == {
        '{level="error"}': {3: 1},
        '{level="info"}': {3: 1, 12: 2, 15: 2},
        '{level="warn"}': {6: 1, 15: 1},
    }
    assert matrix(filtered) == {"{}": {10: 4}}
    assert vector(one) == {
        '{service="api"}': 8, '{service="nginx"}': 2, '{service="proxy"}': 1, '{service="worker"}': 1,
    }  # fmt: skip
    assert (
        matrix(size)["{}"][10]
        == sum(len(it) for it in ("payment failed\nError: declined\n    at pay (a.ts:1)", "GET /shop-api 200")) + 17
    )


async def test_streams_and_volumes_are_listed(engine: LogEngine):
    streams = await engine.streams([parse_matchers('{service="api"}'), parse_matchers('{level="info"}')], AT, AT + HOUR)
    found_streams = sorted((it["service_name"], it["level"], it.get("context", "")) for it in streams.labels)
    assert found_streams == [
        ("api", "error", "Payments"),
        ("api", "info", ""),
        ("api", "info", 'odd "context"\\'),
        ("api", "warn", ""),
        ("nginx", "info", ""),
        ("proxy", "info", ""),
        ("worker", "info", ""),
    ]
    found = await engine.volumes(parse_matchers('{service="nginx"}'), ["service"], AT, AT + HOUR, 60_000)
    assert {key: (it.lines, it.bytes) for key, it in found.volumes.items()} == {
        ((("service", "nginx"),), AT): (2, len(LINES[3].message) + len(LINES[5].message)),
    }
    whole = await engine.volumes((), [], AT, AT + HOUR, HOUR)
    assert sum(it.lines for it in whole.volumes.values()) == len(ALL)
