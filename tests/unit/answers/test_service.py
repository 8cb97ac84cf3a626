"""Answers are executed once, in order, and none is tried for ever."""

import pytest

from tests.fakes import FakeClock
from toban.answers.service import ANSWERS, IDLE, MAX_ATTEMPTS, STATE_RETRY, AnswerService
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.state.backends import SqliteBackend
from toban.state.database import State


class Source:
    """Notes what it executes; ``fails`` is raised instead."""

    kind = "slack"

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.fails: BaseException | None = None

    async def execute(self, body, received, mark):
        if self.fails:
            raise self.fails
        self.executed.append(body["text"])
        return "done"


class Process:
    """One life of the service over a state and a source that outlive it."""

    def __init__(self, state: State, source: Source | None) -> None:
        self.meters = MetricRegistry()
        self.service = AnswerService({"ops": source} if source else {}, state, FakeClock(), self.meters)


@pytest.fixture
async def state(tmp_path):
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        yield state


async def test_answers_are_executed_once_in_order_also_after_a_restart(state):
    source = Source()
    first = Process(state, source)
    assert await first.service.receive("ops", "a", {"text": "one"})
    assert await first.service.receive("ops", "b", {"text": "two"})
    assert not await first.service.receive("ops", "a", {"text": "one"})
    second = Process(state, source)
    assert await second.service.execute_waiting() == IDLE
    assert await second.service.execute_waiting() == IDLE
    assert not await second.service.receive("ops", "a", {"text": "one"})
    await second.service.execute_waiting()
    assert source.executed == ["one", "two"]
    assert second.meters.value(ANSWERS, source="slack", outcome="done") == 2


async def test_an_answer_waits_while_state_is_unavailable(state):
    source = Source()
    life = Process(state, source)
    await life.service.receive("ops", "a", {"text": "one"})
    source.fails = StateError("locked")
    for _ in range(MAX_ATTEMPTS + 1):
        assert await life.service.execute_waiting() == STATE_RETRY
    assert not life.service.health().ok
    source.fails = None
    assert await life.service.execute_waiting() == IDLE
    assert life.service.health().ok
    assert source.executed == ["one"]


async def test_an_answer_that_ends_toban_is_dropped_in_the_end_and_the_next_one_executed(state):
    source = Source()
    await Process(state, source).service.receive("ops", "a", {"text": "one"})
    await Process(state, source).service.receive("ops", "b", {"text": "two"})
    source.fails = RuntimeError("a bug")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(RuntimeError):
            await Process(state, source).service.execute_waiting()
    source.fails = None
    last = Process(state, source)
    await last.service.execute_waiting()
    assert source.executed == ["two"]
    assert last.meters.value(ANSWERS, source="slack", outcome="dropped") == 1


async def test_an_answer_of_a_channel_that_was_removed_is_dropped(state):
    await Process(state, Source()).service.receive("ops", "a", {"text": "one"})
    life = Process(state, None)
    await life.service.execute_waiting()
    assert life.meters.value(ANSWERS, source="removed", outcome="dropped") == 1
