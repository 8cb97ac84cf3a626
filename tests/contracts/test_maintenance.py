"""Maintenance runs, as both databases keep them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.fake_maintenance import Process, Sweep
from toban.maintenance import repository
from toban.maintenance.run import MaintenanceRun, RunState, StepOutcome, StepRecord
from toban.maintenance.task import Finding, Severity
from toban.state.backends import PostgresBackend

NOW = datetime(2026, 3, 4, 3, 30, tzinfo=UTC)


def run_of(task: str = "vacuum", due: datetime | None = NOW, owner: str = "a") -> MaintenanceRun:
    steps = (
        StepRecord("order", "vacuum order", StepOutcome.DONE, "vacuumed", NOW, NOW + timedelta(seconds=2)),
        StepRecord("order_line", "vacuum order_line", StepOutcome.BEGUN, "", NOW),
        StepRecord("session", "vacuum session"),
    )
    findings = (Finding("role", "not the owner", Severity.WARNING, "GRANT pg_maintain TO toban"),)
    figures = {"rows": 0.1, "bytes": 2.0**53}
    return MaintenanceRun(
        0, task, "postgres_vacuum", "postgres", RunState.RUNNING, NOW, owner, NOW, due, "", False,
        steps=steps, findings=findings, figures=figures, progress="1 of 3", silence="s1",
    )  # fmt: skip  # a line a field would be longer than the test


async def test_a_run_is_read_as_it_was_written(state):
    def work(connection):
        written = repository.add_run(connection, run_of())
        return written, repository.run(connection, written.id), repository.open_runs(connection)

    written, read, open_runs = await state.transaction(work)
    assert read == written
    assert open_runs == [written]


async def test_a_time_of_a_schedule_is_taken_once_and_runs_by_hand_as_often_as_wanted(state):
    await state.transaction(lambda connection: repository.add_run(connection, run_of()))
    taken = await state.transaction(lambda connection: repository.is_taken(connection, "vacuum", NOW))
    assert taken
    await state.transaction(lambda connection: repository.add_run(connection, run_of(due=None)))
    await state.transaction(lambda connection: repository.add_run(connection, run_of(due=None)))
    assert len(await state.transaction(lambda connection: repository.runs(connection, 10, "vacuum"))) == 3
    assert await state.transaction(repository.last_due) == {"vacuum": NOW}


async def test_only_the_owner_writes_and_not_after_the_end(state):
    def work(connection):
        run = repository.add_run(connection, run_of())
        stranger = replace(run, owner="b", progress="2 of 3")
        ended = run.finished(RunState.SUCCEEDED, NOW, "done")
        results = [repository.save_run(connection, it) for it in (stranger, ended, run)]
        return results, repository.run(connection, run.id)

    results, read = await state.transaction(work)
    assert results == [False, True, False]
    assert (read.state, read.text, read.progress) == (RunState.SUCCEEDED, "done", "")


async def test_who_wants_a_run_to_end_is_kept_beside_what_its_owner_writes(state):
    def work(connection):
        run = repository.add_run(connection, run_of())
        repository.cancel(connection, run.id, "ann")
        repository.save_run(connection, run)
        return repository.run(connection, run.id)

    assert (await state.transaction(work)).canceled_by == "ann"


async def test_old_runs_are_deleted_and_those_that_go_on_are_not(state):
    def work(connection):
        repository.add_run(connection, run_of(due=None))
        ended = repository.add_run(connection, run_of("prune", None))
        repository.save_run(connection, ended.finished(RunState.SUCCEEDED, NOW, ""))
        repository.prune(connection, NOW + timedelta(seconds=1))
        return [it.task for it in repository.runs(connection, 10)]

    assert await state.transaction(work) == ["vacuum"]


@pytest.fixture
def copies(postgres, clock, tmp_path):
    """Return what starts a copy of toban on one PostgreSQL: an SQLite database belongs to one process."""
    name = f"copies_{abs(hash(str(tmp_path)))}"
    postgres.execute(f"CREATE DATABASE {name}")
    Sweep.done, Sweep.cleaned, Sweep.stuck, Sweep.before = [], [], set(), lambda room: None
    return lambda: Process(tmp_path, clock, Sweep(rooms=("hall",)), backend=PostgresBackend(postgres.address(name)))


async def test_of_two_copies_one_runs_what_is_due(copies, clock):
    one, other = copies(), copies()
    for day in range(3, 13):
        clock.set(NOW.replace(day=day, hour=3, minute=0))
        Sweep.done.clear()
        await asyncio.gather(one.service.once(), other.service.once())
        await asyncio.gather(one.service.settled(), other.service.settled())
        assert Sweep.done == ["hall"]
    runs = await one.runs()
    assert [it.due.day for it in runs] == list(range(3, 13))
    assert {it.state for it in runs} == {RunState.SUCCEEDED}
    await one.close()
    await other.close()


async def test_a_copy_ends_the_run_of_one_that_has_died_and_not_that_of_one_that_lives(copies, clock):
    survivor = copies()
    dead = run_of("sweep", None, "the dead")
    await survivor.state.transaction(lambda connection: repository.add_run(connection, dead))
    clock.set(NOW + timedelta(seconds=59))
    await survivor.service.once()
    assert [it.state for it in await survivor.runs()] == [RunState.RUNNING]
    clock.set(NOW + timedelta(seconds=61))
    await survivor.service.once()
    run = (await survivor.runs())[0]
    assert (run.state, run.text) == (
        RunState.INTERRUPTED,
        "toban ended while it ran: vacuum order_line may be half done",
    )
    await survivor.service.settled()
    await survivor.close()
