"""Searches over lines that are kept here and lines that are kept outside."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import pytest

from tests import fake_http
from tests.contracts.test_log_engines import ship
from tests.fake_line_store import FakeLineStore
from tests.fake_log_engines import FakeLogEngine, FakeLokiEngine, FakeVictoriaLogs
from tests.fakes import FakeClock
from tests.unit.logs.logql.test_engine import AT, HOUR, START, line, matrix
from toban.core.errors import BadQueryError, QueryCanceledError, StoreError
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import Direction, LinePosition, StoredLine
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.search import LineSearch
from toban.logs.logql.simple_search import parse_search
from toban.logs.outside import paged_search
from toban.logs.outside.assembly import OutsideTools
from toban.logs.outside.settings import OutsideLogSettings
from toban.logs.tiered_log_engine import TieredLogEngine

SECOND = 1_000
NOW = START + timedelta(hours=1)
LINES = [line(number, f"line {number}", LogLevel.ERROR if number % 2 else LogLevel.INFO) for number in range(10)]
TEXTS = [it.message for it in LINES]
BORDER = AT + 4 * SECOND
"""The lines before are deleted here."""


class Tiers:
    """A store that has deleted its older lines, and an engine that has all."""

    def __init__(self, store: FakeLineStore, fake: FakeLogEngine, engine: TieredLogEngine) -> None:
        self.store, self.fake, self.engine = store, fake, engine
        self.all: Sequence[StoredLine] = ()
        fake.requests.clear()

    async def search(self, query: str = "", start: int = AT, end: int = AT + HOUR, limit: int = 100, **options: object):
        found = await self.engine.lines(LineSearch(parse_search(query), start, end, limit, **options))
        return [it.text for it in found.lines], found


@asynccontextmanager
async def tiers(
    kind: str = "loki",
    *,
    only: bool = False,
    border: int = BORDER,
    lines: Sequence[LogLine] = LINES,
    first: int = 5_000_001,
    **settings: object,
) -> AsyncIterator[Tiers]:
    store = FakeLineStore(lines, slice_lines=2, first=first)
    async with (
        FakeLokiEngine() if kind == "loki" else FakeVictoriaLogs() as fake,
        httpx2.AsyncClient() as http,
        LogqlEngine(store) as embedded,
    ):
        await ship(fake, store, http)
        everything = store.numbered(1, len(lines))
        if border > AT:
            store.delete_before(border)
        tools = OutsideTools(http, FakeClock(NOW), MetricRegistry())
        given = OutsideLogSettings.model_validate({"kind": kind, "url": fake.url, "only": only, **settings})
        outside = tools.engine(given, LineRedactor())
        found = Tiers(store, fake, TieredLogEngine(embedded, outside))
        found.all = everything
        yield found


@pytest.fixture(params=["loki", "victorialogs"])
async def it(request: pytest.FixtureRequest) -> AsyncIterator[Tiers]:
    async with tiers(request.param) as found:
        yield found


async def test_what_is_kept_here_is_answered_here(it: Tiers):
    texts, found = await it.search(start=BORDER)
    assert texts == TEXTS[:3:-1]
    assert (found.outside, it.fake.requests) == (None, [])


async def test_older_lines_come_from_outside(it: Tiers):
    texts, found = await it.search(end=AT + 3 * SECOND)
    assert texts == TEXTS[2::-1]
    assert (found.outside, found.missing) == (AT + 3 * SECOND, [])


@pytest.mark.parametrize("direction", Direction)
async def test_a_range_over_the_border_has_each_line_once(it: Tiers, direction: Direction):
    expected = TEXTS[::-1] if direction is Direction.BACKWARD else TEXTS
    texts, found = await it.search(direction=direction)
    assert texts == expected
    assert found.outside == BORDER
    for limit in range(1, 11):
        assert (await it.search(direction=direction, limit=limit))[0] == expected[:limit]


async def test_a_page_that_is_full_with_lines_of_here_asks_for_none_outside(it: Tiers):
    assert (await it.search(limit=6))[0] == TEXTS[:3:-1]
    assert it.fake.requests == []


@pytest.mark.parametrize("direction", Direction)
async def test_pages_go_on_over_the_border(it: Tiers, direction: Direction):
    name = "before" if direction is Direction.BACKWARD else "after"
    position: LinePosition | None = None
    texts: list[str] = []
    while True:
        some, found = await it.search(limit=3, direction=direction, **{name: position})
        if not some:
            break
        texts += some
        position = found.lines[-1].position
    assert texts == (TEXTS[::-1] if direction is Direction.BACKWARD else TEXTS)


async def test_a_search_goes_on_when_the_line_it_stopped_at_is_deleted_meanwhile(it: Tiers):
    """
    Its position was that of the store.
    """
    _, found = await it.search(limit=3)
    it.store.delete_before(AT + 9 * SECOND)
    assert (await it.search(before=found.lines[-1].position))[0] == TEXTS[6::-1]


async def test_a_late_line_that_is_older_than_the_border_is_not_found_twice(it: Tiers):
    it.store.append([LINES[1]], {})
    assert (await it.search())[0] == TEXTS[::-1]


async def test_a_new_toban_asks_outside_for_all():
    async with tiers() as it:
        it.store.delete_before(AT + HOUR)
        it.store.deleted_before = 0
        assert (await it.search())[0] == TEXTS[::-1]


async def test_outside_alone_answers_all_where_that_is_wanted():
    async with tiers(only=True, border=AT) as it:
        assert (await it.search())[0] == TEXTS[::-1]
        assert it.store.selections == []
        found = await it.engine.range(
            'sum(count_over_time({level="error"}[1m]))', AT + 60 * SECOND, AT + 60 * SECOND, 1
        )
        assert matrix(found) == {"{}": {60: 5}}
        assert it.store.counted == 0
        it.fake.next(fake_http.broken)
        texts, slice_ = await it.search()
        assert texts == []
        assert "answered 500" in slice_.missing[0].reason
        it.fake.next(fake_http.broken)
        with pytest.raises(StoreError, match="answered 500"):
            await it.engine.instant('sum(count_over_time({level="error"}[1m]))', AT)


async def test_without_an_outside_engine_all_is_searched_here():
    store = FakeLineStore(LINES)
    store.delete_before(BORDER)
    async with LogqlEngine(store) as embedded:
        engine = TieredLogEngine(embedded)
        found = await engine.lines(LineSearch(parse_search(""), 0, AT + HOUR, 100))
        assert [it.text for it in found.lines] == TEXTS[:3:-1]
        assert (found.missing, found.outside) == ([], None)


@pytest.mark.parametrize(
    "fault",
    [
        fake_http.busy(),
        fake_http.broken,
        fake_http.half,
        fake_http.reset,
        fake_http.unchanged,
        fake_http.says(400, b"no"),
    ],
)
@pytest.mark.parametrize("direction", Direction)
async def test_while_outside_fails_the_part_of_here_is_answered_and_the_other_named(
    it: Tiers, direction: Direction, fault
):
    it.fake.next(fault)
    texts, found = await it.search(direction=direction)
    kept = TEXTS[4:]
    assert texts == (kept[::-1] if direction is Direction.BACKWARD else kept)
    (missing,) = found.missing
    assert (missing.start, missing.end) == (AT, BORDER)
    assert "at http://127.0.0.1:" in missing.reason
    assert missing.warning.startswith(
        "the lines from 2026-01-01T00:00:00Z to 2026-01-01T00:00:04Z could not be searched: "
    )


async def test_an_engine_that_fails_in_the_middle_leaves_what_it_has_answered(it: Tiers, monkeypatch):
    monkeypatch.setattr("toban.logs.outside.paged_search.FIRST_SPAN", 2 * SECOND)
    original, answers = it.fake.respond, iter([False, True])
    monkeypatch.setattr(
        it.fake, "respond", lambda request: fake_http.Reply(500, b"oops") if next(answers) else original(request)
    )
    texts, found = await it.search()
    assert texts == TEXTS[:1:-1]
    assert [(it.start, it.end) for it in found.missing] == [(AT, AT + 2 * SECOND)]


async def test_cancelling_is_no_failure_of_the_engine(it: Tiers, monkeypatch):
    def canceled(request: object) -> None:
        raise QueryCanceledError("gone")

    monkeypatch.setattr(it.engine.outside.client, "lines", lambda *_: canceled(_))  # type: ignore[union-attr]
    with pytest.raises(QueryCanceledError):
        await it.search()


async def test_too_many_lines_are_refused_as_ever(it: Tiers):
    with pytest.raises(BadQueryError, match="max entries limit"):
        await it.search(end=AT + SECOND, limit=5_001)


COUNT = 'sum by (level) (count_over_time({service="api"}[2s]))'


async def test_a_query_for_series_runs_where_all_its_lines_are(it: Tiers):
    here = await it.engine.range(COUNT, BORDER + 2 * SECOND, BORDER + 4 * SECOND, 2 * SECOND)
    assert it.fake.requests == []
    assert matrix(here) == {'{level="error"}': {6: 1, 8: 1}, '{level="info"}': {6: 1, 8: 1}}
    there = await it.engine.range(COUNT, AT + 2 * SECOND, AT + 8 * SECOND, 2 * SECOND)
    assert it.fake.requests
    assert matrix(there)['{level="error"}'] == {2: 1, 4: 1, 6: 1, 8: 1}
    assert there.warnings == ()
    one = await it.engine.instant('sum(count_over_time({service="api"}[1h] offset -1h))', AT)
    assert one.series[0].last == 10


async def test_a_query_for_series_that_fails_outside_is_answered_from_here_with_a_warning(it: Tiers):
    it.fake.next(fake_http.broken)
    found = await it.engine.range(COUNT, AT + 2 * SECOND, AT + 8 * SECOND, 2 * SECOND)
    assert matrix(found)['{level="error"}'] == {6: 1, 8: 1}
    (warning,) = found.warnings
    assert "the lines from 2026-01-01T00:00:00Z to 2026-01-01T00:00:04Z could not be searched" in warning
    literal = await it.engine.instant("1 + 1", AT)
    assert literal.series[0].last == 2


async def test_streams_and_volumes_are_those_of_both(it: Tiers):
    it.store.append([line(20, "new", service="worker")], {})
    streams = await it.engine.streams([], AT, AT + HOUR)
    assert [(it["service"], it["level"]) for it in streams.labels] == [
        ("api", "error"),
        ("api", "info"),
        ("worker", "info"),
    ]
    found = await it.engine.volumes((), ["service"], AT, AT + HOUR, HOUR)
    assert {dict(group)["service"]: it.lines for (group, _), it in found.volumes.items()} == {"api": 10, "worker": 1}
    it.fake.next(fake_http.broken, fake_http.broken)
    streams = await it.engine.streams([], AT, AT + HOUR)
    assert [(it.start, it.end) for it in streams.missing] == [(AT, BORDER)]
    found = await it.engine.volumes((), ["service"], AT, AT + HOUR, HOUR)
    assert sum(it.lines for it in found.volumes.values()) == 7
    assert [(it.start, it.end) for it in found.missing] == [(AT, BORDER)]


async def test_what_is_older_than_the_outside_engine_keeps_is_not_asked_for():
    async with tiers(retention="30m") as it:
        texts, found = await it.search()
        assert (texts, found.missing, it.fake.requests) == (TEXTS[:3:-1], [], [])


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 2_000, 100))
async def test_many_pages_over_many_borders(first: int, monkeypatch: pytest.MonkeyPatch):
    for seed in range(first, first + 100):
        with monkeypatch.context() as patched:
            await test_any_pages_over_any_border_have_each_line_once(seed, patched)


@pytest.mark.parametrize("seed", range(12))
async def test_any_pages_over_any_border_have_each_line_once(seed: int, monkeypatch: pytest.MonkeyPatch):
    """
    Many lines of one millisecond, pages of any size, in both directions; lines are deleted here between two pages.
    """
    chance = random.Random(seed)
    lines = [line(chance.randrange(40) / 1000, f"line {number}") for number in range(chance.randrange(1, 60))]
    monkeypatch.setattr(paged_search, "PAGE", chance.randrange(1, 8))
    monkeypatch.setattr(paged_search, "SPARE", chance.randrange(3))
    monkeypatch.setattr(paged_search, "FIRST_SPAN", chance.randrange(1, 20))
    direction = chance.choice(list(Direction))
    name = "before" if direction is Direction.BACKWARD else "after"
    kind, border, first = (
        chance.choice(["loki", "victorialogs"]),
        AT + chance.randrange(45),
        10 ** chance.randrange(9) + 1,
    )
    async with tiers(kind, lines=lines, border=border, first=first) as it:
        expected = [stored.line.message for stored in sorted(it.all, key=lambda stored: stored.position)]
        texts: list[str] = []
        position: LinePosition | None = None
        while True:
            some, found = await it.search(limit=chance.randrange(1, 9), direction=direction, **{name: position})
            if not some:
                break
            texts += some
            position = found.lines[-1].position
            if chance.random() < 0.3:
                it.store.delete_before(max(it.store.deleted_before, AT + chance.randrange(45)))
    assert texts == (expected[::-1] if direction is Direction.BACKWARD else expected)
