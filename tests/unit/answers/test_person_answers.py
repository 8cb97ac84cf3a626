"""Who is known by a number or an ID does what their role permits; others do what the service's own list allows."""

import pytest

from tests.fakes import FakeClock
from toban.access.permissions import Role
from toban.answers.answer import clicked
from toban.answers.pagerduty import PagerdutyAnswers
from toban.answers.person_answers import PersonAnswers
from toban.core.metric_registry import MetricRegistry
from toban.oncall.settings import OnCallSettings
from toban.state import audit_log
from toban.state.backends import SqliteBackend
from toban.state.database import State


class Executor:
    """Notes what it executes."""

    def __init__(self) -> None:
        self.executed = []

    async def execute(self, answer, actor, mark):
        self.executed.append((answer.verb.value, answer.number, actor.name))
        return "done"

    def say(self, key, **facts):
        return key


ROLES = {"ann": Role.OPERATOR, "vic": Role.VIEWER}


@pytest.mark.parametrize(
    ("person", "said", "executed", "refused"),
    [
        ("ann", ("done", "done"), [("acknowledge", 7, "ann")], []),
        ("vic", ("refused", "not-permitted"), [], [("vic", "the role does not permit it")]),
        ("", ("refused", "not-on-list-phone"), [], [("phone +81", "not in on_call.people")]),
    ],
)
async def test_an_answer_is_executed_only_for_who_may_give_it(tmp_path, person, said, executed, refused):
    executor = Executor()
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        answers = PersonAnswers("phone", "phone", lambda it: ROLES[it].permissions, executor, state, FakeClock())
        found = await answers.execute(
            person, "phone +81", lambda: clicked("toban.acknowledge", "i7.v1"), "key 1", lambda _: None
        )
        entries = await state.transaction(audit_log.recent)
    assert found == said
    assert executor.executed == executed
    assert [(it.actor.name, it.facts["reason"]) for it in entries] == refused


@pytest.mark.parametrize(
    ("user", "event", "people", "outcome", "refused"),
    [
        ("PANN", "resolved", ROLES, "done", []),
        ("PVIC", "acknowledged", ROLES, "refused", [("vic", "the role does not permit it")]),
        ("PEVE", "acknowledged", ROLES, "done", []),
        ("PEVE", "annotated", ROLES, "done", []),
        ("PEVE", "resolved", ROLES, "refused", [("Eve (PagerDuty)", "not in on_call.people")]),
        ("PEVE", "resolved", (), "done", []),
    ],
    ids=["operator", "viewer", "stranger", "stranger's note", "stranger who resolves", "account is the list"],
)
async def test_a_user_of_pagerduty_has_the_role_of_the_person_and_a_stranger_only_acknowledges(
    tmp_path, user, event, people, outcome, refused
):
    on_call = OnCallSettings.model_validate({"people": {it: {"pagerduty": f"P{it.upper()}"} for it in people}})
    agent = {"id": user, "type": "user_reference", "summary": "Eve" if user == "PEVE" else "somebody"}
    body = {"event_type": f"incident.{event}", "agent": agent, "data": {"incident_key": "toban-incident-7"}}
    executor, clock = Executor(), FakeClock()
    async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
        answers = PagerdutyAnswers("pager", on_call, lambda it: ROLES[it].permissions, executor, state, clock)
        assert await answers.execute(body, clock.now(), lambda _: None) == outcome
        entries = await state.transaction(audit_log.recent)
    assert len(executor.executed) == (outcome == "done")
    assert [(it.actor.name, it.facts["reason"]) for it in entries] == refused
