"""Time ranges in Grafana's grammar."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.dashboards.time_range import TimeRangeError, parse_range, parse_time

NOW = datetime(2026, 11, 29, 12, 34, 56, tzinfo=UTC)
TOKYO, BERLIN = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "begin", "end"),
    [
        ("now", TOKYO, "2026-11-29T21:34:56+09:00", "2026-11-29T21:34:56+09:00"),
        ("now-6h", TOKYO, "2026-11-29T15:34:56+09:00", "2026-11-29T15:34:56+09:00"),
        ("now/d", TOKYO, "2026-11-29T00:00:00+09:00", "2026-11-30T00:00:00+09:00"),
        ("now-1d/d", TOKYO, "2026-11-28T00:00:00+09:00", "2026-11-29T00:00:00+09:00"),
        ("now/d+8h", TOKYO, "2026-11-29T08:00:00+09:00", "2026-11-30T08:00:00+09:00"),
        ("now-1d+2h", TOKYO, "2026-11-28T23:34:56+09:00", "2026-11-28T23:34:56+09:00"),
        ("now/w", TOKYO, "2026-11-23T00:00:00+09:00", "2026-11-30T00:00:00+09:00"),
        ("now-1M/M", TOKYO, "2026-10-01T00:00:00+09:00", "2026-11-01T00:00:00+09:00"),
        ("now/Q", TOKYO, "2026-10-01T00:00:00+09:00", "2027-01-01T00:00:00+09:00"),
        ("now/y", TOKYO, "2026-01-01T00:00:00+09:00", "2027-01-01T00:00:00+09:00"),
        ("now/h", TOKYO, "2026-11-29T21:00:00+09:00", "2026-11-29T22:00:00+09:00"),
        ("1764419696000", TOKYO, "2025-11-29T12:34:56+00:00", "2025-11-29T12:34:56+00:00"),
        ("2026-11-29T18:00", TOKYO, "2026-11-29T18:00:00+09:00", "2026-11-29T18:00:00+09:00"),
        ("2026-11-29T18:00:00Z", TOKYO, "2026-11-29T18:00:00+00:00", "2026-11-29T18:00:00+00:00"),
        ("now-35d/d", BERLIN, "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
    ],
)
def test_a_time_is_rounded_down_at_the_begin_and_up_at_the_end(text, zone, begin, end):
    """
    In the zone of the reader: a day in October has 25 hours in Berlin.
    """
    assert parse_time(text, NOW, zone) == datetime.fromisoformat(begin)
    assert parse_time(text, NOW, zone, is_end=True) == datetime.fromisoformat(end)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "now-6", "now-6x", "now/", "now - 6h", "2026-13-01", "9" * 17, "12", "now" + "-1d" * 20]
)
def test_what_is_no_time_is_refused_with_an_example(text):
    """
    And not longer than it must be.
    """
    with pytest.raises(TimeRangeError, match="write it like now-6h"):
        parse_time(text, NOW, TOKYO)


@given(st.text(alphabet="now-+/0123456789smhdwMQyTZ: ", max_size=30))
def test_no_text_is_more_than_refused(text):
    """
    Whatever its numbers.
    """
    with suppress(TimeRangeError):
        assert parse_time(text, NOW, BERLIN, is_end=True).tzinfo is UTC


def test_the_step_has_as_many_points_as_fit():
    """
    One of a few lengths, so that points of neighbouring ranges lie on the same grid.
    """
    steps = {text: parse_range(text, "now", NOW, TOKYO, 400).step for text in ("now-5m", "now-6h", "now-7d", "now-90d")}
    assert steps == {
        "now-5m": timedelta(seconds=15),
        "now-6h": timedelta(minutes=1),
        "now-7d": timedelta(minutes=30),
        "now-90d": timedelta(hours=6),
    }


@pytest.mark.parametrize(
    ("begin", "end", "message"), [("now", "now-1h", "before it begins"), ("now-50y", "now", "longer than")]
)
def test_a_range_that_is_none_is_refused(begin, end, message):
    """
    As is one that nobody keeps.
    """
    with pytest.raises(TimeRangeError, match=message):
        parse_range(begin, end, NOW, TOKYO, 400)
