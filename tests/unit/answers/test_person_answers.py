"""Who is known by a number or an ID does what their role permits, and nobody else does anything."""

import pytest

from tests.fakes import FakeClock
from toban.access.permissions import Role
from toban.answers.answer import clicked
from toban.answers.person_answers import PersonAnswers
from toban.core.metric_registry import MetricRegistry
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


@pytest.mark.parametrize(
    ("person", "said", "executed", "refused"),
    [
        ("ann", ("done", "done"), [("acknowledge", 7, "ann")], []),
        ("vic", ("refused", "not-permitted"), [], [("vic", "the role does not permit it")]),
        ("", ("refused", "not-on-list-phone"), [], [("phone +81", "not in on_call.people")]),
    ],
)
async def test_an_answer_is_executed_only_for_who_may_give_it(tmp_path, person, said, executed, refused):
    roles = {"ann": Role.OPERATOR, "vic": Role.VIEWER}
    executor = Executor()
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        answers = PersonAnswers("phone", "phone", lambda it: roles[it].permissions, executor, state, FakeClock())
        found = await answers.execute(
            person, "phone +81", lambda: clicked("toban.acknowledge", "i7.v1"), "key 1", lambda _: None
        )
        entries = await state.transaction(audit_log.recent)
    assert found == said
    assert executor.executed == executed
    assert [(it.actor.name, it.facts["reason"]) for it in entries] == refused
