"""Runs from an alert to their end: asked, approved, acted, interrupted, stopped; each act is counted."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.fakes import FakeClock
from tests.runbook_process import MACHINE, Killed, Process, Restart, RestartEach, runbook
from toban.core.actor import Actor
from toban.core.errors import ActionError, InvalidCommandError, NotFoundError, StateError
from toban.runbooks.run import RunState
from toban.runbooks.runbook import Mode, Runbook, TextStep
from toban.runbooks.settings import RunbookSettings
from toban.runbooks.situation import STOP_FILE
from toban.state import audit_log

ANN = Actor("ann", "session")


@pytest.fixture(autouse=True)
def machine():
    MACHINE.__init__()  # type: ignore[misc]  # as new
    return MACHINE


@pytest.fixture
def start(tmp_path):
    clock = FakeClock()
    opened = []

    def make(book: Runbook | None = None, settings: RunbookSettings | None = None) -> Process:
        opened.append(Process(tmp_path, clock, [book or runbook()], settings))
        return opened[-1]

    return make


async def test_an_automatic_runbook_acts_once_after_the_dwell_time(start):
    life = start()
    life.fires()
    await life.passes(0.8)
    assert MACHINE.acts == []
    await life.passes(5)
    assert MACHINE.acts == ["run-1.0"]
    assert await life.state_of() == "succeeded"
    rows = await life.state.transaction(lambda connection: audit_log.recent(connection, 5, actor="runbooks"))
    assert [(row.action, row.facts["key"], row.facts["targets"]) for row in rows] == [
        ("acted", "run-1.0", ["m1"]),
        ("begins to act", "run-1.0", ["m1"]),
    ]


async def test_a_flapping_alert_for_an_hour_leads_to_the_acts_of_its_cooldown(start):
    life = start()
    for _ in range(60):
        life.fires()
        await life.passes(1.5, step=30)
        life.resolves()
        await life.passes(0.5, step=30)
    assert 1 <= len(MACHINE.acts) <= 4  # two hours, a cooldown of half an hour


async def test_an_alert_that_flaps_a_hundred_times_in_ten_minutes_leads_to_one_act(start):
    life = start(runbook(dwell="1s", attempts=10))
    for _ in range(100):
        life.fires()
        await life.passes(0.05, step=3)
        life.resolves()
        await life.passes(0.05, step=3)
    assert len(MACHINE.acts) == 1


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_jumps_an_hour_leads_to_no_second_act_before_its_time(start, hours):
    life = start(runbook(dwell="1s", attempts=10, cooldown="2h"))
    life.fires()
    await life.passes(1)
    assert len(MACHINE.acts) == 1
    life.resolves()
    life.clock.set(life.clock.now() + timedelta(hours=hours))
    life.fires()
    await life.passes(50, step=30)
    assert len(MACHINE.acts) == 1
    life = start(runbook(dwell="1s", attempts=10, cooldown="2h"))  # a restart knows no more than the stored time
    life.fires()
    await life.passes(5, step=30)
    assert len(MACHINE.acts) == 1


async def test_what_was_decided_on_is_void_after_a_minute_whatever_the_time_of_day_does(start, monkeypatch):
    life = start(runbook(dwell="1s"))
    plan = Restart.plan

    async def slowly(action, context, tools):
        found = await plan(action, context, tools)
        life.clock.advance(61)
        life.clock.set(life.clock.now() - timedelta(seconds=61))
        return found

    monkeypatch.setattr(Restart, "plan", slowly)
    life.fires()
    await life.passes(0.5)
    assert MACHINE.acts == []
    run = await life.commands.run(1)
    assert (run.state, run.text) == (RunState.VOID, "what it was decided on is older than a minute")


async def test_an_api_that_says_yes_and_does_nothing_is_a_failure_and_not_repeated(start):
    life = start()

    def nothing() -> str:
        raise ActionError("accepted, and no event followed within 5 minutes")

    MACHINE.outcome = nothing
    life.fires()
    await life.passes(60, step=30)
    assert len(MACHINE.acts) == 1
    run = await life.commands.run(1)
    assert (run.state, run.text) == (RunState.FAILED, "restart: accepted, and no event followed within 5 minutes")


async def test_two_failures_in_a_week_turn_auto_into_ask(start):
    life = start()

    def fails() -> str:
        raise ActionError("no")

    MACHINE.outcome = fails
    for _ in range(3):
        life.fires()
        await life.passes(3, step=30)
        life.resolves()
        await life.passes(40, step=300)
    assert len(MACHINE.acts) == 2
    assert (await life.commands.run(3)).mode == "ask"


async def test_a_question_is_approved_for_exactly_what_was_read(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    run = await life.commands.run(1)
    assert run.state is RunState.ASKED
    assert run.question is not None
    assert run.question.description == "restart m1"
    with pytest.raises(InvalidCommandError, match="has changed since"):
        await life.commands.approve(1, "1.other.0.1", ANN)
    await life.commands.approve(1, run.approval, ANN)
    await life.service.settled()
    assert MACHINE.acts == ["run-1.0"]
    with pytest.raises(InvalidCommandError, match="asks for nothing: it is succeeded"):
        await life.commands.approve(1, run.approval, ANN)
    assert len(MACHINE.acts) == 1


async def test_an_approval_of_what_has_changed_meanwhile_is_void(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    MACHINE.version = 2
    await life.commands.approve(1, (await life.commands.run(1)).approval, ANN)
    await life.service.settled()
    assert MACHINE.acts == []
    assert await life.state_of() == "void"


async def test_an_approval_that_comes_too_late_does_nothing(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    approval = (await life.commands.run(1)).approval
    life.clock.advance(16 * 60)
    with pytest.raises(InvalidCommandError, match="expired"):
        await life.commands.approve(1, approval, ANN)
    await life.passes(1)
    assert await life.state_of() == "expired"
    assert MACHINE.acts == []


async def test_a_refusal_holds_for_this_occurrence(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    await life.commands.refuse(1, ANN, "not now")
    await life.passes(60, step=60)
    with pytest.raises(NotFoundError):
        await life.commands.run(2)


async def test_a_question_ends_with_its_alert(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    life.resolves()
    await life.passes(1)
    assert await life.state_of() == "void"


async def test_a_dry_run_says_what_it_would_do_once(start):
    life = start(runbook(mode="dry"))
    life.fires()
    await life.passes(60, step=60)
    assert MACHINE.acts == []
    run = await life.commands.run(1)
    assert (run.state, run.steps[0].text) == (RunState.DRY, "would restart m1")
    with pytest.raises(NotFoundError):
        await life.commands.run(2)


async def test_the_stop_switch_counts_between_two_steps_and_so_does_the_file(start):
    life = start(runbook(Restart(), TextStep(text="look"), Restart()))
    life.fires()
    await life.passes(2)
    assert await life.state_of() == "waiting"
    await life.commands.stop(ANN, "strange")
    await life.commands.tick(1, ANN)
    await life.service.settled()
    assert await life.state_of() == "stopped"
    assert len(MACHINE.acts) == 1
    await life.commands.resume(ANN)
    (life.folder / STOP_FILE).touch()
    life.resolves()
    await life.passes(40, step=60)
    life.fires()
    await life.passes(10, step=60)
    assert len(MACHINE.acts) == 1
    assert "stopped by the file" in life.service.health().message


@pytest.mark.parametrize(
    ("found", "state", "acts"), [("it was restarted at 02:14", "succeeded", 1), (None, "unknown", 1)]
)
async def test_a_crash_between_act_and_result_is_looked_at_and_never_repeated(start, found, state, acts):
    life = start()

    def dies() -> str:
        raise Killed

    MACHINE.outcome = dies
    MACHINE.found = found
    life.fires()
    await life.passes(1)
    assert len(MACHINE.acts) == acts
    MACHINE.outcome = lambda: "restarted"
    after = start()
    after.alerts = life.alerts
    await after.passes(5)
    assert await after.state_of() == state
    assert len(MACHINE.acts) == acts
    assert after.service.health().ok is (state == "succeeded")


async def test_each_act_of_a_step_has_its_own_key_and_its_share_of_the_budget(start):
    life = start(runbook(RestartEach(), Restart()))
    life.fires()
    await life.passes(5)
    assert MACHINE.acts == ["run-1.0", "run-1.0.1", "run-1.0.2"]
    run = await life.commands.run(1)
    assert [record.plan.description for record in run.acts] == ["restart m1", "restart m2", "restart m3"]
    assert (run.state, run.text) == (
        RunState.VOID,
        "3 acts in the last hour: the budget is 3: it does not restart m1",
    )
    rows = await life.state.transaction(lambda connection: audit_log.recent(connection, 6, actor="runbooks"))
    assert [row.facts["key"] for row in rows[::2]] == ["run-1.0.2", "run-1.0.1", "run-1.0"]


async def test_one_yes_is_for_all_acts_of_a_step_and_a_dry_run_names_the_first(start):
    life = start(runbook(RestartEach(), mode="ask"))
    life.fires()
    await life.passes(2)
    await life.commands.approve(1, (await life.commands.run(1)).approval, ANN)
    await life.service.settled()
    assert len(MACHINE.acts) == 3
    assert await life.state_of() == "succeeded"
    MACHINE.acts = []
    assert (await life.commands.start("fix", ANN, dry=True)).id == 2
    await life.service.settled()
    assert [it.text for it in (await life.commands.run(2)).steps] == ["would restart m1"]
    assert MACHINE.acts == []


async def test_after_a_crash_in_the_second_act_of_a_step_the_third_follows(start):
    life = start(runbook(RestartEach()))

    def dies_at_the_second() -> str:
        if len(MACHINE.acts) == 2:
            raise Killed
        return "restarted"

    MACHINE.outcome, MACHINE.found = dies_at_the_second, "it was restarted at 02:14"
    life.fires()
    await life.passes(1)
    after = start(runbook(RestartEach()))
    after.alerts = life.alerts
    await after.passes(5)
    assert MACHINE.acts == ["run-1.0", "run-1.0.1", "run-1.0.2"]
    run = await after.commands.run(1)
    assert [it.text for it in run.acts] == ["restarted", "it was restarted at 02:14", "restarted"]
    assert run.state is RunState.SUCCEEDED


async def test_a_step_is_passed_over_while_its_condition_has_a_result(start):
    life = start(runbook(Restart(unless="jobs > 0"), Restart(unless="shop == 1")))
    life.queries.results = {"jobs > 0": True, "shop == 1": False}
    life.fires()
    await life.passes(5)
    assert MACHINE.acts == ["run-1.1"]
    run = await life.commands.run(1)
    assert [(it.text, it.acts) for it in run.steps] == [
        ("not needed: `jobs > 0` has a result", False),
        ("restarted", True),
    ]


async def test_a_look_that_fails_is_repeated_for_a_while(start, monkeypatch):
    """
    The network may come a little after toban; what stays unknown is not repeated.
    """
    life = start()

    def dies() -> str:
        raise Killed

    MACHINE.outcome = dies
    life.fires()
    await life.passes(1)
    looks = 0

    async def look(*_: Any) -> str:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise ActionError("Fly: connection refused")
        return "it was restarted at 02:14"

    monkeypatch.setattr(Restart, "look", look)
    MACHINE.outcome = lambda: "restarted"
    after = start()
    after.alerts = life.alerts
    await after.passes(5)
    assert (await after.state_of(), looks, len(MACHINE.acts)) == ("succeeded", 3, 1)


async def test_a_crash_between_intent_and_act_is_looked_at_too(start, monkeypatch):
    life = start()

    async def dies(*_: Any) -> str:
        raise Killed

    life.fires()
    with monkeypatch.context() as patch:
        patch.setattr(Restart, "run", dies)
        await life.passes(1)
    after = start()
    after.alerts = life.alerts
    await after.passes(5)
    assert await after.state_of() == "unknown"
    assert MACHINE.acts == []


async def test_many_machines_failing_together_are_not_restarted_by_themselves(start):
    life = start()
    for number in range(3):
        life.fires(instance=str(number))
    await life.passes(5)
    assert MACHINE.acts == []
    assert {run.mode for run in await life.commands.runs()} == {"ask"}


async def test_two_alerts_for_one_machine_lead_to_one_act(start):
    life = start()
    life.fires(instance="a")
    life.fires(instance="b")
    await life.passes(10)
    assert len(MACHINE.acts) == 1
    states = sorted(run.state.value for run in await life.commands.runs())
    assert states[0] == "succeeded"
    assert "void" in states


async def test_an_action_that_must_not_be_done_fails_without_an_act(start):
    life = start()
    MACHINE.version = 0
    life.fires()
    await life.passes(2)
    assert MACHINE.acts == []
    assert (await life.commands.run(1)).text == "restart: it is the last healthy machine"


async def test_doubt_asks(start):
    life = start()
    life.doubts = "rules are not evaluated in time"
    life.fires()
    await life.passes(2)
    assert await life.state_of() == "asked"


async def test_without_state_nothing_is_done(start, monkeypatch):
    life = start()
    life.fires()
    await life.passes(0.5)

    async def fails(work: Any) -> None:
        raise StateError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(life.state, "transaction", fails)
        await life.passes(5)
        assert not life.service.health().ok
    assert MACHINE.acts == []
    await life.passes(1)
    assert MACHINE.acts == ["run-1.0"]


async def test_a_runbook_that_was_changed_meanwhile_is_void(start):
    life = start(runbook(mode="ask"))
    life.fires()
    await life.passes(2)
    changed = runbook(Restart(timeout="1m"), mode="ask")
    life.service.configure(replace(life.service.ports, runbooks=[changed]))
    await life.commands.approve(1, (await life.commands.run(1)).approval, ANN)
    await life.service.settled()
    assert MACHINE.acts == []
    assert await life.state_of() == "void"


async def test_by_hand_it_asks_whoever_started_it(start):
    life = start()
    run = await life.commands.start("fix", ANN)
    await life.service.settled()
    asked = await life.commands.run(run.id)
    assert (asked.state, asked.by, asked.alert.source) == (RunState.ASKED, "ann", "by hand")
    dry = await life.commands.start("fix", ANN, dry=True)
    await life.service.settled()
    assert await life.state_of(dry.id) == "dry"
    with pytest.raises(NotFoundError, match="no runbook 'fxi': there are fix"):
        await life.commands.start("fxi", ANN)
    with pytest.raises(NotFoundError, match="no firing alert 'x'"):
        await life.commands.start("fix", ANN, "x")


@pytest.mark.parametrize("mode", list(Mode))
async def test_text_steps_wait_for_a_person_in_every_mode_but_dry(start, mode):
    life = start(runbook(TextStep(text="look"), mode=mode.value))
    life.fires()
    await life.passes(2)
    assert await life.state_of() == ("dry" if mode is Mode.DRY else "waiting")


async def test_a_stop_waits_until_what_was_cancelled_has_released_what_it_held(start, monkeypatch):
    life = start()
    life.fires()
    begun, released = asyncio.Event(), []

    async def holds(*_: Any) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as the request that gives a lease back
            released.append("lease")
        raise AssertionError

    monkeypatch.setattr(Restart, "run", holds)
    life.clock.advance(120)
    service = asyncio.create_task(life.service.run())
    await begun.wait()
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert released == ["lease"]
