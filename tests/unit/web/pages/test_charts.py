"""Charts that need no script."""

from datetime import UTC, datetime, timedelta

import pytest

from toban.charts.svg import sparkline
from toban.health.sales import SalesHour, UsualRange
from toban.web.pages.charts import SalesChart, ThresholdChart

MIDNIGHT = datetime(2026, 6, 15, tzinfo=UTC)


def test_a_sparkline_spans_its_values_and_breaks_where_one_is_missing():
    assert sparkline([0, 10, None, 5, 0]) == "M0.00 22.00L25.00 2.00M75.00 12.00L100.00 22.00"


@pytest.mark.parametrize("values", [[], [None, None], [1.0], [None, 1.0]])
def test_fewer_than_two_values_are_no_line(values):
    assert sparkline(values) == ""


def test_a_flat_line_is_in_the_middle():
    assert sparkline([3, 3]) == "M0.00 12.00L100.00 12.00"


def test_the_day_has_a_bar_for_each_hour_with_orders_and_a_band_of_what_is_usual():
    hours = [
        SalesHour(MIDNIGHT, 5, UsualRange(2, 4, 10)),
        SalesHour(MIDNIGHT + timedelta(hours=1), None, UsualRange(2, 4, 10)),
    ]
    chart = SalesChart.of(hours)
    assert chart.bars == [(hours[0], 6.25, 50, 37.5, 50)]
    assert chart.band == "M25.00 0.00L75.00 0.00L75.00 80.00L25.00 80.00Z"
    assert chart.highest == 10


def test_a_day_without_weeks_to_compare_with_has_no_band():
    chart = SalesChart.of([SalesHour(MIDNIGHT, 0, None)])
    assert (chart.band, chart.median, chart.highest) == ("", "", 1)


def test_a_value_is_drawn_with_its_limit_and_broken_where_samples_are_missing():
    begin = MIDNIGHT.timestamp() * 1000
    times = [round(begin + minute * 60_000) for minute in (0, 1, 2, 50, 51)]
    chart = ThresholdChart.of(
        times, [1, 2, 3, 9, 10], 5, MIDNIGHT, MIDNIGHT + timedelta(hours=1), MIDNIGHT + timedelta(minutes=50)
    )
    assert chart.path.count("M") == 2
    assert chart.limit_y == pytest.approx(100 - (5 - chart.lowest) / (chart.highest - chart.lowest) * 100)
    assert chart.begin_x == pytest.approx(50 / 60 * 100)
    assert (chart.last, chart.limit) == (10, 5)


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf")]])
def test_a_chart_without_a_number_is_empty(values):
    times = [round(MIDNIGHT.timestamp() * 1000)] * len(values)
    chart = ThresholdChart.of(times, values, float("inf"), MIDNIGHT, MIDNIGHT + timedelta(hours=1), MIDNIGHT)
    assert (chart.path, chart.limit_y) == ("", None)
