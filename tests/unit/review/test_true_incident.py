"""Which incidents were true, by the incident book and by what was done about firings."""

from datetime import timedelta

from tests.fakes import FakeClock
from toban.core.incident_record import IncidentRecord
from toban.core.labels import Labels
from toban.review.firing import Firing, FiringAct
from toban.review.true_incident import TrueIncident, true_incidents, unnoticed

BEGIN = FakeClock().now()
NOW = BEGIN + timedelta(days=1)


def at(minute):
    return BEGIN + timedelta(minutes=minute)


def firing(minute, *acts, rule="a", minutes=10):
    found = tuple(FiringAct(kind, at(minute)) for kind in acts)
    ended = None if minutes is None else at(minute + minutes)
    return Firing(rule, "1", Labels(alertname=rule), at(minute), at(minute), "2026-01", ended, acts=found)


def record(number, first, last):
    return IncidentRecord(number, f"Incident {number}", at(first), None if last is None else at(last), "note")


def test_firings_that_somebody_did_something_about_are_incidents():
    """
    A silence and a deploy are no sign of one; those that touch are one.
    """
    firings = [
        firing(0, "note"),
        firing(20, "runbook", rule="b"),
        firing(200, "silence"),
        firing(300, "deploy"),
        firing(400),
    ]
    assert true_incidents(firings, [], NOW) == [TrueIncident("a, b", at(0), at(30))]


def test_an_incident_of_the_book_has_its_name_and_takes_the_firings_of_its_time():
    """
    Two that are open at the same time stay two.
    """
    found = true_incidents(
        [firing(5, "note"), firing(500, "note")], [record(7, 0, 60), record(8, 30, 90), record(9, 1400, None)], NOW
    )
    assert [(it.name, it.begins, it.ends) for it in found] == [
        ("#7 Incident 7", at(0), at(60)),
        ("#8 Incident 8", at(30), at(90)),
        ("a", at(500), at(510)),
        ("#9 Incident 9", at(1400), NOW),
    ]


def test_a_firing_that_goes_on_is_an_incident_until_now():
    assert true_incidents([firing(0, "note", minutes=None)], [], NOW) == [TrueIncident("a", at(0), NOW)]


def test_the_newest_incidents_are_kept():
    records = [record(it, it * 100, it * 100 + 1) for it in range(1, 6)]
    assert [it.id for it in true_incidents([], records, NOW, most=2)] == [4, 5]


def test_an_incident_in_which_nothing_began_to_fire_is_unnoticed():
    """
    Within a quarter of an hour before it, and until its end.
    """
    incidents = [TrueIncident(str(it), at(it), at(it + 30), it) for it in (100, 200, 300, 400)]
    firings = [firing(86), firing(180), firing(330), firing(431)]
    assert [it.id for it in unnoticed(incidents, firings)] == [200, 400]
