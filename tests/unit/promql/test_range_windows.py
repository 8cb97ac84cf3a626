"""Range functions over any data equal a plain loop over each series."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql_scripts import ScriptSource
from toban.core.labels import Labels
from toban.core.query_result import QueryResult
from toban.core.samples import STALE, is_stale
from toban.promql.engine import PromqlEngine

STEP, SPAN = 30_000, 120_000
Samples = list[tuple[int, float]]

values = st.one_of(
    st.integers(0, 50).map(float),
    st.floats(-1e3, 1e3, allow_nan=False),
    st.sampled_from([math.nan, STALE, math.inf, 0.0, 0.0]),
)
times = st.integers(-20, 40).map(lambda slot: slot * 15_000)
series = st.dictionaries(times, values, min_size=1, max_size=30).map(lambda found: sorted(found.items()))
shops = st.lists(series, min_size=1, max_size=20)


def source(found: list[Samples], *, shared: bool) -> ScriptSource:
    memory = ScriptSource(shared=shared)
    for number, samples in enumerate(found):
        memory.add(Labels(__name__="x_total", shop=str(number), even=str(number % 2)), samples)
    return memory


def table(answer: QueryResult) -> dict[tuple[str, int], float]:
    return {
        (str(points.labels), at): value
        for points in answer.series
        for at, value in zip(points.times.tolist(), points.values.tolist(), strict=True)
    }


def rate(window: Samples, end: int) -> float | None:
    """Prometheus' extrapolated rate, sample by sample."""
    if len(window) < 2:
        return None
    growth = window[-1][1] - window[0][1]
    for (_, before), (_, after) in pairwise(window):
        if after < before:
            growth += before
    sampled = (window[-1][0] - window[0][0]) / 1000
    between = sampled / (len(window) - 1)
    to_start, to_end = (window[0][0] - (end - SPAN)) / 1000, (end - window[-1][0]) / 1000
    if to_start >= between * 1.1:
        to_start = between / 2
    if growth > 0 and window[0][1] >= 0:
        to_start = min(to_start, sampled * (window[0][1] / growth))
    if to_end >= between * 1.1:
        to_end = between / 2
    return growth * (sampled + to_start + to_end) / sampled / (SPAN / 1000)


def highest(window: Samples, end: int) -> float | None:
    numbers = [value for _, value in window if not math.isnan(value)]
    return None if not window else max(numbers, default=math.nan)


def resets(window: Samples, end: int) -> float | None:
    fell = sum(after < before for (_, before), (_, after) in pairwise(window))
    return float(fell) if window else None


def count(window: Samples, end: int) -> float | None:
    return float(len(window)) or None


def last(window: Samples, end: int) -> float | None:
    return window[-1][1] if window else None


def mean(window: Samples, end: int) -> float | None:
    return None if not window else sum(value for _, value in window) / len(window)


def irate(window: Samples, end: int) -> float | None:
    if len(window) < 2:
        return None
    (before_at, before), (at, value) = window[-2:]
    return (value if value < before else value - before) / ((at - before_at) / 1000)


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize(
    ("function", "naive"),
    [
        ("rate", rate),
        ("irate", irate),
        ("max_over_time", highest),
        ("avg_over_time", mean),
        ("count_over_time", count),
        ("last_over_time", last),
        ("resets", resets),
    ],
)
@settings(max_examples=25)
@given(found=shops)
def test_range_functions_equal_a_plain_loop(
    found: list[Samples], function: str, naive: Callable[[Samples, int], float | None], shared: bool
):
    """
    Whatever is missing, ends, resets or is infinite, and however the series are grouped.
    """
    answer = PromqlEngine(source(found, shared=shared)).range(f"{function}(x_total[2m])", -120_000, 480_000, STEP)
    printed = {
        (points.labels["shop"], at): value
        for points in answer.series
        for at, value in zip(points.times.tolist(), points.values.tolist(), strict=True)
    }
    wanted = {}
    for number, samples in enumerate(found):
        alive = [(at, value) for at, value in samples if not is_stale(np.array([value]))[0]]
        for end in range(-120_000, 480_001, STEP):
            value = naive([(at, value) for at, value in alive if end - SPAN < at <= end], end)
            if value is not None:
                wanted[str(number), end] = value

    assert printed.keys() == wanted.keys()
    np.testing.assert_allclose(
        [printed[key] for key in wanted], list(wanted.values()), rtol=1e-9, atol=1e-9, equal_nan=True
    )


QUERIES = [
    "x_total",
    "x_total offset 1m",
    "x_total @ 60",
    "timestamp(x_total)",
    "sum by (even) (x_total)",
    "avg(x_total)",
    "stddev by (even) (x_total)",
    "quantile by (even) (0.3, x_total)",
    "topk by (even) (2, x_total)",
    "count_values('v', x_total > 5)",
    "deriv(x_total[2m])",
    "predict_linear(x_total[2m], 60)",
    "quantile_over_time(0.7, x_total[2m])",
    "stdvar_over_time(x_total[2m])",
    "sum_over_time(x_total[2m] @ end())",
    "max_over_time(rate(x_total[1m])[2m:30s])",
    "x_total / on (shop) x_total offset 30s",
    "x_total and on (even) (x_total > 20)",
    "absent(x_total{shop='0'})",
]


@pytest.mark.parametrize("query", QUERIES)
@settings(max_examples=15)
@given(found=shops)
def test_gaps_in_a_block_do_not_change_results(found: list[Samples], query: str):
    """
    How a store groups its series changes no answer.
    """
    apart = table(PromqlEngine(source(found, shared=False)).range(query, 0, 300_000, STEP))
    together = table(PromqlEngine(source(found, shared=True)).range(query, 0, 300_000, STEP))

    assert apart.keys() == together.keys()
    np.testing.assert_allclose(
        list(apart.values()), [together[key] for key in apart], rtol=1e-9, atol=1e-9, equal_nan=True
    )


@pytest.mark.parametrize("query", QUERIES)
@settings(max_examples=10)
@given(found=shops)
def test_a_range_query_equals_its_instant_queries(found: list[Samples], query: str):
    """
    Each step of a range says what the same question says at that time (``@ end()`` apart, which is another question).
    """
    query = query.replace("end()", "300")
    engine = PromqlEngine(source(found, shared=True))
    whole = table(engine.range(query, 0, 300_000, STEP))
    single = {}
    for at in range(0, 300_001, STEP):
        single.update(table(engine.instant(query, at)))

    assert whole.keys() == single.keys()
    np.testing.assert_allclose(
        list(whole.values()), [single[key] for key in whole], rtol=1e-9, atol=1e-9, equal_nan=True
    )
