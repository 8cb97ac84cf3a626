"""From a sample to a person who answers: through state, the outbox, restarts and outages."""

import asyncio
from datetime import timedelta

import pytest

from tests.alerting_process import RECEIVERS, AlertingProcess, MemoryChannel, ProcessKilled, Receiver
from tests.fakes import FakeClock
from tests.incident_timeline import Shifts, policy
from tests.rule_evaluation import START, load_series
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.runbook_events import TOPIC as RUNBOOK_TOPIC
from toban.core.runbook_events import RunbookEvent
from toban.incidents import repository
from toban.incidents.incident import EntryKind, IncidentState
from toban.state import audit_log, event_log, outbox

ANN = Actor("ann", "session")
TEAM = {"people": {"ann": {"channels": ["phone"]}, "ben": {"channels": ["mail"]}}}
RULE = """
groups:
  - name: shop
    rules:
      - alert: application_down
        expr: up == 0
        for: 1m
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.job }} is down"}
"""
DOWN_AT_4 = 'up{job="web"} 1x15 0x31 1x100'
"""Samples each 15 s: down from 4:00 to 12:00."""
CHANNELS = ("slack", "phone", "mail")


@pytest.fixture
def receivers():
    RECEIVERS.clear()
    RECEIVERS.update({name: Receiver() for name in CHANNELS})
    yield RECEIVERS
    RECEIVERS.clear()


@pytest.fixture
async def life(tmp_path, receivers):
    found = process(tmp_path, FakeClock())
    yield found
    await found.close()


def process(folder, clock, series=DOWN_AT_4, **incidents):
    folder.mkdir(exist_ok=True)
    on_call = policy(TEAM, incidents, duty=Shifts(("0:00", ("ann",))), channels=dict.fromkeys(CHANNELS, False))
    return AlertingProcess(RULE, load_series(series), folder, clock, CHANNELS, on_call)


def at(seconds):
    return START + timedelta(seconds=seconds)


def kinds(name):
    return [it.kind.value for _, it in RECEIVERS[name].received]


async def test_the_person_on_call_is_called_and_the_team_channel_gets_the_alert(life):
    await life.until(at(400))
    assert kinds("phone") == ["firing"]
    assert kinds("slack") == ["firing"]
    [(when, call)] = RECEIVERS["phone"].received
    assert call.lines[0] == "You are called: please acknowledge within 15m."
    assert at(300) < when < at(360)


async def test_an_answer_acknowledges_the_alerts_and_ends_the_calls(life):
    await life.until(at(400))
    await life.commands.acknowledge(1, ANN, "on it")
    await life.until(at(700))
    assert kinds("phone") == ["firing", "acknowledged"]
    assert kinds("slack") == ["firing", "acknowledged"]
    assert not RECEIVERS["mail"].received
    [alert] = life.alert_store.alerts()
    assert alert.acknowledged
    assert alert.acknowledged.by == "ann"
    await life.until(at(1000))
    assert kinds("phone")[-1] == "resolved"
    assert life.incidents.book.open == []


async def test_calls_that_wait_for_a_broken_channel_are_withdrawn_by_an_answer(life, receivers):
    receivers["phone"].outcome = lambda: "broken"
    await life.until(at(400))
    await life.commands.acknowledge(1, ANN)
    receivers["phone"].outcome = lambda: "ok"
    await life.until(at(600))
    assert "firing" not in kinds("phone")
    counts = await life.state.transaction(lambda connection: outbox.counts(connection, "channel:phone"))
    assert counts.dropped == {"answered": 1}


async def test_the_timeline_has_calls_receipts_and_answers_and_the_audit_log_who_answered(life):
    await life.until(at(400))
    await life.commands.acknowledge(1, ANN, "on it")
    await life.until(at(460))
    await life.commands.note(1, "restarted it", ANN, by="ben")
    await life.until(at(1000))
    details = await life.commands.details(1)
    found = [it.kind for it in details.timeline]
    assert found[:3] == [EntryKind.OPENED, EntryKind.ALERT_FIRED, EntryKind.PAGED]
    for kind in (EntryKind.DELIVERED, EntryKind.ACKNOWLEDGED, EntryKind.NOTE, EntryKind.ALERT_RESOLVED):
        assert kind in found
    rows = await life.state.transaction(lambda connection: audit_log.recent(connection, 20, actor="ann"))
    assert [row.action for row in rows] == ["added a note to an incident", "acknowledged an incident"]
    assert [row.facts.get("by") for row in rows] == ["ben", None]  # for whom, where that is somebody else


async def test_a_restart_between_any_two_steps_changes_nothing(tmp_path, receivers):
    straight = process(tmp_path / "one", FakeClock())
    await straight.until(at(1020))
    await straight.close()
    expected = {name: [(when, it.kind, it.lines) for when, it in RECEIVERS[name].received] for name in CHANNELS}
    for name in CHANNELS:
        RECEIVERS[name].received.clear()
    clock = FakeClock()
    for step in range(60, 1021, 60):
        life = process(tmp_path / "two", clock)
        await life.until(at(step), interval=15)
        await life.close()
    found = {name: [(it.kind, it.lines[0]) for _, it in RECEIVERS[name].received] for name in CHANNELS}
    assert found == {name: [(kind, lines[0]) for _, kind, lines in it] for name, it in expected.items()}


@pytest.mark.parametrize("point", ["enqueue_messages", "withdraw_messages", "save", "add_entries", "after"])
async def test_a_process_killed_at_any_point_of_a_decision_calls_once(tmp_path, receivers, monkeypatch, point):
    clock, killed = FakeClock(), []

    def dies(*_):
        killed.append(point)
        raise ProcessKilled

    life = process(tmp_path, clock)
    await life.until(at(310))
    with monkeypatch.context() as patch:
        if point in ("save", "add_entries"):
            patch.setattr(repository, point, dies)
        elif point == "after":
            patch.setattr(life.notification, "wake_channels", dies)
        else:
            patch.setattr(life.notification, point, dies)
        try:
            await life.until(at(400))
        except ProcessKilled:
            assert killed
    await life.close()
    life = process(tmp_path, clock)
    await life.until(at(500))
    await life.close()
    assert kinds("phone") == ["firing"]
    assert list(life.incidents.book.incidents) == [1]


async def test_people_are_called_while_state_is_unavailable(life, monkeypatch):
    await life.until(at(240))
    real = life.state.transaction

    async def fails(work):
        raise StateError("disk is full")

    monkeypatch.setattr(life.state, "transaction", fails)
    await life.until(at(420))
    assert kinds("phone")[:1] == ["firing"]
    assert not life.incidents.health().ok
    monkeypatch.setattr(life.state, "transaction", real)
    await life.until(at(480))
    assert life.incidents.health().ok
    assert [it.id for it in life.incidents.book.incidents.values()] == [1]
    assert len([it for it in kinds("phone") if it == "firing"]) == 1


async def test_what_a_runbook_asks_before_an_alert_has_an_incident_is_asked_when_it_has_one(tmp_path, receivers):
    life = process(tmp_path, FakeClock(), delay="1m")
    await life.until(at(320))
    [fingerprint] = life.incidents.book.waiting
    event = RunbookEvent(1, "fix", "asked", "restart it", fingerprint, life.clock.now(), approval="0123456789abcdef")
    await life.state.transaction(
        lambda connection: event_log.append(connection, RUNBOOK_TOPIC, event.as_dict(), event.at)
    )
    await life.incidents.decide()
    assert not life.incidents.book.incidents
    await life.until(at(400))
    assert sorted(kinds("phone")) == ["firing", "notice"]
    found = [it.kind for it in (await life.commands.details(1)).timeline]
    assert found.count(EntryKind.RUNBOOK) == 1
    await life.close()


async def test_commands_reject_what_makes_no_sense(life):
    await life.until(at(400))
    with pytest.raises(NotFoundError, match="incident 7 not found"):
        await life.commands.acknowledge(7, ANN)
    with pytest.raises(InvalidCommandError, match="unknown person 'zoe': known are ann, ben"):
        await life.commands.assign(1, "zoe", ANN)
    with pytest.raises(InvalidCommandError, match="priority: unknown priority 'P9'"):
        await life.commands.declare("x", "P9", ANN)
    with pytest.raises(InvalidCommandError, match="text: must not be empty"):
        await life.commands.note(1, "  ", ANN)
    with pytest.raises(InvalidCommandError, match="duration: must be between"):
        await life.commands.snooze(1, timedelta(seconds=1), ANN)
    await life.commands.resolve(1, ANN)
    with pytest.raises(InvalidCommandError, match="incident 1 is resolved: re-open it first"):
        await life.commands.acknowledge(1, ANN)
    with pytest.raises(InvalidCommandError, match="can't be merged into itself"):
        await life.commands.merge(1, 1, ANN)


async def test_merge_and_split_move_alerts_and_timelines(life):
    await life.until(at(400))
    declared = await life.commands.declare("Customers call", "P2", ANN, "the phone rings")
    merged = await life.commands.merge(1, declared.id, ANN)
    assert merged.priority == "P1"
    assert [it.name for it in merged.alerts.values()] == ["application_down"]
    closed = (await life.commands.details(1)).incident
    assert (closed.state, closed.merged_into) == (IncidentState.RESOLVED, declared.id)
    kinds = [it.kind for it in (await life.commands.details(declared.id)).timeline]
    assert EntryKind.ALERT_FIRED in kinds
    with pytest.raises(InvalidCommandError, match="nothing to split"):
        await life.commands.split(declared.id, "application_down", ANN)
    await life.until(at(1000))
    assert not life.incidents.book.open


async def test_an_answer_while_a_call_is_being_sent_leaves_that_call_alone_and_sends_no_further(
    tmp_path, receivers, monkeypatch
):
    # given: the person on call is called by a channel that has not answered yet
    begun, may_end, send = asyncio.Event(), asyncio.Event(), MemoryChannel.send

    async def slowly(channel, notification, handle, tools):
        if channel.name == "phone" and not begun.is_set():
            begun.set()
            await may_end.wait()
        return await send(channel, notification, handle, tools)

    monkeypatch.setattr(MemoryChannel, "send", slowly)
    folder = tmp_path / "race"
    folder.mkdir()
    team = {"people": {"ann": {"channels": ["phone", "mail"]}}}
    on_call = policy(team, duty=Shifts(("0:00", ("ann",))), channels=dict.fromkeys(CHANNELS, False))
    life = AlertingProcess(RULE, load_series(DOWN_AT_4), folder, FakeClock(), CHANNELS, on_call)
    night = asyncio.ensure_future(life.until(at(700)))
    await begun.wait()
    # when: somebody answers before it does
    await life.commands.acknowledge(1, ANN)
    may_end.set()
    await night
    # then: what was under way arrives, and is the only call
    assert kinds("phone") == ["firing", "acknowledged"]
    assert kinds("mail") == []
    await life.close()
