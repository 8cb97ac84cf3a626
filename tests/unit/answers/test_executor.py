"""Questions of runbooks, answered by buttons: exactly what the message asked, by whoever clicked."""

import pytest

from tests.fakes import FakeClock
from tests.incident_timeline import policy
from tests.runbook_process import MACHINE, Process, runbook
from toban.answers.answer import clicked
from toban.answers.executor import AnswerExecutor
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError
from toban.core.notification import OfferKind
from toban.core.runbook_events import RunbookEvent
from toban.incidents.commands import IncidentCommands
from toban.incidents.lifecycle import opened
from toban.incidents.reactions import runbook_change
from toban.state import audit_log, event_log

BEN = Actor("ben", "slack")
TEAM = {"people": {"ann": {"channels": ["phone"]}, "ben": {"channels": ["mail"]}}}


@pytest.fixture
async def life(tmp_path):
    MACHINE.version, MACHINE.outcome, MACHINE.found = 1, lambda: "restarted", None
    MACHINE.acts.clear()
    found = Process(tmp_path, FakeClock(), [runbook(mode="ask")])
    # An event is kept for those who want to read it.
    await found.state.transaction(lambda connection: event_log.subscribe(connection, "test"))
    found.fires()
    await found.passes(2)
    yield found
    await found.close()


async def buttons(life):
    """Return the values of the buttons of the message that asks."""
    events = await life.state.transaction(lambda connection: event_log.read(connection, "test", 100))
    asked = next(it for it in (RunbookEvent.from_dict(each.body) for each in events) if it.event == "asked")
    now, rules = life.clock.now(), policy(TEAM, channels={"phone": True})
    change = runbook_change(rules, opened(1, "Memory is full", "P1", now, now).incident, asked, now)
    return {offer.kind: offer.value for offer in change.messages[0].offers}


def executor(life):
    incidents = IncidentCommands(None, life.state, life.clock)
    return AnswerExecutor(incidents, life.commands, lambda: policy(TEAM), life.clock)


async def test_a_button_approves_what_its_message_asks(life):
    approve = clicked("toban.approve", (await buttons(life))[OfferKind.APPROVE])
    assert "You have approved runbook" in await executor(life).execute(approve, BEN)
    await life.service.settled()
    assert MACHINE.acts == ["run-1.0"]
    rows = await life.state.transaction(lambda connection: audit_log.recent(connection, 20, actor="ben"))
    assert [str(it.actor) for it in rows] == ["ben (slack)"]
    with pytest.raises(InvalidCommandError, match="does not ask this any more"):
        await executor(life).execute(approve, BEN)
    assert MACHINE.acts == ["run-1.0"]


async def test_a_button_of_another_question_approves_nothing(life):
    with pytest.raises(InvalidCommandError, match="does not ask this any more"):
        await executor(life).execute(clicked("toban.approve", "r1.0123456789abcdef"), BEN)
    assert await life.state_of() == "asked"


async def test_a_button_refuses_and_the_approval_of_the_same_message_is_void(life):
    offers = await buttons(life)
    assert "You have refused" in await executor(life).execute(clicked("toban.refuse", offers[OfferKind.REFUSE]), BEN)
    assert await life.state_of() == "refused"
    with pytest.raises(InvalidCommandError, match="does not ask this any more"):
        await executor(life).execute(clicked("toban.approve", offers[OfferKind.APPROVE]), BEN)
    assert MACHINE.acts == []
