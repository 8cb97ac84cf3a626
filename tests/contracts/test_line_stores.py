"""Line stores: LogQL finds the same in the embedded one and in the fake of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_line_store import FakeLineStore
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, HOUR, LINES, matrix
from toban.core.metric_registry import MetricRegistry
from toban.logs.line_store import Direction, LinePosition, LineStore
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.search import LineSearch
from toban.logs.logql.simple_search import parse_search
from toban.logs.logql.statistics import matching_streams
from toban.logs.settings import LogSettings
from toban.logs.store.store import EmbeddedLineStore


@pytest.fixture(params=["embedded", "fake"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LineStore]:
    if request.param == "fake":
        yield FakeLineStore(LINES)
        return
    with EmbeddedLineStore(tmp_path, LogSettings(), FakeClock(), MetricRegistry()) as embedded:
        embedded.append(LINES, {})
        yield embedded


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("", [0, 1, 2, 3, 4, 5, 6]),
        ("service:api -failed", [1, 2]),
        ("PAYMENT", [0]),
        ('{service=~".+"} |= "a.ts:1"', [0]),
        ('{service=~".+"} |= `"status":500`', [2]),
        ('{service=~".+"} |~ `^GET .* \\d+$`', []),
        ('{service=~".+"} |~ `(?s)^GET .*\\d+.*status`', [1, 2]),
        ('{service=~".+"} != "GET" !~ "level"', [0, 3, 6]),
        ('{service=~".+"} | json | status >= 400 | __error__=""', [2, 3]),
        (f'{{service=~".+"}} | trace_id="{"ab" * 16}"', [5]),
    ],
)
@pytest.mark.parametrize("direction", Direction)
async def test_lines_are_found(store: LineStore, query: str, places: list[int], direction: Direction):
    async with LogqlEngine(store) as engine:
        found = (await engine.lines(LineSearch(parse_search(query), AT, AT + HOUR, 100, direction))).lines
    lines = [LINES[place] for place in places]
    assert [it.stored.line for it in found] == (lines if direction is Direction.FORWARD else lines[::-1])


async def test_a_search_goes_on_from_a_position(store: LineStore):
    async with LogqlEngine(store) as engine:
        wanted = LineSearch(parse_search(""), AT, AT + HOUR, 2, before=LinePosition(AT + 4000, 4))
        assert [it.position.number for it in (await engine.lines(wanted)).lines] == [3, 2]


async def test_lines_and_bytes_are_counted(store: LineStore):
    async with LogqlEngine(store) as engine:
        lines = await engine.range('sum by (service) (count_over_time({level!=""}[3s]))', AT, AT + 9000, 3000)
        size = await engine.range('sum(bytes_over_time({service="api"}[10s]))', AT + 10_000, AT + 10_000, 1)
        filtered = await engine.range(
            'sum(count_over_time({service=~".+"} |= "GET" [10s]))', AT + 10_000, AT + 10_000, 1
        )
    assert matrix(lines) == {
        '{service="api"}': {3: 2, 6: 1},
        '{service="nginx"}': {6: 1, 9: 1},
        '{service="proxy"}': {6: 1},
        '{service="worker"}': {9: 1},
    }
    assert matrix(filtered) == {"{}": {10: 4}}
    assert matrix(size)["{}"][10] >= 84


def test_streams_are_listed(store: LineStore):
    found = matching_streams(store, [], AT, AT + HOUR)
    assert sorted({it["service"] for it in found}) == ["api", "nginx", "proxy", "worker"]
    assert matching_streams(store, [], AT - HOUR, AT) == []
