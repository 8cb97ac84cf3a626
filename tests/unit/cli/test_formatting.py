"""Formatting of results in a terminal."""

import math

from hypothesis import given
from hypothesis import strategies as st

from toban.cli.formatting import BLOCKS, align_columns, format_result, sparkline


@given(st.lists(st.floats(), max_size=300), st.integers(1, 80))
def test_a_trend_fits_its_width_for_any_values(numbers, width):
    """
    One sign a number, or as many as fit; only blocks and gaps.
    """
    drawn = sparkline(numbers, width)

    assert len(drawn) == min(len(numbers), width)
    assert set(drawn) <= set(BLOCKS + " ")


def test_a_trend_scales_from_minimum_to_maximum():
    """
    What is no number is a gap, and a flat line is low.
    """
    assert sparkline([0, math.nan, 8]) == "▁ █"
    assert sparkline([5, 5]) == "▁▁"


def test_a_short_peak_is_kept_in_a_narrow_trend():
    """
    It is what one looks for.
    """
    assert "█" in sparkline([0] * 500 + [9] + [0] * 500, 20)


def test_columns_are_aligned_in_japanese():
    """
    A sign of it takes two places.
    """
    assert align_columns([("当番", "x"), ("a", "y")]) == ["当番  x", "a     y"]
    assert align_columns([]) == []


def test_an_empty_result_is_shown_as_such():
    """
    Rather than nothing at all.
    """
    assert format_result({"data": {"resultType": "vector", "result": []}}).startswith("no series")
