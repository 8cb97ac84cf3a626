"""The engine's limits, result types and order."""

import threading
import tracemalloc
from datetime import timedelta

import pytest

from tests.promql_scripts import ScriptSource
from toban.core.errors import BadQueryError, QueryCanceledError, QueryError, QueryTimeoutError, SampleLimitError
from toban.core.query_result import ResultType
from toban.promql.engine import PromqlEngine
from toban.promql.parser import ParseError
from toban.promql.query_limits import QueryLimits


@pytest.fixture
def source() -> ScriptSource:
    memory = ScriptSource()
    memory.load('load 15s\n  x{a="2"} 1+1x40\n  x{a="1"} 1+1x40\n  y 1 stale')
    return memory


def test_every_result_has_its_type(source: ScriptSource):
    """
    Vector, scalar, string, and a range with the samples' own times, without the marker for "ended".
    """
    engine = PromqlEngine(source)
    vector = engine.instant("x", 31_000)
    assert vector.type is ResultType.VECTOR
    assert [(str(points.labels), points.times.tolist(), points.last) for points in vector.series] == [
        ('x{a="1"}', [31_000], 3.0),
        ('x{a="2"}', [31_000], 3.0),
    ]
    scalar = engine.instant("1 + 1", 31_000)
    assert (scalar.type, scalar.series[0].last, scalar.series[0].times.tolist()) == (ResultType.SCALAR, 2.0, [31_000])
    assert engine.instant('"hello"', 0).text == "hello"

    matrix = engine.instant("y[1m]", 31_000)
    assert matrix.type is ResultType.MATRIX
    assert [(points.times.tolist(), points.values.tolist()) for points in matrix.series] == [([0], [1.0])]


def test_a_range_is_a_matrix_in_the_order_of_labels(source: ScriptSource):
    """
    Both ends are in it, and a scalar is a series without labels.
    """
    engine = PromqlEngine(source)
    answer = engine.range("topk(2, x)", 0, 60_000, 30_000)
    assert answer.type is ResultType.MATRIX
    assert [str(points.labels) for points in answer.series] == ['x{a="1"}', 'x{a="2"}']
    assert answer.series[0].times.tolist() == [0, 30_000, 60_000]
    assert engine.range("time()", 0, 60_000, 30_000).series[0].values.tolist() == [0.0, 30.0, 60.0]


@pytest.mark.parametrize("query", ["x[5m]", "x[5m:1m]", '"hello"'])
def test_a_range_query_of_a_matrix_is_an_error(source: ScriptSource, query: str):
    """
    In Prometheus' words.
    """
    with pytest.raises(ParseError, match="for range query, must be Scalar or instant Vector"):
        PromqlEngine(source).range(query, 0, 60_000, 30_000)


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        (0, 11_001_000, 1_000, "exceeded maximum resolution of 11,000 points per timeseries"),
        (0, 10, 0, "zero or negative query resolution step widths are not accepted"),
        (10, 0, 1, "end timestamp must not be before start time"),
    ],
)
def test_an_invalid_step_grid_is_an_error(source: ScriptSource, start: int, end: int, step: int, message: str):
    """
    Too many steps, no step, or an end before the start.
    """
    with pytest.raises(BadQueryError, match=message):
        PromqlEngine(source).range("x", start, end, step)


def test_too_many_samples_are_an_error(source: ScriptSource):
    """
    Those that are read count, and those that a subquery makes.
    """
    engine = PromqlEngine(source, QueryLimits(samples=50))
    assert engine.instant("x", 600_000).samples <= 50
    with pytest.raises(QueryError, match="too many samples"):
        engine.instant("rate(x[10m])", 600_000)
    with pytest.raises(QueryError, match="too many samples"):
        engine.instant("max_over_time(vector(1)[1h:1s])", 600_000)


def test_a_query_stops_at_its_deadline(source: ScriptSource):
    """
    Its own time limit or what the asker gave it, whichever is earlier.
    """
    ticks = iter(range(1000))
    engine = PromqlEngine(source, QueryLimits(time=timedelta(seconds=5)), now=lambda: float(next(ticks)))
    with pytest.raises(QueryTimeoutError):
        engine.range("sum(rate(x[5m])) / sum(rate(x[5m]))", 0, 600_000, 15_000)
    with pytest.raises(QueryTimeoutError):
        PromqlEngine(source).instant("x", 0, deadline=0.0)


def test_a_canceled_query_stops(source: ScriptSource):
    """
    Whoever set the flag, and whenever.
    """
    canceled = threading.Event()
    canceled.set()
    with pytest.raises(QueryCanceledError):
        PromqlEngine(source).instant("x", 0, canceled=canceled)


def test_the_lookback_can_be_another(source: ScriptSource):
    """
    A sample as old as the lookback no longer counts.
    """
    engine = PromqlEngine(source, lookback=timedelta(seconds=30))
    assert len(engine.instant("x", 600_000 + 29_999).series) == 2
    assert not engine.instant("x", 600_000 + 30_000).series


@pytest.mark.parametrize(
    "query",
    [
        "x",
        "sum(rate(x[5m]))",
        "x @ end()",
        "max_over_time(rate(x[1m])[10m:45s])",
        "topk(1, x)",
        "x offset -1h",
        "time()",
    ],
)
def test_a_range_query_in_slices_has_the_same_result(source: ScriptSource, query: str, monkeypatch: pytest.MonkeyPatch):
    """
    Each step stands for itself, so where a range is cut shows nowhere.
    """
    whole = PromqlEngine(source).range(query, 0, 900_000, 5_000)
    monkeypatch.setattr("toban.promql.engine._SLICE_STEPS", 7)
    slices = PromqlEngine(source).range(query, 0, 900_000, 5_000)

    assert [points.labels for points in slices.series] == [points.labels for points in whole.series]
    for ours, theirs in zip(slices.series, whole.series, strict=True):
        assert ours.times.tolist() == theirs.times.tolist()
        assert ours.values.tolist() == theirs.values.tolist()


def test_the_sample_limit_applies_to_each_slice(source: ScriptSource, monkeypatch: pytest.MonkeyPatch):
    """
    A range that is too large at once is answered piece by piece, if its answer is small enough.
    """
    monkeypatch.setattr("toban.promql.engine._SLICE_STEPS", 10)
    engine = PromqlEngine(source, QueryLimits(samples=1_200))
    answer = engine.range("sum(x)", 0, 600_000, 2_000)
    assert answer.samples > 1_200
    with pytest.raises(QueryError, match="too many samples"):
        engine.range("x + 1", 0, 600_000, 1_000)


@pytest.mark.parametrize(
    "query",
    [
        "x[1y:100ms]",
        "last_over_time(vector(1)[290y:1ms])",
        "absent_over_time(z[1y:1s])",
        "max_over_time(sum by (a) (x)[3y:15s])",
        'last_over_time(count_values("v", x)[3y:15s])',
    ],
)
def test_limits_are_checked_before_memory_is_allocated(source: ScriptSource, query: str):
    """
    The steps of a subquery are made of nothing but the query: a handful of characters could ask for gigabytes.
    """
    tracemalloc.start()
    try:
        with pytest.raises(SampleLimitError, match="too many samples"):
            PromqlEngine(source).instant(query, 31_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_label_values_from_samples_count_as_series(source: ScriptSource):
    """
    Each is a series of its own at every step.
    """
    with pytest.raises(SampleLimitError):
        PromqlEngine(source, QueryLimits(samples=3_000)).range('count_values("v", x)', 0, 600_000, 15_000)


@pytest.mark.parametrize(
    "function", ['label_join({}, "b", "", "b", "b", "a")', 'label_replace({}, "b", "${{1}}${{1}}x", "b", "(.*)")']
)
def test_a_label_that_grows_exponentially_is_an_error(source: ScriptSource, function: str):
    """
    Thirty functions inside each other would make a text of gigabytes.
    """
    query = "x"
    for _ in range(40):
        query = function.format(query)

    with pytest.raises(QueryError, match="the value of label 'b' would be longer than"):
        PromqlEngine(source).instant(query, 31_000)


def test_a_long_query_is_not_cached(source: ScriptSource):
    """
    A thousand of them would be as much memory as the numbers.
    """
    engine = PromqlEngine(source)

    assert engine.parse("x") is engine.parse("x")
    assert engine.parse("x" * 5_000) is not engine.parse("x" * 5_000)
