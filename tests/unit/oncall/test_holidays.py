"""Holidays: those of Japan against an independent library."""

from datetime import date, timedelta

import jpholiday
import pytest
from pydantic import ValidationError

from tests.incident_timeline import Night, policy
from toban.oncall.holiday_calendar import holiday_calendar
from toban.oncall.settings import OnCallSettings


@pytest.mark.parametrize("year", range(2020, 2036))
def test_japanese_holidays_are_those_that_an_independent_library_knows(year):
    is_holiday = holiday_calendar("jp")
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365 + (year % 4 == 0))]
    assert [day for day in days if is_holiday(day)] == [day for day in days if jpholiday.is_holiday(day)]


def test_holidays_of_other_countries_are_those_of_the_library():
    bavaria, germany = holiday_calendar("de-BY"), holiday_calendar("de")
    assert bavaria(date(2026, 1, 6))
    assert not germany(date(2026, 1, 6))
    assert germany(date(2026, 10, 3))
    assert not holiday_calendar("")(date(2026, 1, 1))


@pytest.mark.parametrize("country", ["xx", "de-XX", "japan"])
def test_an_unknown_country_is_refused(country):
    with pytest.raises(ValidationError, match=f"unknown country '{country}'"):
        OnCallSettings.model_validate({"holidays": country})


def test_a_p3_of_friday_evening_before_a_holiday_waits_until_tuesday_morning():
    on_call = {
        "people": {"ann": {"channels": ["phone"], "timezone": "Asia/Tokyo"}},
        "holidays": "jp",
        "working_hours": {"days": "mon-fri", "from": "09:00", "to": "18:00"},
    }
    found = policy(on_call, zone="Asia/Tokyo")
    hours = found.working_time("P3")
    friday = Night(found).at("63d 9:00").now  # 2026-05-06 is a holiday (振替休日), and so are 05-03 to 05-05
    assert friday.astimezone(found.zone).strftime("%m-%d %H:%M") == "05-06 18:00"
    assert hours.resumes(friday).astimezone(found.zone).strftime("%a %m-%d %H:%M") == "Thu 05-07 09:00"
    friday = friday.replace(month=1, day=9)
    assert hours.resumes(friday).astimezone(found.zone).strftime("%a %m-%d %H:%M") == "Tue 01-13 09:00"
