"""The engine of LogQL, over a store in memory."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_line_store import FakeLineStore
from toban.core.errors import BadQueryError, QueryCanceledError, QueryError, QueryTimeoutError, StoreError
from toban.core.log_line import LogLevel, LogLine
from toban.core.query_result import QueryResult, ResultType
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.parser import parse_log_query
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.search import LineSearch

START = datetime(2026, 1, 1, tzinfo=UTC)
AT = milliseconds(START)
HOUR = 3_600_000


def line(seconds: float, message: str, level: LogLevel = LogLevel.INFO, service: str = "api", **fields: object):
    return LogLine(START + timedelta(seconds=seconds), level, message, service=service, **fields)


LINES = [
    line(1, "payment failed", LogLevel.ERROR, context="Payments", trace="Error: declined\n    at pay (a.ts:1)"),
    line(2, "GET /shop-api 200", facts={"status": 200, "duration": "1.5s", "size": "12KB", "user": {"id": 7}}),
    line(3, "GET /shop-api 500", LogLevel.WARN, facts={"status": 500, "duration": "250ms", "size": "1KiB"}),
    line(4, '{"status": 404, "path": "/x", "deep": {"a": [1, {"b": "c"}]}}', service="nginx"),
    line(5, 'level=info method=GET took=3ms msg="it works \\"well\\"" bare', service="proxy"),
    line(6, "10.0.0.1 - GET /x", service="nginx", trace_id="ab" * 16),
    line(7, "\x1b[31mred\x1b[0m", service="worker", instance="w1", category="security", environment="prod"),
]


def matrix(result: QueryResult) -> dict[str, dict[int, float]]:
    return {
        str(it.labels): dict(zip(((it.times - AT) / 1000).tolist(), it.values.tolist(), strict=True))
        for it in result.series
    }


def vector(result: QueryResult) -> dict[str, float]:
    return {str(it.labels): it.last for it in result.series}


async def found(query: str, lines: Sequence[LogLine] = LINES, **options: object):
    async with LogqlEngine(FakeLineStore(lines)) as engine:
        wanted = {"start": AT, "end": AT + HOUR, "limit": 100, "direction": Direction.FORWARD, **options}
        return (await engine.lines(LineSearch(parse_log_query(query), **wanted))).lines


async def instant(query: str, lines: Sequence[LogLine] = LINES, at: int = AT + 60_000) -> dict[str, float]:
    async with LogqlEngine(FakeLineStore(lines)) as engine:
        return vector(await engine.instant(query, at))


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ('{service="api"}', [0, 1, 2]),
        ('{service_name=~"a.*|prox."}', [0, 1, 2, 4]),
        ('{service=~".+", level!="info"}', [0, 2]),
        ('{detected_level="error"}', [0]),
        ('{category="security", environment="prod", instance="w1"}', [6]),
        ('{service="api"} |= "GET" != "500"', [1]),
        ('{service="api"} |= "200" or "failed"', [0, 1]),
        ('{service="api"} != "200" or "failed"', [2]),
        ('{service="api"} |~ `[45]00$` or "^pay"', [0]),
        ('{service="api"} |~ `GET.*[45]00`', [2]),
        ('{service="api"} !~ "(?i)get"', [0]),
        ('{service="api"} |= ""', [0, 1, 2]),
        ('{service="api"} |= "a.ts"', [0]),
        ('{service=~".+"} | trace_id="abababababababababababababababab"', [5]),
        ('{service="api"} | status >= 300', [2]),
        ('{service="api"} | status=~"[25]00" and level="warn"', [2]),
        ('{service="api"} | duration > 1s', [1]),
        ('{service="api"} | size < 2KB', [2]),
        ('{service="api"} | status = 200 or level="error"', [0, 1]),
        ('{service="api"} | (status = 200 or status = 500), duration < 1s', [2]),
        ('{service="api"} | json | user_id = 7', [1]),
        ('{service="nginx"} | json | __error__=""', [3]),
        ('{service="nginx"} | json where="deep.a[1].b" | where="c"', [3]),
        ('{service="proxy"} | logfmt | took < 5ms', [4]),
        ('{service="proxy"} | logfmt | msg=`it works "well"`', [4]),
        ('{service="nginx"} | pattern "<ip> - <method> <path>" | method="GET" | path="/x"', [5]),
        ('{service="nginx"} | regexp `(?P<octet>\\d+)\\.` | octet=10', [5]),
        ('{service="api"} | line_format "{{.status}}" |= "500"', [2]),
        ('{service="worker"} | decolorize |~ "^red$"', [6]),
        ('{service="api"} | label_format code=status | code="500"', [2]),
        ('{service="api"} | label_format status="x{{.status}}" | status="x500"', [2]),
        ('{service="api"} | drop status | status="500"', []),
        ('{service="api"} | keep level | status="500" or level="error"', [0]),
    ],
)
async def test_lines_are_selected(query: str, places: Sequence[int]):
    assert [LINES.index(it.stored.line) for it in await found(query)] == places


async def test_a_line_has_labels_by_where_they_come_from():
    (it,) = await found('{service="api"} |= "500" | json duration | line_format "{{.level | upper}} {{.duration}}"')
    assert it.stream == {"service": "api", "service_name": "api", "level": "warn", "detected_level": "warn"}
    assert it.metadata == {"status": "500", "duration": "250ms", "size": "1KiB"}
    assert it.parsed == {"duration": "250ms"}
    assert it.text == "WARN 250ms"


async def test_facts_satisfy_json_without_an_error():
    """
    A program's JSON was parsed when it arrived: it is no text in JSON any more.
    """
    (it,) = await found('{service="api"} |= "200" | json')
    assert it.parsed == {"status": "200", "duration": "1.5s", "size": "12KB", "user_id": "7"}
    assert it.metadata == {}


async def test_a_stage_that_fails_names_its_error():
    (it,) = await found('{service="worker"} | json')
    assert it.parsed["__error__"] == "JSONParserErr"
    (it,) = await found('{service="api"} |= "200" | duration > 5')
    assert it.parsed["__error__"] == "LabelFilterErr"
    with pytest.raises(BadQueryError, match="pipeline error: 'JSONParserErr' for series:"):
        await instant('count_over_time({service="worker"} | json [1m])')
    assert await instant(
        'sum(count_over_time({service="worker"} | json | drop __error__, __error_details__ [1m]))'
    ) == {"{}": 1}


async def test_a_parsed_label_does_not_hide_that_of_the_stream():
    (it,) = await found('{service="proxy"} | logfmt')
    assert (it.stream["level"], it.parsed["level_extracted"]) == ("info", "info")


@pytest.mark.parametrize(
    ("query", "series"),
    [
        ("vector(1)+vector(1)", {"{}": 2}),
        ("1 + 1", {"{}": 2}),
        ('sum(count_over_time({service=~".+"}[1m]))', {"{}": 7}),
        (
            'sum by (level, detected_level) (count_over_time({service="api"} | drop __error__[1m]))',
            {f'{{detected_level="{it}", level="{it}"}}': 1 for it in ("error", "info", "warn")},
        ),
        ('sum(rate({service="api"}[1m])) * 60', {"{}": 3}),
        ('sum(bytes_over_time({service="worker"}[1m]))', {"{}": 12}),
        ('sum by (status) (count_over_time({service="api"}[1m]))', {"{}": 1, '{status="200"}': 1, '{status="500"}': 1}),
        ('max_over_time({service="api"} | unwrap status [1m]) by (service)', {'{service="api"}': 500}),
        ('sum(sum_over_time({service="api"} | unwrap duration(duration) [1m]))', {"{}": 1.75}),
        ('max(max_over_time({service="api"} | unwrap bytes(size) [1m]))', {"{}": 12_000}),
        ('quantile_over_time(0.5, {service="api"} | unwrap status [1m]) by ()', {"{}": 350}),
        ('last_over_time({service="api"} | unwrap status [1m]) by ()', {"{}": 500}),
        ('absent_over_time({service="none", level=~".+"}[1m])', {'{service="none"}': 1}),
        ('absent_over_time({service="api"}[1m])', {}),
        ('sum by (service) (count_over_time({service=~".+"}[1m])) > 2', {'{service="api"}': 3}),
        ('sum by (service) (count_over_time({service=~".+"}[1m])) >= bool 2 == 0', {
            '{service="proxy"}': 0, '{service="worker"}': 0,
        }),
        ('topk(1, sum by (service) (count_over_time({service=~".+"}[1m])))', {'{service="api"}': 3}),
        ('bottomk(1, sum by (service) (count_over_time({service=~"api|nginx"}[1m])))', {'{service="nginx"}': 2}),
        ('sum(count_over_time({service="none"}[1m])) or vector(0)', {"{}": 0}),
        (
            'sum by (service) (count_over_time({level=~"warn|error"}[1m]))'
            ' / sum by (service) (count_over_time({level=~".+"}[1m]))',
            {'{service="api"}': pytest.approx(2 / 3)},
        ),
        ('sum(count_over_time({service="api"}[1m] offset 1h))', {}),
        ('sum(count_over_time({service="api"}[57s]))', {"{}": 1}),
    ],
)  # fmt: skip  # rows as they fit
async def test_series(query: str, series: dict[str, float]):
    assert await instant(query) == series


async def test_a_window_ends_with_its_step():
    """
    A line within the millisecond of a step comes after it: its place in the millisecond are nanoseconds.
    """
    lines = [line(10, "a"), line(20, "b")]
    async with LogqlEngine(FakeLineStore(lines)) as engine:
        result = await engine.range('sum(count_over_time({service="api"}[10s]))', AT, AT + 30_000, 10_000)
    assert matrix(result) == {"{}": {20: 1, 30: 1}}


async def test_counts_come_from_the_store_without_lines():
    store = FakeLineStore(LINES)
    async with LogqlEngine(store) as engine:
        for query in (
            'sum by (level) (count_over_time({service="api"} |= "GET" | drop __error__ [1m]))',
            'bytes_rate({service="api"} | level="warn" [1m])',
        ):
            await engine.range(query, AT, AT + HOUR, 60_000)
    assert (store.counted, store.selections) == (2, [])


async def test_a_search_yields_slices_as_it_goes():
    async with LogqlEngine(FakeLineStore([line(it, f"line {it}") for it in range(10)], slice_lines=3)) as engine:
        wanted = LineSearch(parse_log_query('{service="api"} | level="info"'), AT, AT + HOUR, 7)
        slices = [part async for part in engine.search(wanted)]
    assert [len(part.lines) for part in slices] == [3, 3, 1]
    assert [part.reached for part in slices] == [AT + 7_000, AT + 4_000, AT + 3_000]


async def test_a_search_goes_on_where_another_stopped():
    lines = [line(1, f"line {it}") for it in range(5)]
    first = await found('{service="api"}', lines, limit=2, direction=Direction.BACKWARD)
    rest = await found('{service="api"}', lines, direction=Direction.BACKWARD, before=first[-1].position)
    assert [it.text for it in (*first, *rest)] == [f"line {it}" for it in (4, 3, 2, 1, 0)]


async def test_a_search_that_nobody_waits_for_is_closed():
    store = FakeLineStore([line(it, "x") for it in range(1000)], slice_lines=1)
    async with LogqlEngine(store) as engine:
        slices = engine.search(LineSearch(parse_log_query('{service="api"}'), AT, AT + HOUR, 1000))
        await anext(slices)
        await slices.aclose()
    assert store.open_searches == 0


async def test_limits_are_kept():
    store = FakeLineStore([line(it, "x" * 100, facts={"id": it}) for it in range(50)])
    limits = LogqlLimits(lines=20, bytes=500, series=2, steps=10, samples=45)
    async with LogqlEngine(store, limits) as engine:
        query = parse_log_query('{service="api"}')
        with pytest.raises(BadQueryError, match=r"max entries limit per query exceeded, .*\(21 > 20\)"):
            await engine.lines(LineSearch(query, AT, AT + HOUR, 21))
        with pytest.raises(QueryError, match="more than 500 bytes"):
            await engine.lines(LineSearch(query, AT, AT + HOUR, 20))
        with pytest.raises(BadQueryError, match=r"maximum number of series \(2\) reached for a single query"):
            await engine.instant('sum by (id) (count_over_time({service="api"}[5s]))', AT + 5_000)
        with pytest.raises(BadQueryError, match="maximum number of series"):
            await engine.instant('count_over_time({service="api"} | json [20s])', AT + 20_000)
        with pytest.raises(QueryError, match="too many samples"):
            await engine.instant('sum_over_time({service="api"} | unwrap id [1m])', AT + 60_000)
        with pytest.raises(BadQueryError, match="exceeded maximum resolution of 10 points"):
            await engine.range("vector(1)", AT, AT + HOUR, 60_000)


async def test_a_slow_query_times_out():
    clock = iter(range(0, 1_000_000, 100))
    async with LogqlEngine(FakeLineStore(LINES), now=lambda: next(clock)) as engine:
        with pytest.raises(QueryTimeoutError):
            await engine.lines(LineSearch(parse_log_query('{service="api"}'), AT, AT + HOUR, 5))
        with pytest.raises(QueryTimeoutError):
            await engine.instant('count_over_time({service="api"}[1m])', AT)


async def test_a_closed_engine_runs_nothing():
    engine = LogqlEngine(FakeLineStore(LINES))
    await engine.close()
    with pytest.raises(QueryCanceledError):
        await engine.instant("vector(1)", AT)


async def test_an_error_of_the_store_is_raised():
    store = FakeLineStore(LINES)
    store.error = "logs: disk I/O error"
    async with LogqlEngine(store) as engine:
        with pytest.raises(StoreError):
            await engine.instant('count_over_time({service="api"}[1m])', AT)


# A second evaluator, as plain as can be: it keeps all lines and asks each for each window.


@dataclass(frozen=True)
class Part:
    """A stage as text, and what it does."""

    text: str
    keeps: Callable[[LogLine], bool]


MATCHERS = [
    Part('service=~".+"', lambda it: True),
    Part('service=~".+", level="error"', lambda it: it.level is LogLevel.ERROR),
    Part('service="a"', lambda it: it.service == "a"),
    Part('service!="a", level=~"info|error"', lambda it: it.service != "a"),
]
STAGES = [
    Part('|= "x"', lambda it: "x" in it.message),
    Part('!= "x"', lambda it: "x" not in it.message),
    Part('|~ "x.?y"', lambda it: bool(re.search("x.?y", it.message))),
    Part('!~ "^z"', lambda it: not it.message.startswith("z")),
    Part('| level="error"', lambda it: it.level is LogLevel.ERROR),
    Part("| n >= 2", lambda it: it.facts["n"] >= 2),
    Part('| n=~"[13]" or level="error"', lambda it: it.facts["n"] in {1, 3} or it.level is LogLevel.ERROR),
    Part("| json", lambda it: True),
    Part("| drop __error__ |= ``", lambda it: True),  # alone, `!=` after it would be a matcher of the label
]
FUNCTIONS: dict[str, Callable[[list[LogLine], float], float]] = {
    "count_over_time({} [{}])": lambda lines, seconds: len(lines),
    "rate({} [{}])": lambda lines, seconds: len(lines) / seconds,
    "bytes_over_time({} [{}])": lambda lines, seconds: sum(len(it.message.encode()) for it in lines),
    "sum_over_time({} | unwrap m [{}])": lambda lines, seconds: sum(it.facts["m"] for it in lines),
}
GROUPS: dict[str, Callable[[LogLine], dict[str, str]]] = {
    "sum by () ({})": lambda it: {},
    "sum by (level) ({})": lambda it: {"level": it.level.value},
    "sum by (service, n) ({})": lambda it: {"service": it.service, "n": str(it.facts["n"])},
}

random_lines = st.lists(
    st.builds(
        lambda at, level, message, service, n: LogLine(
            START + timedelta(milliseconds=at), level, message, service=service, facts={"n": n, "m": n + 0.5}
        ),
        st.integers(0, 120).map(lambda at: at * 500) | st.integers(0, 60_000),
        st.sampled_from([LogLevel.INFO, LogLevel.ERROR]),
        st.text("xyzé ", max_size=5),
        st.sampled_from("ab"),
        st.integers(0, 4),
    ),
    max_size=40,
)
pipelines = st.tuples(st.sampled_from(MATCHERS), st.lists(st.sampled_from(STAGES), max_size=4))


def kept(lines: Sequence[LogLine], pipeline: tuple[Part, list[Part]]) -> list[LogLine]:
    return [it for it in lines if pipeline[0].keeps(it) and all(stage.keeps(it) for stage in pipeline[1])]


def text_of(pipeline: tuple[Part, list[Part]]) -> str:
    return " ".join([f"{{{pipeline[0].text}}}", *(stage.text for stage in pipeline[1])])


@settings(deadline=None)
@given(random_lines, pipelines, st.integers(1, 50), st.sampled_from(list(Direction)))
def test_lines_are_those_of_a_plain_evaluator(lines, pipeline, limit, direction):
    async def run() -> list[LogLine]:
        async with LogqlEngine(FakeLineStore(lines, slice_lines=7)) as engine:
            wanted = LineSearch(parse_log_query(text_of(pipeline)), AT, AT + 60_001, limit, direction)
            return [it.stored.line for it in (await engine.lines(wanted)).lines]

    expected = sorted(kept(lines, pipeline), key=lambda it: it.at)
    if direction is Direction.BACKWARD:
        expected = expected[::-1]
    assert [it.at for it in asyncio.run(run())] == [it.at for it in expected[:limit]]
    if direction is Direction.FORWARD:
        assert asyncio.run(run()) == expected[:limit]


@settings(deadline=None)
@given(
    random_lines,
    pipelines,
    st.sampled_from(list(FUNCTIONS)),
    st.sampled_from(list(GROUPS)),
    st.sampled_from([1, 5, 10, 90]),
    st.sampled_from([1, 7, 30]),
    st.integers(0, 3),
)
def test_series_are_those_of_a_plain_evaluator(lines, pipeline, function, group, span, step, first):
    query = group.format(function.format(text_of(pipeline), f"{span}s"))
    start, end = AT + first * 777, AT + 60_000

    async def run() -> dict[str, dict[int, float]]:
        async with LogqlEngine(FakeLineStore(lines, slice_lines=7)) as engine:
            return matrix(await engine.range(query, start, end, step * 1000))

    expected: dict[str, dict[float, float]] = defaultdict(dict)
    for at in range(start, end + 1, step * 1000):
        groups: dict[str, list[LogLine]] = defaultdict(list)
        for it in kept(lines, pipeline):
            if at - span * 1000 <= milliseconds(it.at) < at:
                labels = ", ".join(f'{name}="{value}"' for name, value in sorted(GROUPS[group](it).items()))
                groups[f"{{{labels}}}"].append(it)
        for labels, members in groups.items():
            expected[labels][(at - AT) / 1000] = pytest.approx(FUNCTIONS[function](members, span))
    assert asyncio.run(run()) == expected


async def test_a_number_is_a_scalar():
    async with LogqlEngine(FakeLineStore()) as engine:
        assert (await engine.instant("1 + 1", AT)).type is ResultType.SCALAR
