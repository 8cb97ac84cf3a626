"""When something that did not work is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from toban.core import backoff


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_the_delay_grows_to_a_maximum(tries, asked, chance):
    """
    Never under 0.75 s, never over an hour, and never sooner than asked within that hour.
    """
    pause = backoff.retry_delay(tries, asked, chance).total_seconds()

    assert 0.75 <= pause <= 3600
    assert pause >= min(asked or 0, 3600)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("1.5", 1.5),
        ("0", 0),
        ("-5", None),
        ("9" * 30, 1e9),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
    ],
)
def test_retry_after_has_seconds_or_a_date(said, seconds):
    """
    What is over already asks for nothing.
    """
    assert backoff.retry_after(said, FakeClock().now()) == seconds
