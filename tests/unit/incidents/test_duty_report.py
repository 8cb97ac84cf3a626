"""The duty of people: what they were on call for, what called them, and how they answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from toban.incidents import lifecycle
from toban.incidents.assembly import incident_policy
from toban.incidents.duty_report import PersonDuty, duties
from toban.incidents.incident import EntryKind, TimelineEntry
from toban.incidents.settings import IncidentSettings
from toban.oncall.rotation import Shift
from toban.oncall.settings import OnCallSettings, Person

NIGHT = datetime(2026, 11, 3, 18, tzinfo=UTC)
"""Three in the morning in Tokyo."""
NOON = datetime(2026, 11, 4, 3, tzinfo=UTC)
ON_CALL = OnCallSettings(people={"ann": Person(name="Ann A."), "ben": Person()})
POLICY = incident_policy(IncidentSettings(), ON_CALL, {}, "Asia/Tokyo", "en", "")


def incident(number: int, at: datetime, answered: timedelta | None):
    found = lifecycle.opened(number, "The database is down", "P1", at, at, "").incident
    return replace(found, responded=None if answered is None else at + answered)


def entry(number: int, at: datetime, kind: EntryKind, actor: str = "", **facts) -> TimelineEntry:
    return TimelineEntry(number, at, kind, actor, facts)


def test_hours_pages_at_night_and_answers_within_the_deadline_are_counted_for_each_person():
    late = NOON + timedelta(minutes=40)
    shifts = [
        Shift(NIGHT, NIGHT + timedelta(hours=8), ("ann",)),
        Shift(NIGHT + timedelta(hours=8), NIGHT + timedelta(hours=24), ("ben", "ann")),
    ]
    entries = [
        entry(1, NIGHT, EntryKind.PAGED, people=["ann"]),
        entry(1, NIGHT + timedelta(minutes=4), EntryKind.ACKNOWLEDGED, "ann"),
        entry(1, NIGHT + timedelta(minutes=9), EntryKind.ACKNOWLEDGED, "ben"),
        entry(2, NOON, EntryKind.PAGED, people=["ann", "ben"]),
        entry(2, late, EntryKind.ACKNOWLEDGED, "ben"),
    ]
    incidents = [incident(1, NIGHT, timedelta(minutes=4)), incident(2, NOON, timedelta(minutes=40))]
    assert POLICY.zone == ZoneInfo("Asia/Tokyo")
    assert duties(POLICY, shifts, entries, incidents, has_schedule=True) == [
        PersonDuty("Ann A.", timedelta(hours=24), pages=2, pages_at_night=1, answered=1, in_time=1),
        PersonDuty("ben", timedelta(hours=16), pages=1, pages_at_night=0, answered=1, in_time=0),
    ]


def test_without_a_schedule_no_hours_are_claimed():
    entries = [entry(1, NIGHT, EntryKind.PAGED, people=["ben"])]
    (found,) = duties(POLICY, (), entries, [incident(1, NIGHT, None)], has_schedule=False)
    assert (found.on_call, found.pages, found.answered) == (None, 1, 0)
