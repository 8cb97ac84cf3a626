"""Runs of maintenance tasks: on time, once, step by step, ended and interrupted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from tests.fake_maintenance import FOUND, PERSON, Process, Sweep
from tests.fakes import FakeClock
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError, InvalidCommandError, NotFoundError
from toban.core.labels import Labels
from toban.maintenance import commands, repository
from toban.maintenance.run import MaintenanceRun, RunState, StepOutcome
from toban.maintenance.service import FAILED, FINDINGS, SUCCESS
from toban.maintenance.task import Mode, TaskTools


@pytest.fixture(autouse=True)
def script() -> None:
    Sweep.done, Sweep.cleaned, Sweep.stuck = [], [], set()
    Sweep.before = lambda room: None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 10, 0, 0, tzinfo=UTC))


@pytest.fixture
async def process(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Process]:
    found = Process(tmp_path, clock, Sweep())
    yield found
    await found.close()


async def test_a_task_runs_at_its_time_and_says_what_it_did(process: Process):
    await process.at(2, 59)
    assert await process.runs() == []
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.SUCCEEDED, "3 of 3 steps done")
    assert [(it.name, it.outcome, it.text) for it in run.steps] == [
        ("hall", StepOutcome.DONE, "swept the hall"),
        ("shop", StepOutcome.DONE, "swept the shop"),
        ("store", StepOutcome.DONE, "swept the store"),
    ]
    assert [it.text for it in run.findings] == ["it is locked"]
    assert process.meters.value(FOUND, task="sweep") == 3
    assert process.meters.value(FINDINGS, task="sweep", severity="warning") == 1
    assert process.meters.value(SUCCESS, task="sweep") > 0
    await process.at(3, 1)
    assert len(await process.runs()) == 1


async def test_what_acts_is_known_to_runbooks_and_a_dry_run_does_not(process: Process):
    seen = []
    Sweep.before = lambda room: seen.append(process.service.acting)
    await process.commands.start("sweep", PERSON, dry=True)
    await process.service.settled()
    await process.at(3)
    assert seen == [["sweep"]] * len(seen)
    assert seen
    assert process.service.acting == []


async def test_a_dry_run_changes_nothing(tmp_path: Path, clock: FakeClock):
    process = Process(tmp_path, clock, Sweep(mode=Mode.DRY))
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.DRY, "it would do 3 steps")
    assert {it.outcome for it in run.steps} == {StepOutcome.PLANNED}
    assert (Sweep.done, Sweep.cleaned, process.silences) == ([], [], {})
    await process.close()


async def test_alerts_that_it_may_cause_are_silenced_while_it_acts(process: Process):
    during = []
    Sweep.before = lambda room: during.append(dict(process.silences))
    await process.at(3)
    assert during == [{"s0": True}] * 3
    assert process.silences == {"s0": False}


async def test_a_step_that_fails_costs_only_itself(tmp_path: Path, clock: FakeClock):
    process = Process(tmp_path, clock, Sweep(rooms=("hall", "attic", "store")))
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.FAILED, "2 of 3 steps done; attic: no ladder")
    assert Sweep.done == ["hall", "store"]
    assert process.meters.value(FAILED, task="sweep") == 1
    await process.close()


async def test_a_step_that_fails_keeps_what_it_has_found_and_its_figures(tmp_path: Path, clock: FakeClock):
    process = Process(tmp_path, clock, Sweep(rooms=("cellar",)))
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.steps[0].text) == (RunState.FAILED, "it is flooded")
    assert [it.text for it in run.findings] == ["it is locked", "a foot of it"]
    assert process.meters.value(FOUND, task="sweep") == 12
    await process.close()


async def test_three_failures_one_after_the_other_end_a_run(tmp_path: Path, clock: FakeClock):
    process = Process(tmp_path, clock, Sweep(rooms=("attic", "attic", "attic", "hall")))
    await process.at(3)
    (run,) = await process.runs()
    assert run.text == "3 steps failed one after the other: no ladder"
    assert run.steps[3].outcome is StepOutcome.PLANNED
    await process.close()


async def test_an_unexpected_error_fails_the_run_and_not_the_service(process: Process):
    def bug(room: str) -> None:
        raise RuntimeError("bug")

    Sweep.before = bug
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.FAILED, "unexpected error: RuntimeError: bug")
    assert process.service.health().ok


async def test_a_run_that_takes_too_long_is_cancelled_and_cleaned_up(process: Process):
    Sweep.stuck = {"shop"}
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.FAILED, "it took longer than 0:30:00")
    assert [it.outcome for it in run.steps] == [StepOutcome.DONE, StepOutcome.BEGUN, StepOutcome.PLANNED]
    assert Sweep.cleaned == ["sweep", "sweep"]
    assert process.silences == {"s0": False}


async def test_a_person_ends_a_run(process: Process):
    Sweep.stuck = {"shop"}
    started = await process.commands.start("sweep", PERSON)
    await process.commands.cancel(started.id, PERSON)
    await process.service.settled()
    run = await process.commands.run(started.id)
    assert (run.state, run.text) == (RunState.STOPPED, "ann ended it")
    with pytest.raises(InvalidCommandError, match="has ended: stopped"):
        await process.commands.cancel(started.id, PERSON)


async def test_the_stop_switch_ends_a_run_and_keeps_others_from_starting(process: Process):
    def stop(room: str) -> None:
        process.stopped = room == "shop"

    Sweep.before, Sweep.stuck = stop, {"shop"}
    await process.at(3)
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.STOPPED, "automation is stopped")
    with pytest.raises(InvalidCommandError, match="automation is stopped"):
        await process.commands.start("sweep", PERSON)
    assert (await process.commands.start("sweep", PERSON, dry=True)).is_dry


async def test_a_task_waits_for_the_end_of_an_alarm_and_then_runs(process: Process, clock: FakeClock):
    at = datetime(2026, 3, 10, 2, 50, tzinfo=UTC)
    process.firing = [Alert(Labels(alertname="database_down"), {}, AlertStatus.FIRING, at, at)]
    await process.at(3)
    assert process.service.held == {"sweep": "database_down fires since 02:50 UTC"}
    process.firing = []
    await process.at(4, 30)
    (run,) = await process.runs()
    assert (run.state, run.due) == (RunState.SUCCEEDED, at.replace(hour=3, minute=0))
    assert process.service.held == {}


async def test_what_waits_too_long_is_missed_and_says_why(process: Process):
    at = datetime(2026, 3, 10, 2, 50, tzinfo=UTC)
    process.firing = [Alert(Labels(alertname="database_down"), {}, AlertStatus.FIRING, at, at)]
    await process.at(3)
    await process.at(5, 1)
    (run,) = await process.runs()
    assert run.state is RunState.SKIPPED
    assert run.text == "missed: it was due at 2026-03-10 03:00 UTC: database_down fires since 02:50 UTC"
    assert process.meters.value(FAILED, task="sweep") == 1
    await process.at(5, 2)
    assert len(await process.runs()) == 1


async def test_a_restart_marks_what_was_interrupted_and_the_next_run_cleans_up(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    Sweep.stuck = {"shop"}
    killed = Process(tmp_path, clock, Sweep())
    clock.set(clock.now().replace(hour=3))
    reached = asyncio.Event()
    Sweep.before = lambda room: reached.set() if room == "shop" else None
    await killed.service.once()
    await reached.wait()
    # The process is killed: nothing that it still does reaches the disk, not even an end.
    monkeypatch.setattr(killed.state, "transaction", lambda work: asyncio.Event().wait())
    await killed.close()
    Sweep.stuck = set()
    after = Process(tmp_path, clock, Sweep())
    await after.service.once()
    (run,) = await after.runs()
    assert (run.state, run.text) == (
        RunState.INTERRUPTED,
        "toban ended while it ran: sweep the shop may be half done",
    )
    await after.commands.start("sweep", PERSON)
    await after.service.settled()
    again = (await after.runs())[-1]
    assert [it.name for it in again.steps] == ["shop", "store"]
    assert Sweep.cleaned == ["sweep", "sweep"]
    await after.close()
    for it in [it for it in asyncio.all_tasks() if it.get_name().startswith("maintenance")]:
        it.cancel()


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (None, "removed the dust"),
        (ActionError("the bin is full"), "what it has left is not removed yet: the bin is full"),
    ],
)
async def test_copies_of_customers_data_are_removed_at_the_next_start_and_nobody_begins_meanwhile(
    tmp_path: Path, clock: FakeClock, failure: ActionError | None, said: str
):
    begun: list[object] = []

    class Copying(Sweep):
        cleans_at_start: ClassVar[bool] = True

        async def clean(self, tools: TaskTools) -> str:
            begun.append(await process.service.begin(self, actor=PERSON))
            if failure:
                raise failure
            return "removed the dust"

    process = Process(tmp_path, clock, Copying())
    left = MaintenanceRun(0, "sweep", "sweep", "rooms", RunState.RUNNING, clock.now(), "the dead", clock.now())
    await process.state.transaction(lambda connection: repository.add_run(connection, left))
    await process.service.once()
    (run,) = await process.runs()
    assert (run.state, run.text) == (
        RunState.INTERRUPTED,
        f"toban ended while it ran: 0 of 0 steps were done; {said}",
    )
    assert begun == ["sweep runs (run 1)"]
    await process.close()


async def test_a_stopped_toban_writes_that_it_interrupted_a_run(process: Process):
    Sweep.stuck = {"hall"}
    reached = asyncio.Event()
    Sweep.before = lambda room: reached.set()
    running = asyncio.ensure_future(process.service.run())
    await process.service.begin(process.service.tasks["sweep"], actor=PERSON)
    await reached.wait()
    running.cancel()
    await asyncio.wait([running])
    (run,) = await process.runs()
    assert (run.state, run.text) == (RunState.INTERRUPTED, "toban was stopped while it ran")


async def test_metrics_of_the_last_run_are_there_after_a_restart(tmp_path: Path, clock: FakeClock):
    first = Process(tmp_path, clock, Sweep())
    await first.at(3)
    await first.close()
    second = Process(tmp_path, clock, Sweep())
    await second.service.once()
    for family in (FOUND, SUCCESS):
        assert second.meters.value(family, task="sweep") == first.meters.value(family, task="sweep")
    await second.close()


async def test_unknown_tasks_and_runs_are_named(process: Process):
    with pytest.raises(NotFoundError, match="no maintenance task 'mop': there are sweep"):
        await process.commands.start("mop", PERSON)
    with pytest.raises(NotFoundError, match="maintenance run 7 not found"):
        await process.commands.run(7)


async def test_a_second_start_is_refused_while_the_first_runs(process: Process):
    Sweep.stuck = {"hall"}
    first = await process.commands.start("sweep", PERSON)
    with pytest.raises(InvalidCommandError, match=f"sweep can't start now: sweep runs .run {first.id}."):
        await process.commands.start("sweep", PERSON)
    await process.service.settled()


async def test_a_run_that_is_abandoned_by_another_process_is_ended(tmp_path: Path, clock: FakeClock):
    process = Process(tmp_path, clock, Sweep())
    Sweep.stuck = {"hall"}
    started = await process.commands.start("sweep", PERSON)
    assert not started.is_abandoned(clock.now() + timedelta(seconds=59))
    assert started.is_abandoned(clock.now() + timedelta(seconds=61))
    await process.service.settled()
    await process.close()


async def test_what_a_task_works_on_can_be_away_when_somebody_asks_what_it_lacks(process: Process, monkeypatch):
    async def away(self: Sweep, tools: object) -> str:
        raise ActionError("the rooms are locked")

    async def hangs(self: Sweep, tools: object) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(Sweep, "missing", away)
    assert await process.commands.missing("sweep") == "the rooms are locked"
    monkeypatch.setattr(Sweep, "missing", hangs)
    monkeypatch.setattr(commands, "MISSING_SECONDS", 0.01)
    assert await process.commands.missing("sweep") == "what it works on did not answer within 0.01 seconds"
