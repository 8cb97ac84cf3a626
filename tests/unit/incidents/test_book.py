"""What belongs to one incident, and when it opens, re-opens and ends."""

from dataclasses import replace

import pytest

from tests.incident_timeline import Night, policy
from toban.core.alerts import AlertStatus
from toban.incidents import lifecycle
from toban.incidents.book import MAX_OPEN, Suppression
from toban.incidents.incident import MAX_ALERTS, Incident, IncidentState
from toban.incidents.timeline_text import entry_text


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def night(request: pytest.FixtureRequest) -> Night:
    return Night(policy(), restarts=request.param)


def fingerprint(night: Night, name: str) -> str:
    holders = [*(it.alerts for it in night.book.incidents.values()), night.book.waiting]
    return next(key for found in holders for key, alert in found.items() if alert.name == name)


def names(night: Night, number: int = 1) -> list[str]:
    return sorted(alert.name for alert in night.book.incidents[number].alerts.values())


def test_an_alert_that_ends_within_the_delay_opens_nothing(night: Night) -> None:
    night.at("1:00").fires("blip").at("1:00:05").ends("blip").at("1:30")
    assert not night.book.incidents
    assert not night.book.waiting


def test_alerts_of_one_name_are_one_incident(night: Night) -> None:
    night.at("1:00").fires("disk", instance="a").at("1:20").fires("disk", instance="b").at("1:30")
    assert names(night) == ["disk", "disk"]


def test_what_is_explained_joins_the_incident_of_its_cause_whichever_fires_first(night: Night) -> None:
    night.at("1:00").fires("symptom").at("1:00:20")
    assert names(night) == ["symptom"]
    night.fires("cause")
    night.suppression = Suppression({fingerprint(night, "symptom"): fingerprint(night, "cause")})
    night.at("1:00:40").fires("other symptom")
    night.suppression = Suppression(
        {fingerprint(night, name): fingerprint(night, "cause") for name in ("symptom", "other symptom")}
    )
    night.at("1:02")
    assert names(night) == ["cause", "other symptom", "symptom"]
    assert len(night.book.incidents) == 1


def test_what_only_lingers_keeps_no_incident_open_and_reopens_it_when_it_fires_on(night: Night) -> None:
    """
    A rate over ten minutes is high for ten minutes after its cause is over: nobody is called for that.
    """
    night.at("1:00").fires("cause").fires("symptom")
    explained = {fingerprint(night, "symptom"): fingerprint(night, "cause")}
    night.suppression = Suppression(explained)
    night.at("1:01").ends("cause").at("1:02")
    assert not night.book.incidents[1].is_settling, "the end of its cause was not sent yet"
    night.suppression = Suppression(explained, frozenset(explained))
    night.at("1:03")
    assert night.book.incidents[1].state is IncidentState.RESOLVED
    assert night.entries[-1].facts["lingering"] == ["symptom"]
    night.at("1:10")
    assert len(night.book.open) == 0
    night.suppression = Suppression()
    night.at("1:12")
    assert [it.id for it in night.book.open] == [1]
    assert not night.book.incidents[1].is_settling


def test_a_cause_gives_its_name_to_an_incident_that_opens_with_its_symptom(night: Night) -> None:
    night.at("1:00").fires("a symptom", severity="critical").fires("the cause", severity="critical")
    night.suppression = Suppression({fingerprint(night, "a symptom"): fingerprint(night, "the cause")})
    night.at("1:01")
    assert night.book.incidents[1].title == "The cause"
    assert names(night) == ["a symptom", "the cause"]


def test_alerts_of_one_component_are_one_incident_while_they_are_close(night: Night) -> None:
    night.suppression = Suppression(component=lambda alert: "database" if "db" in alert.name else "")
    night.at("1:00").fires("db slow").at("1:25").fires("db full").at("1:26")
    assert names(night) == ["db full", "db slow"]
    night.at("2:30").fires("db late").fires("web").at("2:31")
    assert names(night, 2) == ["db late"]
    assert names(night, 3) == ["web"]


def test_it_resolves_a_while_after_its_last_alert_and_re_opens_when_one_comes_back_soon(night: Night) -> None:
    night.at("1:00").fires("disk").at("1:10").ends("disk").at("1:11")
    assert night.book.incidents[1].is_open
    night.at("1:12")
    assert night.book.incidents[1].state is IncidentState.RESOLVED
    night.at("1:20").fires("disk").at("1:21")
    assert night.book.incidents[1].state is IncidentState.TRIGGERED
    assert [line.split(maxsplit=1)[1] for line in night.timeline()] == [
        "opened",
        "alert_fired",
        "alert_resolved",
        "resolved",
        "reopened",
        "alert_fired",
    ]
    night.ends("disk").at("3:00").fires("disk").at("3:01")
    assert sorted(night.book.incidents) == [1, 2]


def test_an_acknowledged_alert_acknowledges_its_incident_and_back(night: Night) -> None:
    night.at("1:00").fires("disk").at("1:01").acknowledged_alert("disk", "ann")
    assert night.book.incidents[1].state is IncidentState.ACKNOWLEDGED
    assert night.book.incidents[1].answer is not None
    assert night.book.incidents[1].answer.by == "ann"
    assert not night.book.incidents[1].is_out_of_step
    night.fires("disk")  # its acknowledgement was taken back
    assert night.book.incidents[1].state is IncidentState.TRIGGERED


def test_an_alert_that_joins_an_acknowledged_incident_is_acknowledged_too(night: Night) -> None:
    night.at("1:00").fires("disk", instance="a").at("1:01").acknowledges("ann")
    assert night.book.incidents[1].is_out_of_step
    night.book = replace(night.book, incidents={1: replace(night.book.incidents[1], is_out_of_step=False)})
    night.fires("disk", instance="b").at("1:02")
    assert night.book.incidents[1].is_out_of_step
    assert night.book.incidents[1].state is IncidentState.ACKNOWLEDGED


def test_what_a_person_resolved_stays_resolved_while_its_alert_fires_on(night: Night) -> None:
    night.at("1:00").fires("disk").at("1:01")
    night.does(lambda policy, incident, now: lifecycle.resolved(policy, incident, now, "ann"))
    night.at("1:30")
    assert night.book.incidents[1].resolved_by == "ann"
    night.ends("disk").at("1:31").fires("disk").at("1:32")
    assert sorted(night.book.incidents) == [1, 2]


def test_an_alert_inhibited_by_what_opened_nothing_yet_waits_for_it(night: Night) -> None:
    night.at("1:00").fires("symptom").at("1:00:08").fires("cause")
    night.suppression = Suppression({fingerprint(night, "symptom"): fingerprint(night, "cause")})
    night.at("1:00:15")
    assert not night.book.incidents
    night.at("1:00:19")
    assert night.book.incidents[1].title == "Cause"
    assert names(night) == ["cause", "symptom"]


def test_a_drill_opens_no_incident(night: Night) -> None:
    night.at("1:00").fires("toban_drill").at("1:30")
    assert not night.book.incidents
    assert not night.book.waiting


def test_a_flood_of_alerts_opens_and_holds_a_limited_number() -> None:
    night = Night(policy())
    night.at("1:00")
    for number in range(MAX_OPEN + 20):
        night.fires(f"rule_{number}")
    for number in range(MAX_ALERTS + 20):
        night.fires("many", instance=str(number), severity="critical")
    night.at("1:05")
    assert len(night.book.open) == MAX_OPEN
    assert max(len(it.alerts) for it in night.book.open) == MAX_ALERTS
    assert len(night.book.waiting) > 0
    assert all(alert.status is AlertStatus.FIRING for alert in night.book.waiting.values())


def test_declared_incidents_end_only_by_hand() -> None:
    night = Night(policy())
    night.at("1:00")
    night.declares("Customers call", "P2", "ann").at("5:00")
    assert night.book.incidents[1].is_open
    assert night.sent()[0].startswith("01:00 phone firing: You are called")


def test_titles_and_the_timeline_are_in_the_language_of_whoever_reads_them() -> None:
    night = Night(policy(), restarts=True)
    night.annotations = {"summary": "The disk is full", "summary_ja": "ディスクがいっぱいです"}
    night.at("1:00").fires("disk").at("1:10").ends("disk").at("1:20")
    incident = night.book.incidents[1]
    assert (incident.titled("en"), incident.titled("ja")) == ("The disk is full", "ディスクがいっぱいです")
    said = [[entry_text(it, night.policy, language) for it in night.entries] for language in ("en", "ja")]
    told = ("opened", "alert_fired", "alert_resolved")
    kinds = [it.kind.value for it in night.entries]
    assert all("The disk is full" in said[0][kinds.index(kind)] for kind in told)
    assert all("ディスクがいっぱいです" in said[1][kinds.index(kind)] for kind in told)


def test_messages_have_the_title_in_the_language_of_messages() -> None:
    japanese = replace(policy({"people": {"ann": {"channels": ["phone"]}}}), language="ja")
    night = Night(japanese)
    night.annotations = {"summary": "The disk is full", "summary_ja": "ディスクがいっぱいです"}
    night.at("1:00").fires("disk").at("1:10")
    assert {it.title for it in night.messages} == {"ディスクがいっぱいです"}
    night.declares("Nobody can pay", "P1", "ann")
    assert "Nobody can pay" in {it.title for it in night.messages}


def test_an_incident_of_an_older_version_has_one_title() -> None:
    night = Night(policy()).declares("Nobody can pay", "P1", "ann")
    body = night.book.incidents[1].as_dict()
    del body["title_ja"]
    assert Incident.from_dict(1, body).titled("ja") == "Nobody can pay"
