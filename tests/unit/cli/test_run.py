"""A run in a terminal: what it did, what it asks, and how to go on."""

from typing import Any

import pytest

from toban.cli.commands import run as command
from toban.cli.program import run

RUN: dict[str, Any] = {
    "id": 7,
    "runbook": "fix",
    "state": "asked",
    "question": "restart machine 3d8",
    "targets": ["machine 3d8"],
    "approval": "7.v.0.s",
    "steps": [],
    "ended": None,
    "text": "",
}
ENDED = {**RUN, "state": "succeeded", "ended": "2026", "text": "all of its steps are done"}
SWITCH = {"is_stopped": True, "by_file": False, "by": "ann", "reason": "it flaps"}


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what was posted, by path; the last part of a path says what comes back."""
    found: dict[str, Any] = {}
    responses = {
        "start": RUN,
        "approve": ENDED,
        "refuse": {**ENDED, "state": "refused", "text": "ann refused it: not now"},
        "resume": {**SWITCH, "by_file": True},
        "stop": SWITCH,
    }

    def post(path: str, data: object, **body: Any) -> Any:
        found[path] = body
        return responses[path.rpartition("/")[2]]

    monkeypatch.setattr(command, "post", post)
    return found


def test_what_it_asks_is_approved_exactly_and_its_end_is_shown(posted, monkeypatch, capsys):
    monkeypatch.setattr(command.click, "confirm", lambda question, **_: question)
    assert run(["run", "fix"]) == 0
    assert capsys.readouterr().out == "run 7 succeeded: all of its steps are done\n"
    assert posted["/api/runbooks/approve"] == {"id": 7, "approval": "7.v.0.s"}


def test_who_leaves_a_question_is_told_how_to_come_back(posted, monkeypatch, capsys):
    def aborts(*_: object, **__: object) -> bool:
        raise command.click.Abort

    monkeypatch.setattr(command.click, "confirm", aborts)
    assert run(["run", "fix"]) != 0
    assert "run 7 goes on waiting: toban run --approve 7, or --refuse 7" in capsys.readouterr().err
    assert list(posted) == ["/api/runbooks/start"]


def test_as_json_nothing_is_asked(posted, capsys):
    assert run(["run", "fix", "--json"]) == 0
    assert '"question": "restart machine 3d8"' in capsys.readouterr().out
    assert list(posted) == ["/api/runbooks/start"]


def test_a_run_is_refused_with_a_reason(posted, capsys):
    assert run(["run", "--refuse", "7", "--reason", "not now"]) == 0
    assert capsys.readouterr().out == "run 7 refused: ann refused it: not now\n"
    assert posted["/api/runbooks/refuse"] == {"id": 7, "comment": "not now"}


def test_a_file_that_keeps_automation_stopped_is_named(posted, capsys):
    assert run(["run", "--resume"]) == 0
    assert capsys.readouterr().out == (
        "automation is stopped by a file: delete stop-automation in the data folder to start it again\n"
    )


def test_the_list_says_who_stopped_automation_what_asks_and_what_can_not_work(monkeypatch, capsys):
    book = {"name": "fix", "mode": "ask", "when": ["a=b"], "title": "Fix it", "missing": ["x"], "runs": [RUN, ENDED]}
    monkeypatch.setattr(command, "get", lambda *_, **__: {"switch": SWITCH, "runbooks": [book]})
    assert run(["run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "▲ automation is stopped by ann: it flaps",
        "▲  fix  ask  a=b  Fix it",
        "▲ can't work here yet: `toban runbooks check` says what is missing",
        "run 7 of fix asked: restart machine 3d8   toban run --approve 7",
    ]
