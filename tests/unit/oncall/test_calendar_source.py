"""Calendars as real servers write them; each trap of the libraries is one case."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest

from toban.oncall.calendar_feed import calendar_feed
from toban.oncall.calendar_source import CalendarError, CalendarShifts, read_calendar
from toban.oncall.rotation import Shift
from toban.oncall.schedule import FixedShifts, Schedule
from toban.oncall.settings import Person

BERLIN = ZoneInfo("Europe/Berlin")
PEOPLE = {
    "ann": Person(name="Ann Marie", email="ann@shop.example"),
    "hana": Person(name="花"),
    "ben": Person(),
}
START, END = datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 4, 10, tzinfo=UTC)


def event(*lines: str, uid: str = "1", who: str = "ann") -> str:
    summary = [f"SUMMARY:{who}"] if who else []
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260101T000000Z", *summary, *lines, "END:VEVENT", ""])


def calendar(*events: str, head: str = "") -> str:
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x\r\n{head}{''.join(events)}END:VCALENDAR\r\n"


def read(*events: str, head: str = "", zone: ZoneInfo = BERLIN) -> CalendarShifts:
    return read_calendar(calendar(*events, head=head), PEOPLE, zone, START, END)


def said(found: CalendarShifts) -> list[str]:
    return [f"{it.start:%d %H:%M}-{it.end:%d %H:%M} {'+'.join(it.people)}" for it in found.shifts]


BERLIN_DAY = ("DTSTART;TZID=Europe/Berlin:20260328T090000", "DTEND;TZID=Europe/Berlin:20260329T090000")


def test_recurring_shifts_keep_the_wall_clock_over_a_clock_change():
    assert said(read(event(*BERLIN_DAY, "RRULE:FREQ=WEEKLY;COUNT=2"))) == [
        "28 08:00-29 07:00 ann",
        "04 07:00-05 07:00 ann",
    ]


def test_a_duration_in_days_is_of_the_wall_clock_and_one_in_hours_is_exact():
    start = "DTSTART;TZID=Europe/Berlin:20260328T090000"
    assert said(read(event(start, "DURATION:P1D"))) == ["28 08:00-29 07:00 ann"]
    assert said(read(event(start, "DURATION:PT24H"))) == ["28 08:00-29 08:00 ann"]


def test_exceptions_and_moved_occurrences():
    daily = event(
        "DTSTART;TZID=Europe/Berlin:20260323T090000",
        "DTEND;TZID=Europe/Berlin:20260323T100000",
        "RRULE:FREQ=DAILY;UNTIL=20260326T080000Z",
        "EXDATE;TZID=Europe/Berlin:20260324T090000",
    )
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20260325T090000",
        "DTSTART;TZID=Europe/Berlin:20260325T120000",
        "DTEND;TZID=Europe/Berlin:20260325T130000",
        "SEQUENCE:1",
    )
    assert said(read(daily, moved)) == ["23 08:00-23 09:00 ann", "25 11:00-25 12:00 ann", "26 08:00-26 09:00 ann"]


def test_zones_of_windows_are_known():
    zone = "W. Europe Standard Time"
    found = read(
        event(f"DTSTART;TZID={zone}:20260328T090000", f"DTEND;TZID={zone}:20260328T100000"), zone=ZoneInfo("Asia/Tokyo")
    )
    assert said(found) == ["28 08:00-28 09:00 ann"]


@pytest.mark.parametrize(("start", "end"), [("0215", "0245"), ("0230", "0330")])
def test_a_shift_that_clocks_are_set_forward_over_has_its_length(start, end):
    zone = "TZID=Europe/Berlin"
    found = read(event(f"DTSTART;{zone}:20260329T{start}00", f"DTEND;{zone}:20260329T{end}00"))
    assert said(found) == ["29 01:00-29 01:30 ann"]


def test_what_is_cancelled_is_no_shift():
    assert said(read(event(*BERLIN_DAY, "STATUS:CANCELLED"))) == []


def test_whole_days_are_of_the_schedules_zone():
    whole = event("DTSTART;VALUE=DATE:20260328", "DTEND;VALUE=DATE:20260330")
    assert said(read(whole)) == ["27 23:00-29 22:00 ann"]
    assert said(read(event("DTSTART;VALUE=DATE:20260328"))) == ["27 23:00-28 23:00 ann"]


def test_a_time_without_a_zone_is_of_the_calendars_zone_or_the_schedules():
    floating = event("DTSTART:20260328T090000", "DTEND:20260328T100000")
    assert said(read(floating)) == ["28 08:00-28 09:00 ann"]
    assert said(read(floating, head="X-WR-TIMEZONE:Asia/Tokyo\r\n")) == ["28 00:00-28 01:00 ann"]


def test_an_unknown_zone_is_taken_for_the_schedules_with_a_warning():
    unknown = event("DTSTART;TZID=Nowhere/City:20260328T090000", "DTEND;TZID=Nowhere/City:20260328T100000")
    for head in ("", "X-WR-TIMEZONE:Asia/Tokyo\r\n"):
        found = read(unknown, head=head)
        assert said(found) == ["28 08:00-28 09:00 ann"]
        assert found.warnings == ("unknown time zone 'Nowhere/City': Europe/Berlin is used",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (calendar(event(*BERLIN_DAY, "RRULE:FREQ=SECONDLY")), "recurs SECONDLY"),
        (calendar(event(*BERLIN_DAY, "RRULE:FREQ=MINUTELY")), "recurs MINUTELY"),
        (calendar(event(*BERLIN_DAY, "RRULE:FREQ=DAILY;BYMINUTE=1,2")), "at most once an hour"),
        (
            calendar(*(event("DTSTART:19700101T000000Z", "RRULE:FREQ=HOURLY", uid=str(it)) for it in range(3))),
            "recur more than",
        ),
        (calendar(*(event(*BERLIN_DAY, uid=str(it)) for it in range(5_001))), "5001 events"),
        ("<!doctype html><html><body>Log in</body></html>", "no valid iCalendar"),
        ("", "no valid iCalendar"),
        ("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", "no valid iCalendar"),
    ],
)
def test_what_is_too_much_or_no_calendar_is_refused(content, message):
    with pytest.raises(CalendarError, match=message):
        read_calendar(content, PEOPLE, BERLIN, START, END)


def test_a_broken_event_is_left_out_with_a_warning():
    found = read(event("DTSTART:zzz"), event(*BERLIN_DAY, uid="2"))
    assert said(found) == ["28 08:00-29 07:00 ann"]
    assert found.warnings == ("event 'ann' has no valid DTSTART",)


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        (("SUMMARY:ANN",), "ann"),
        (("SUMMARY:On call: Ann Marie",), "ann"),
        (("SUMMARY:当番 花さん",), "hana"),
        (("SUMMARY:ben\\, ann",), "ben+ann"),
        (("SUMMARY:On call", "DESCRIPTION:ann@shop.example"), "ann"),
        (("SUMMARY:On call", "ATTENDEE;CN=A:mailto:ANN@shop.example"), "ann"),
        (("SUMMARY:On call", "ATTENDEE:mailto:x@shop.example", "ATTENDEE:MAILTO:ann@shop.example"), "ann"),
        (("SUMMARY:ben", "DESCRIPTION:ann"), "ben"),
    ],
)
def test_people_are_named_in_the_summary_else_the_description_else_the_attendees(lines, who):
    assert [it.split()[-1] for it in said(read(event(*BERLIN_DAY, *lines, who="")))] == [who]


@pytest.mark.parametrize("summary", ["annual party", "joanna", "ann@other.example", "benjamin"])
def test_a_part_of_another_word_is_no_name(summary):
    found = read(event(*BERLIN_DAY, who=summary))
    assert said(found) == []
    assert found.warnings == (f"{summary!r} on 2026-03-28 names nobody of on_call.people",)


def test_a_higher_level_is_above_a_lower_one():
    low, high = event(*BERLIN_DAY), event("DTSTART:20260328T120000Z", "DTEND:20260328T130000Z", uid="2", who="[L2] ben")
    assert said(read(low, high)) == ["28 08:00-28 12:00 ann", "28 12:00-28 13:00 ben", "28 13:00-29 07:00 ann"]


def test_a_feed_is_read_back_as_the_shifts_that_it_was_written_from():
    now = datetime(2026, 3, 25, tzinfo=UTC)
    times = [now + timedelta(days=number) for number in (-30, -10, 3, 5, 170, 190)]
    shifts = (
        Shift(times[0], times[1], ("ann",)),
        Shift(times[1], times[2], ("ann", "ben")),
        Shift(times[2], times[3], ("ben",)),
        Shift(times[4], times[5], ("ann",)),
    )
    schedule = Schedule((FixedShifts("", shifts),), (), frozenset(PEOPLE))
    feed = calendar_feed(schedule, "ann", "Ann; Marie, " + "花" * 60, now)
    found = icalendar.Calendar.from_ical(feed)
    assert found.walk("VEVENT")[0]["SUMMARY"] == "On call: Ann; Marie, " + "花" * 60
    spans = [(it["DTSTART"].dt, it["DTEND"].dt) for it in found.walk("VEVENT")]
    assert spans == [(datetime(2026, 3, 1, tzinfo=UTC), times[2]), (times[4], now + timedelta(days=180))]
    assert max(len(line.encode()) for line in feed.split("\r\n")) <= 75
    again = icalendar.Calendar.from_ical(calendar_feed(schedule, "ann", "Ann", now + timedelta(hours=1)))
    assert [it["UID"] for it in again.walk("VEVENT")] == [it["UID"] for it in found.walk("VEVENT")]
