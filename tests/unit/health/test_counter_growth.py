"""Exact increases of counters, also of those that begin, begin again, or stop."""

from datetime import UTC, datetime

import pytest

from tests.promql_scripts import ScriptSource
from toban.core.samples import milliseconds
from toban.health.counter_growth import read_growth, read_increase
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor

BEGIN = milliseconds(datetime(2026, 11, 20, tzinfo=UTC))
HOUR = 3_600_000


async def increase(series: str, *, start: int = -HOUR, hours: int = 24):
    source = ScriptSource()
    source.load(f"load 10m\n  {series}\n", start=BEGIN + start)
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await read_increase(engine, "c_total", ("of",), BEGIN, BEGIN + hours * HOUR)


@pytest.mark.parametrize(
    ("series", "due"),
    [
        ("c_total 100x6 107x144", 7),  # `increase` extrapolates
        ("c_total 100x6 107x100 3x44", 10),  # it began again at zero
        ("c_total _x40 0 5x109", 5),  # it is new: toban stores a zero before
        ("c_total _x40 900 905x109", 5),  # it was not known before
    ],
)
async def test_an_increase_is_exact(series: str, due: float):
    assert await increase(series) == {("",): due}


async def test_series_of_one_label_are_added_and_one_that_is_new_does_not_count_its_past():
    source = ScriptSource()
    script = """load 10m
  c_total{of="a", instance="1"} 10x150
  c_total{of="a", instance="2"} _x50 0 4x99
  c_total{of="b"} 1x20 2x130
"""
    source.load(script, start=BEGIN - HOUR)
    async with QueryExecutor(PromqlEngine(source)) as engine:
        found = await read_increase(engine, "c_total", ("of",), BEGIN, BEGIN + 24 * HOUR)
    assert found == {("a",): 4, ("b",): 1}


async def test_a_time_without_a_sample_of_the_last_six_hours_is_not_known():
    source = ScriptSource()
    source.load("load 1h\n  c_total 0 1 2 3\n", start=BEGIN)
    async with QueryExecutor(PromqlEngine(source)) as engine:
        times = [BEGIN + hour * HOUR for hour in (0, 2, 8, 9, 12)]
        assert await read_growth(engine, "c_total", (), times) == {(): [0, 2, 3, None, None]}
