"""The types of settings."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.config_types import format_duration, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1h30m", 5400), ("90d", 90 * 86400), ("500ms", 0.5), ("1w", 604800)]
)
def test_durations_are_parsed_as_prometheus_writes_them(text, seconds):
    """
    From milliseconds to years.
    """
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["15", "", "s", "-1s", "1.5h", "0s", "1x", 15, None, "1s ", "9999y"])
def test_an_invalid_duration_is_rejected_with_the_remedy(text):
    """
    A bare number could be anything.
    """
    with pytest.raises(ValueError, match="write it like 15s"):
        parse_duration(text)


@given(st.integers(1, 10**12))
def test_a_formatted_duration_is_parsed_again(milliseconds):
    """
    For every length down to the millisecond.
    """
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length


@pytest.mark.parametrize(("text", "amount"), [("2GB", 2 * 10**9), ("1.5 KiB", 1536), ("7B", 7), (42, 42)])
def test_sizes_are_parsed(text, amount):
    """
    In powers of ten and of two.
    """
    assert parse_size(text) == amount


@pytest.mark.parametrize("text", ["2", "2gb", "", "GB", 0, -1, True, "0B"])
def test_an_invalid_size_is_rejected_with_the_remedy(text):
    """
    Nought bytes are none.
    """
    with pytest.raises(ValueError, match="write it like 512MB"):
        parse_size(text)
