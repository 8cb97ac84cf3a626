"""How good rules are, by their firings."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from toban.core.labels import Labels
from toban.review.alert_review import month_span
from toban.review.firing import Firing, FiringAct
from toban.review.quality import Spread, quality

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def firing(at, length=10, **changes):
    """Return a firing that began some minutes after noon in Tokyo."""
    fired = NOW + at * MINUTE
    one = Firing(
        "down", "a", Labels(alertname="down", severity="warning"), fired, fired, "2026-03", fired + length * MINUTE
    )
    return replace(one, **changes)


def of(*firings):
    return quality("down", firings, NOW + timedelta(days=1), TOKYO)


def acted(it):
    return replace(it, acts=(FiringAct("note", it.fired, "ann"),))


def test_an_acknowledgement_is_no_act():
    seen = [firing(60 * it, acknowledged=NOW) for it in range(5)]
    assert (of(*seen).precision, of(*seen).faults) == (0, ["ignored"])
    assert of(*map(acted, seen)).faults == []


def test_with_few_firings_nothing_is_judged():
    found = of(*[firing(60 * it, 1) for it in range(4)])
    assert (found.precision, found.faults, found.useless) == (None, (), 4)


def test_more_is_expected_of_rules_that_page():
    """
    Of ten, six were acted on: enough for a rule that only sends messages.
    """
    some = [acted(firing(60 * it)) if it < 6 else firing(60 * it) for it in range(10)]
    assert of(*some).faults == []
    assert of(*[replace(it, pages=1) for it in some]).faults == ["ignored"]


def test_flapping_is_firing_again_within_half_an_hour_of_the_same_alert():
    again = [acted(firing(30 * it, 10)) for it in range(6)]
    assert (of(*again).refired, of(*again).faults) == (5, ["flapping"])
    others = [replace(it, fingerprint=str(place)) for place, it in enumerate(again)]
    assert (of(*others).refired, of(*others).alerts) == (0, 6)


def test_hours_are_those_of_the_shop():
    """
    22:30 in Tokyo is night, and 13:30 in UTC.
    """
    found = of(firing(0), firing(630))
    assert (found.hours[12], found.hours[22], found.at_night) == (1, 1, 1)


def test_what_still_fires_counts_until_now_and_has_no_time_to_resolve():
    found = of(firing(0, ended=None), firing(600, 30))
    assert found.firing_time == timedelta(days=1, minutes=30)
    assert found.to_resolve == Spread(30 * MINUTE, 30 * MINUTE)


def test_an_end_by_a_removed_rule_is_no_resolution():
    assert of(firing(0, why="its rule was removed or renamed")).to_resolve is None


@pytest.mark.parametrize(
    ("minutes", "expected"), [([], None), ([5], (5, 5)), ([1, 2, 3, 100], (2.5, 100)), (range(1, 11), (5.5, 10))]
)
def test_a_spread_is_the_median_and_what_nine_of_ten_do_not_exceed(minutes, expected):
    found = Spread.of(it * MINUTE for it in minutes)
    assert found == (None if expected is None else Spread(*(it * MINUTE for it in expected)))


def test_a_month_is_that_of_the_shop_also_where_clocks_change():
    begins, ends = month_span("2026-03", ZoneInfo("Europe/Berlin"))
    assert (begins, ends) == (datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))
    assert month_span("2026-12", TOKYO)[1] == datetime(2026, 12, 31, 15, tzinfo=UTC)
