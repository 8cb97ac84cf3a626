"""What people are told of runbooks that work on their incident."""

import pytest

from tests.incident_timeline import Night, policy
from toban.core.runbook_events import RunbookEvent
from toban.incidents.incident import Incident
from toban.incidents.reactions import runbook_change

TEAM = {"people": {"ann": {"channels": ["phone"]}, "ben": {"channels": ["mail"]}}}


@pytest.fixture
def night() -> Night:
    """An incident of 2:14 for which Ann was called."""
    found = Night(policy(TEAM))
    found.at("2:14").fires("application_down").at("2:15").sent()
    return found


def told(night: Night, *events: str, run: int = 1, by: str = "") -> list[str]:
    """Return what is sent while a run does these things, each once the change before it was stored and read again."""
    for event in events:
        approval = "0123456789abcdef" if event == "asked" else ""
        [alert] = night.book.incidents[1].alerts

        def change(policy, incident, now, event=event, approval=approval, alert=alert):
            stored = Incident.from_dict(incident.id, incident.as_dict())
            said = RunbookEvent(run, "fix", event, "text", alert, now, by, approval)
            return runbook_change(policy, stored, said, now)

        night.does(change)
    return [line.partition(" ")[2] for line in night.sent()]


@pytest.mark.parametrize("end", ["succeeded", "failed", "unknown", "void", "stopped", "expired"])
def test_whoever_is_asked_hears_how_it_ended(night: Night, end: str) -> None:
    night.acknowledges("ben")
    night.sent()
    asked, ended = told(night, "started", "asked", "acts", end)
    assert asked == "mail notice: Runbook fix asks whether it may text. Answer on the page, or: toban run --approve 1"
    assert ended.startswith("mail notice: ")
    assert "unbook fix" in ended
    assert told(night, "started", "asked", run=2, by="ben") == []  # he started it by hand


def test_a_run_that_waits_for_a_person_says_so_once(night: Night) -> None:
    assert told(night, "started", "waits", "ticked", "waits", "ticked", "succeeded") == [
        "phone notice: Runbook fix waits for a person: text (tick it on the page, or: toban run --approve 1)",
        "mail notice: Runbook fix waits for a person: text (tick it on the page, or: toban run --approve 1)",
        "phone notice: Runbook fix succeeded: text",
        "mail notice: Runbook fix succeeded: text",
    ]
    assert [line for line in told(night, "asked", "waits", run=2) if "waits" in line] == []


def test_what_acts_by_itself_is_told_of_when_it_fails(night: Night) -> None:
    night.acknowledges("ann")
    night.sent()
    assert told(night, "started", "acts", "acted", "succeeded") == []
    assert told(night, "started", "acts", "failed", run=2) == ["phone notice: Runbook fix failed, go on by hand: text"]


def test_the_end_of_a_run_is_not_told_beside_that_of_the_incident(night: Night) -> None:
    night.acknowledges("ann")
    told(night, "asked")
    night.ends("application_down")
    assert told(night, "void") == []
