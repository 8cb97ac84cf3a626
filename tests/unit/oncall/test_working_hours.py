"""Days without work, and quiet hours outside working hours."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from tests.incident_timeline import policy
from toban.oncall.schedule_settings import ClosedDays
from toban.oncall.settings import OnCallSettings, Person, WorkingHours


@pytest.mark.parametrize(
    ("text", "closed", "opened"),
    [
        ("2026-08-10", ["2026-08-10"], ["2026-08-09", "2026-08-11", "2027-08-10"]),
        ("2026-08-10..2026-08-16", ["2026-08-10", "2026-08-13", "2026-08-16"], ["2026-08-17", "2027-08-12"]),
        ("12-29..01-03", ["2026-12-29", "2026-12-31", "2027-01-01", "2031-01-03"], ["2026-12-28", "2027-01-04"]),
        ("08-13 .. 08-15", ["2026-08-13", "2030-08-15"], ["2026-08-12", "2030-08-16"]),
        ("02-29", ["2028-02-29"], ["2027-02-28", "2027-03-01"]),
        ("12-31", ["2026-12-31", "2027-12-31"], ["2026-12-30"]),
    ],
)
def test_closed_days_are_dates_or_of_each_year(text, closed, opened):
    days = ClosedDays.parse(text)
    assert [it for it in [*closed, *opened] if date.fromisoformat(it) in days] == closed


@pytest.mark.parametrize(
    "text", ["13-01", "2026-02-30", "12-29..2027-01-03", "2026-08-16..2026-08-10", "", "x..y", "..12-31"]
)
def test_days_that_are_none_are_refused(text):
    with pytest.raises(ValidationError, match="invalid days"):
        WorkingHours.model_validate({"closed": [text]})


def test_a_day_needs_no_quotes():
    hours = WorkingHours.model_validate({"closed": [date(2026, 8, 10), "12-29..01-03"]})
    assert hours.closed == ("2026-08-10", "12-29..01-03")


ANN = {"channels": ["phone"], "timezone": "Asia/Tokyo"}


def quiet_until(quiet: object, priority: str, at: str) -> str:
    settings = {
        "people": {"ann": {**ANN, "quiet": quiet}},
        "holidays": "jp",
        "working_hours": {"from": "09:00", "to": "18:00", "closed": ["12-29..01-03"]},
    }
    OnCallSettings.model_validate(settings)
    tokyo = ZoneInfo("Asia/Tokyo")
    found = policy(settings).quiet_until("ann", priority, datetime.fromisoformat(at).replace(tzinfo=tokyo))
    return f"{found.astimezone(tokyo):%m-%d %H:%M}" if found else ""


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-03-04T12:00", ""),
        ("2026-03-04T18:00", "03-05 09:00"),
        ("2026-03-05T08:59", "03-05 09:00"),
        ("2026-03-06T20:00", "03-09 09:00"),  # a Friday
        ("2026-09-18T20:00", "09-24 09:00"),  # three holidays after the weekend
        ("2026-12-28T20:00", "01-04 09:00"),
    ],
)
def test_outside_hours_is_quiet_until_work_begins_on_the_clock_of_the_person(at, until):
    assert quiet_until("outside hours", "P3", at) == until
    assert quiet_until("outside hours", "P1", at) == ""


def test_each_priority_may_have_quiet_hours_of_its_own():
    quiet = [
        {"from": "22:00", "to": "07:00", "priorities": ["P2"]},
        {"when": "outside hours", "priorities": ["P3", "P4"]},
    ]
    assert quiet_until(quiet, "P2", "2026-03-04T20:00") == ""
    assert quiet_until(quiet, "P2", "2026-03-04T23:00") == "03-05 07:00"
    assert quiet_until(quiet, "P3", "2026-03-04T20:00") == "03-05 09:00"


def test_quiet_hours_that_follow_each_other_end_with_the_last_one():
    quiet = ["outside hours", {"from": "09:00", "to": "10:00"}]
    assert quiet_until(quiet, "P2", "2026-03-04T20:00") == "03-05 10:00"


@pytest.mark.parametrize("quiet", [{"from": "22:00"}, {}, {"when": "outside hours", "from": "22:00"}, "at night"])
def test_quiet_hours_without_a_time_are_refused(quiet):
    with pytest.raises(ValidationError):
        Person.model_validate({"quiet": quiet})


def test_deadlines_stand_still_on_closed_days():
    found = policy({"working_hours": {"closed": ["2026-03-05..2026-03-06"]}}).working_time("P3")
    assert found.resumes(datetime(2026, 3, 4, 20, tzinfo=UTC)) == datetime(2026, 3, 9, 9, tzinfo=UTC)
