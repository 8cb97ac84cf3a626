"""The maintenance service: starts tasks at their times, once over all processes that share its state."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.actor import MAINTENANCE, Actor
from toban.core.background_tasks import BackgroundTasks
from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.number_format import counted
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter, gauge
from toban.core.wakeup import Wakeup
from toban.maintenance import repository
from toban.maintenance.decisions import due, is_dry, reason_to_wait
from toban.maintenance.executor import Execution, MaintenancePorts, clean_up
from toban.maintenance.run import DONE, FAILURES, MaintenanceRun, RunState
from toban.maintenance.task import Severity, Task
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.maintenance")

INTERVAL: Final = timedelta(seconds=20)
"""How long the service waits at most before it looks at the schedules again."""
RETENTION: Final = timedelta(days=761)
PRUNE_INTERVAL: Final = timedelta(hours=6)
HISTORY: Final = timedelta(days=60)

ENDED: Final = counter("toban_maintenance_runs_total", "Ended runs of maintenance tasks.", labels=("task", "outcome"))
SUCCESS: Final = gauge(
    "toban_maintenance_last_success_timestamp_seconds",
    "When a maintenance task succeeded last.",
    "seconds",
    labels=("task",),
)
SECONDS: Final = gauge(
    "toban_maintenance_last_duration_seconds",
    "How long the last run of a maintenance task took.",
    "seconds",
    labels=("task",),
)
FAILED: Final = gauge(
    "toban_maintenance_failed",
    "Whether the last run of a maintenance task failed, or was missed.",
    labels=("task",),
)
FINDINGS: Final = gauge(
    "toban_maintenance_findings", "Findings of the last run of a task, by severity.", labels=("task", "severity")
)


class MaintenanceService:
    """Starts, executes and ends runs."""

    name = "maintenance"

    def __init__(self, state: State, clock: Clock, meters: MetricRegistry) -> None:
        """It is configured before it runs."""
        self.ports: MaintenancePorts
        """What it uses under the configuration of now."""
        self.held: Mapping[str, str] = {}
        """By task that is due, why it has not started."""
        self.changes = 0
        """How often a run has changed since the start."""
        self._state = state
        self._clock = clock
        self._meters = meters
        self._owner = uuid.uuid4().hex
        self._since = clock.now()
        self._wakeup = Wakeup(clock)
        self._executions: dict[int, Execution] = {}
        self._running = BackgroundTasks()
        self._beginning = asyncio.Lock()
        """Held while a run is written and not yet executed: it must not look abandoned."""
        self._failure = FailureLog(log, "state unavailable: no maintenance runs", "state available again")
        self._loaded = False
        self._pruned: datetime | None = None

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks by name."""
        return {it.name: it for it in self.ports.tasks}

    def configure(self, ports: MaintenancePorts) -> None:
        """Go on with another configuration; runs that go on end under the one that they began with."""
        self.ports = ports
        self._loaded = False
        self._wakeup.set()

    def not_configured(self, task: Task) -> str:
        """Return the setting that a task needs and that is not set."""
        return task.not_configured(self.ports.tools.shop.settings)

    def current(self, run: MaintenanceRun) -> MaintenanceRun:
        """Return a run as it is known here: with the progress of this moment where this process runs it."""
        execution = self._executions.get(run.id)
        return execution.run if execution else run

    async def run(self) -> None:
        """Start and execute runs until cancelled; those that go on then are interrupted."""
        try:
            while True:
                await self.once()
                await self._wakeup.wait(INTERVAL.total_seconds())
        finally:
            await self._running.cancel()

    async def once(self) -> None:
        """Take note of interrupted runs, and start what is due."""
        try:
            if not self._loaded:
                await self._load()
                self._loaded = True
            await self._end_abandoned()
            await self._start_due()
            await self._prune()
        except StateError as error:
            self._failure.failed(str(error))
        else:
            self._failure.succeeded()

    async def settled(self) -> None:
        """Wait until no run goes on."""
        await self._running.settled()

    async def begin(
        self, task: Task, *, due_at: datetime | None = None, actor: Actor = MAINTENANCE, dry: bool = False
    ) -> MaintenanceRun | str:
        """
        Begin a run, which is executed in the background; return why not where its target is busy or its time is taken.

        Raises ``StateError``.
        """
        now = self._clock.now()
        by = "" if actor == MAINTENANCE else actor.name
        new = MaintenanceRun(
            0, task.name, task.kind, task.target, RunState.RUNNING, now, self._owner, now, due_at, by, dry
        )
        facts = {"task": task.name, "dry": dry}

        def work(connection: Connection) -> MaintenanceRun | str:
            if due_at and repository.is_taken(connection, task.name, due_at):
                return "another process runs it"
            for it in repository.open_runs(connection):
                if task.target == it.target or task.name == it.task:
                    return f"{it.task} runs (run {it.id})"
            if by or not dry:
                audit_log.record(connection, AuditEntry(now, actor, "began maintenance", facts))
            return repository.add_run(connection, new)

        async with self._beginning:
            run = await self._state.transaction(work)
            if isinstance(run, MaintenanceRun):
                log.info("maintenance started", task=task.name, run=run.id, dry=dry)
                execution = Execution(run, task, self.ports, self._state, self._clock, self._changed)
                self._executions[run.id] = execution
                self._running.start(run.id, self._execute(execution), f"maintenance {task.name} {run.id}")
                self._changed()
        return run

    async def _execute(self, execution: Execution) -> None:
        run = execution.run
        try:
            ended = await execution.execute()
            self._report(ended)
            write = log.warning if ended.state in FAILURES else log.info
            write("maintenance ended", task=ended.task, run=ended.id, outcome=ended.state.value, reason=ended.text)
        except StateError as error:
            # The row stays as it is, and is found as abandoned when state is available again.
            log.warning("maintenance interrupted: state unavailable", task=run.task, run=run.id, error=str(error))
        finally:
            self._executions.pop(run.id, None)
            self._wakeup.set()

    async def _load(self) -> None:
        """Report the last runs of all tasks: their metrics go on after a restart."""
        since = self._clock.now() - HISTORY
        runs = await self._state.transaction(lambda connection: repository.runs_since(connection, since))
        for task in self.ports.tasks:
            self._meters.set(FAILED, 0, task=task.name)
            for severity in Severity:
                self._meters.set(FINDINGS, 0, task=task.name, severity=severity.value)
        for run in runs:
            if not run.is_open:
                self._publish(run)

    def _report(self, run: MaintenanceRun) -> None:
        self._meters.add(ENDED, task=run.task, outcome=run.state.value)
        self._publish(run)

    def _publish(self, run: MaintenanceRun) -> None:
        """Set the metrics that follow from an ended run."""
        task, meters = self.tasks.get(run.task), self._meters
        if task is None or run.ended is None:
            return
        if run.state in FAILURES or run.state in {RunState.SKIPPED, *DONE}:
            meters.set(FAILED, run.state not in DONE, task=run.task)
        if run.state in DONE:
            meters.set(SECONDS, (run.ended - run.started).total_seconds(), task=run.task)
            for severity in Severity:
                found = sum(it.severity is severity for it in run.findings)
                meters.set(FINDINGS, found, task=run.task, severity=severity.value)
        if run.state is RunState.SUCCEEDED:
            meters.set(SUCCESS, run.ended.timestamp(), task=run.task)
        for family in task.metrics:
            if family.name in run.figures:
                meters.set(family, run.figures[family.name], task=run.task)

    async def _end_abandoned(self) -> None:
        """Mark the runs of processes that have ended as interrupted."""
        async with self._beginning:
            now, runs = self._clock.now(), await self._state.transaction(repository.open_runs)
            abandoned = [it for it in runs if self._is_abandoned(it, now)]
        for run in abandoned:
            await self._end_interrupted(run)

    def _is_abandoned(self, run: MaintenanceRun, now: datetime) -> bool:
        if run.owner == self._owner:
            return run.id not in self._running
        # With an exclusive state, no other process can have it open.
        return self._state.is_exclusive or run.is_abandoned(now)

    async def _end_interrupted(self, run: MaintenanceRun) -> None:
        """Clean up where that must not wait for the next run, which can't begin before this one is marked."""
        said = f"toban ended while it ran: {_last_step(run)}"
        task = self.tasks.get(run.task)
        if task and task.cleans_at_start and not run.is_dry and not self.not_configured(task):
            cleaned = await clean_up(task, run, self.ports.tools)
            said = "; ".join(it for it in (said, cleaned) if it)
        now = self._clock.now()
        ended = replace(run, renewed=now).finished(RunState.INTERRUPTED, now, said)
        facts = {"task": run.task, "run": run.id, "outcome": ended.state.value, "text": ended.text[:1000]}

        def work(connection: Connection) -> bool:
            is_open = repository.save_run(connection, ended)
            if is_open:
                audit_log.record(connection, AuditEntry(now, MAINTENANCE, "ended maintenance", facts))
            return is_open

        if await self._state.transaction(work):
            self._report(ended)
            self._changed()
            log.warning("maintenance was interrupted", task=run.task, run=run.id, reason=ended.text)

    async def _start_due(self) -> None:
        now, zone = self._clock.now(), self.ports.tools.zone
        handled, held = await self._state.transaction(repository.last_due), dict[str, str]()
        for task in sorted(self.ports.tasks, key=lambda it: it.name):
            if self.not_configured(task):
                continue
            found = due(task, zone, handled.get(task.name, self._since), now)
            if found.missed and not found.at:
                await self._skip(task, found.missed, self.held.get(task.name, "toban did not run"))
            if found.at and (reason := await self._start(task, found.at)):
                held[task.name] = reason
        if held != self.held:
            self.held = held
            self.changes += 1

    async def _start(self, task: Task, at: datetime) -> str:
        """Start what is due; return why it has to wait."""
        since = self._clock.now() - HISTORY

        def work(connection: Connection) -> tuple[Sequence[MaintenanceRun], Sequence[MaintenanceRun]]:
            return repository.open_runs(connection), repository.runs_since(connection, since)

        running, runs = await self._state.transaction(work)
        if reason := reason_to_wait(task, await self.ports.conditions(), running):
            return reason
        dry, why = is_dry(task, [it for it in runs if it.task == task.name], self._clock.now())
        if why:
            log.warning("maintenance runs dry", task=task.name, reason=why)
        begun = await self.begin(task, due_at=at, dry=dry)
        return begun if isinstance(begun, str) else ""

    async def _skip(self, task: Task, at: datetime, reason: str) -> None:
        """Write that a time of a schedule was missed."""
        now = self._clock.now()
        text = f"missed: it was due at {at:%Y-%m-%d %H:%M} UTC: {reason}"
        new = MaintenanceRun(0, task.name, task.kind, task.target, RunState.RUNNING, now, self._owner, now, at)
        skipped = new.finished(RunState.SKIPPED, now, text)

        def work(connection: Connection) -> bool:
            if repository.is_taken(connection, task.name, at):
                return False
            repository.add_run(connection, skipped)
            return True

        if await self._state.transaction(work):
            log.warning("maintenance missed", task=task.name, due=at.isoformat(), reason=reason)
            self._report(skipped)
            self._changed()

    async def _prune(self) -> None:
        now = self._clock.now()
        if self._pruned is None or now - self._pruned >= PRUNE_INTERVAL:
            self._pruned = now
            await self._state.transaction(lambda connection: repository.prune(connection, now - RETENTION))

    def _changed(self) -> None:
        self.changes += 1

    @property
    def acting(self) -> list[str]:
        """The tasks that run now and change something."""
        return [it.run.task for it in self._executions.values() if not it.run.is_dry]

    def health(self) -> HealthStatus:
        """Return whether tasks can run."""
        if error := self._failure.error:
            return HealthStatus(False, f"state unavailable: no maintenance runs: {error}")
        running = [it.run.task for it in self._executions.values()]
        return HealthStatus(True, f"{', '.join(running)} running" if running else f"{len(self.ports.tasks)} tasks")


def _last_step(run: MaintenanceRun) -> str:
    begun = next((it for it in run.steps if it.began and not it.ended), None)
    if begun:
        return f"{begun.description} may be half done"
    return f"{run.steps_done} of {counted(len(run.steps), 'step')} were done"
