"""Formatting of results in a terminal."""

from toban.cli.formatting import format_result
from toban.core.terminal_columns import align_columns


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
