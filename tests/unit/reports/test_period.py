"""The time of a report."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.reports.period import Period, last_complete, span_of

TOKYO, BERLIN, LORD_HOWE = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")


def test_a_month_begins_and_ends_at_midnight_of_the_shop():
    span = span_of(Period.MONTH, date(2026, 11, 17), TOKYO)
    assert (span.first, span.last) == (date(2026, 11, 1), date(2026, 11, 30))
    assert span.begins == datetime(2026, 10, 31, 15, tzinfo=UTC)
    assert span.ends == datetime(2026, 11, 30, 15, tzinfo=UTC)


def test_the_last_complete_span_is_over_where_the_shop_is():
    now = datetime(2026, 11, 30, 16, tzinfo=UTC)  # 1 December in Tokyo, 30 November in Berlin
    assert last_complete(Period.MONTH, now, TOKYO).first == date(2026, 11, 1)
    assert last_complete(Period.MONTH, now, BERLIN).first == date(2026, 10, 1)
    assert last_complete(Period.DAY, now, TOKYO).first == date(2026, 11, 30)
    assert last_complete(Period.WEEK, now, BERLIN).first == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("zone", "day", "minutes"),
    [(BERLIN, date(2026, 3, 29), 1380), (BERLIN, date(2026, 10, 25), 1500), (LORD_HOWE, date(2026, 4, 5), 1470)],
)
def test_a_day_with_a_change_of_the_clock_has_other_minutes(zone: ZoneInfo, day: date, minutes: int):
    assert span_of(Period.DAY, day, zone).minutes == minutes


def test_a_year_before_are_the_same_weekdays_or_the_same_month():
    assert span_of(Period.DAY, date(2026, 11, 27), TOKYO).year_before().first == date(2025, 11, 28)
    leap = span_of(Period.MONTH, date(2028, 2, 29), TOKYO).year_before()
    assert (leap.first, leap.last) == (date(2027, 2, 1), date(2027, 2, 28))


@given(day=st.dates(date(2020, 1, 1), date(2035, 12, 31)), period=st.sampled_from(list(Period)))
def test_spans_follow_each_other_without_a_gap(day: date, period: Period):
    for zone in (TOKYO, BERLIN, LORD_HOWE):
        span = span_of(period, day, zone)
        assert span.first <= day <= span.last
        assert span.before().ends == span.begins
        assert span.minutes == sum(span_of(Period.DAY, it, zone).minutes for it in span.days)
        assert span_of(period, span.last, zone) == span
        assert span.year_before().begins < span.begins - timedelta(days=300)
