"""The days of a component on the status page."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from toban.status_page.history import DAYS, availability, component_days
from toban.status_page.posts import PostStatus, PostUpdate, StatusPost

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TOKYO, BERLIN = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")


def post(begins_ago, lasts=None, components=("Shop",)):
    """A post that began some hours before now, and is resolved after some, or open."""
    begin = NOW - timedelta(hours=begins_ago)
    updates = [PostUpdate(begin, PostStatus.INVESTIGATING, "We look into it.")]
    if lasts is not None:
        updates.append(PostUpdate(begin + timedelta(hours=lasts), PostStatus.RESOLVED, "Over."))
    return StatusPost("x", "Slow", components, tuple(updates))


def hours(posts, zone=UTC, component="Shop", now=NOW):
    """The disturbed hours of the days that have some, by date."""
    days = component_days(posts, component, now, zone)
    return {it.date.isoformat(): it.disturbed / timedelta(hours=1) for it in days if it.disturbed}


def test_there_are_ninety_days_and_the_last_is_today():
    days = component_days([], "Shop", NOW, UTC)
    assert (len(days), days[0].date.isoformat(), days[-1].date.isoformat()) == (DAYS, "2026-08-28", "2026-11-25")
    assert (days[0].length, days[-1].length) == (timedelta(days=1), timedelta(hours=12))
    assert availability(days) == 1


@pytest.mark.parametrize(
    ("posts", "found"),
    [
        ([post(3)], {"2026-11-25": 3}),
        ([post(3, 1)], {"2026-11-25": 1}),
        ([post(14, 4)], {"2026-11-24": 2, "2026-11-25": 2}),
        ([post(5, 2), post(4, 2)], {"2026-11-25": 3}),
        ([post(5, 4), post(4, 1)], {"2026-11-25": 4}),
        ([post(5, 1), post(3, 1)], {"2026-11-25": 2}),
        ([post(3, components=("Payment",))], {}),
        ([post(24 * 100, 24 * 10 + 24)], {"2026-08-28": 12}),
    ],
)
def test_a_day_is_disturbed_as_long_as_a_post_names_the_component(posts, found):
    """
    Over midnight, and once where several do.
    """
    assert hours(posts) == found


def test_days_begin_in_the_reader_s_zone():
    assert hours([post(14, 4)], TOKYO) == {"2026-11-25": 4}


def test_a_day_has_as_many_hours_as_its_clocks_say():
    """
    On 2026-10-25 clocks in Berlin are set back.
    """
    now = datetime(2026, 10, 26, 22, 59, tzinfo=UTC)
    days = {it.date.isoformat(): it for it in component_days([], "Shop", now, BERLIN)}
    assert days["2026-10-25"].length == timedelta(hours=25)
    ago = (NOW - datetime(2026, 10, 24, 20, tzinfo=UTC)) / timedelta(hours=1)
    whole = hours([post(ago, 30)], BERLIN, now=now)
    assert whole == {"2026-10-24": 2, "2026-10-25": 25, "2026-10-26": 3}


def test_availability_is_the_share_of_time_without_a_problem():
    days = component_days([post(3)], "Shop", NOW, UTC)
    assert availability(days) == pytest.approx(1 - 3 / (89 * 24 + 12))
