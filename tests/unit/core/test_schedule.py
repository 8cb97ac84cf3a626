"""Cron schedules in a time zone."""

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from pydantic import TypeAdapter, ValidationError

from toban.core.schedule import Schedule, next_occurrence, occurrences

BERLIN = ZoneInfo("Europe/Berlin")


def test_an_occurrence_follows_local_time_and_is_returned_in_utc():
    winter = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert list(islice(occurrences("0 10 * * *", BERLIN, winter), 2)) == [
        datetime(2026, 3, 29, 8, tzinfo=UTC),
        datetime(2026, 3, 30, 8, tzinfo=UTC),
    ]


def test_a_local_time_that_occurs_twice_counts_once():
    before = datetime(2026, 10, 24, 23, tzinfo=UTC)
    first = next_occurrence("30 2 * * *", BERLIN, before)
    assert (next_occurrence("30 2 * * *", BERLIN, first) - first).total_seconds() > 20 * 3600


def test_an_invalid_schedule_is_rejected_with_the_remedy():
    read = TypeAdapter(Schedule).validate_python
    assert read("@daily") == "0 0 * * *"
    with pytest.raises(ValidationError, match=r"invalid cron schedule 'noon'.*write it like `0 3"):
        read("noon")
