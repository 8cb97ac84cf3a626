"""Incidents in a terminal: what is urgent comes first, times are on the team's clock, and what to do is there."""

from datetime import UTC, datetime, timedelta
from typing import Any

from toban.cli.incident_text import incident_list, incident_text
from toban.core.terminal_columns import text_width, wrap_cells

NOW = datetime(2026, 1, 1, 17, 20, tzinfo=UTC)


def incident(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an incident as the API does."""
    deadline = {"name": "respond", "due": (NOW + timedelta(minutes=9, seconds=30)).isoformat()}
    return {
        "id": number,
        "title": "The database is down",
        "priority": "P1",
        "state": "triggered",
        "starts": "2026-01-01T17:14:00+00:00",
        "resolved": None,
        "resolved_by": "",
        "answer": None,
        "assignee": "",
        "assignee_name": "",
        "deadlines": [{**deadline, "share": 0.4, "is_running": True}],
        "impact": None,
        "merged_into": 0,
        "timezone": "Asia/Tokyo",
        "next_call": "2026-01-01T17:20:00+00:00",
        "members": [],
        "timeline": [{"at": "2026-01-01T17:15:10+00:00", "text": "Step 1: Ann called by phone"}],
        "action_items": [],
        "seconds_to_acknowledge": None,
        **fields,
    }


ANSWER = {"by": "ann", "name": "Ann", "until": "2026-01-01T17:57:00+00:00", "comment": "I look", "is_snooze": False}


def test_the_most_urgent_comes_first_and_what_is_resolved_last():
    found = [
        incident(4, state="resolved", resolved_by="Ben", deadlines=[]),
        incident(3, priority="P2", deadlines=[{"name": "respond", "due": "", "share": 0.1, "is_running": False}]),
        incident(1, state="acknowledged", answer=ANSWER),
    ]
    assert [" ".join(line.split()) for line in incident_list(found, NOW).splitlines()] == [
        "#1 P1 acknowledged since 2026-01-02 02:14 JST by Ann respond in 9 min The database is down",
        "#3 P2 nobody has answered since 2026-01-02 02:14 JST respond: stands still until working hours"
        " The database is down",
        "#4 P1 resolved since 2026-01-02 02:14 JST by Ben The database is down",
    ]
    assert incident_list([], NOW) == ""


def test_an_incident_says_who_is_called_next_what_it_costs_and_what_to_do():
    impact = {"currency": "JPY", "missing": 120_000, "least": 80_000, "most": 160_000, "per_minute": 6_000}
    alert = {"name": "database_down", "status": "firing", "annotations": {"value": "0", "summary": "It is down"}}
    run = {"id": 7, "runbook": "fix", "question": "restart it", "ended": None}
    text = incident_text(incident(impact=impact, members=[alert]), NOW, [run, {**run, "ended": "2026"}])
    assert text.splitlines() == [
        "#1 P1 The database is down",
        "nobody has answered; next call at 2026-01-02 02:20 JST",
        "since 2026-01-02 02:14 JST",
        f"respond by {(NOW + timedelta(hours=9, minutes=9, seconds=30)):%Y-%m-%d %H:%M} JST, 9 min left",
        "about ¥120,000 of revenue missing, between ¥80,000 and ¥160,000, ¥6,000 a minute now",
        "",
        "Alerts",
        "  ▲ database_down firing: 0   It is down",
        "",
        "Runbooks",
        "  fix: restart it   toban run --approve 7",
        "",
        "Timeline",
        "  2026-01-02 02:15 JST  Step 1: Ann called by phone",
        "",
        "Answer it: toban incidents ack 1",
    ]


def test_an_incident_says_who_works_on_it_and_how_it_ended():
    answered = incident_text(incident(state="acknowledged", answer=ANSWER, assignee="ben", assignee_name="Ben"), NOW)
    assert "acknowledged by Ann until 2026-01-02 02:57 JST: I look; next call at" in answered
    assert "assigned to Ben" in answered
    assert "toban incidents ack" not in answered
    items = [
        {"number": 1, "done": None, "text": "Add an index", "owner": "Ben"},
        {"number": 3, "done": "2026", "text": "Tell them", "owner": ""},
    ]
    over = {"state": "resolved", "resolved": "2026-01-01T17:34:00+00:00", "next_call": None, "deadlines": []}
    ended = incident_text(incident(**over, resolved_by="Ann", action_items=items, seconds_to_acknowledge=710), NOW)
    assert ended.splitlines()[1] == "resolved at 2026-01-02 02:34 JST by Ann"
    assert "answered after 12 min" in ended
    assert ended.endswith("  1. [ ] Add an index Ben\n  3. [x] Tell them")


def test_a_row_that_is_too_wide_goes_on_in_indented_lines():
    row = ("#1", "P1", "", "nobody has answered", "since 2026-01-02 02:14 JST", "データベースに接続できません")
    lines = wrap_cells(row, 40)
    assert lines == [
        "#1  P1  nobody has answered",
        "    since 2026-01-02 02:14 JST",
        "    データベースに接続できません",
    ]
    assert max(map(text_width, lines)) <= 40
    assert wrap_cells(("a" * 50, "b"), 40) == ["a" * 50, "    b"]
