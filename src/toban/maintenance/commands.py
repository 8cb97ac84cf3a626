"""Commands on maintenance: list tasks and runs, start one, end one."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import Connection

from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, TobanError
from toban.core.input_limits import repair_surrogates
from toban.core.ports import Clock
from toban.maintenance import repository
from toban.maintenance.decisions import next_start
from toban.maintenance.run import MaintenanceRun
from toban.maintenance.service import MaintenanceService
from toban.maintenance.task import Task
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

T = TypeVar("T", str, str | None)

LISTED: Final = 30
MISSING_SECONDS: Final = 20
"""How long looking for what a task lacks may take: somebody waits for it."""


@dataclass(frozen=True, slots=True)
class TaskReport:
    """
    A task, its next time and its newest runs, newest first.

    ``not_configured`` is the setting that it lacks; ``held`` why it has not started although it is due.
    """

    task: Task
    not_configured: str
    next: datetime | None
    held: str
    runs: Sequence[MaintenanceRun]


async def problem_of(missing: Awaitable[T]) -> T | str:
    """Return what a task lacks; also that what it works on can't be reached."""
    try:
        async with asyncio.timeout(MISSING_SECONDS):
            return await missing
    except TobanError as error:
        return str(error)
    except TimeoutError:
        return f"what it works on did not answer within {MISSING_SECONDS} seconds"


class MaintenanceCommands:
    """Shows tasks, and starts and ends their runs."""

    def __init__(self, service: MaintenanceService, state: State, clock: Clock) -> None:
        self._service = service
        self._state = state
        self._clock = clock

    @property
    def zone(self) -> str:
        """The name of the time zone of the schedules."""
        return self._service.ports.tools.zone.key

    async def tasks(self) -> list[TaskReport]:
        """Return all tasks with their newest runs. Raises ``StateError``."""
        service, now = self._service, self._clock.now()
        names = list(service.tasks)

        def work(connection: Connection) -> dict[str, list[MaintenanceRun]]:
            return {name: repository.runs(connection, LISTED, name) for name in names}

        runs = await self._state.transaction(work)
        return [
            TaskReport(
                task,
                problem := service.not_configured(task),
                None if problem else next_start(task, service.ports.tools.zone, now),
                service.held.get(name, ""),
                [service.current(it) for it in runs[name]],
            )
            for name, task in service.tasks.items()
        ]

    async def between(self, since: datetime, until: datetime) -> list[MaintenanceRun]:
        """Return the runs that were started between two times, oldest first. Raises ``StateError``."""
        found = await self._state.transaction(lambda connection: repository.runs_since(connection, since))
        return [it for it in found if it.started < until]

    async def missing(self, name: str) -> str:
        """Return what keeps a task from working here, with the remedy. Raises ``NotFoundError``."""
        task = self._task(name)
        if problem := self._service.not_configured(task):
            return problem
        return await problem_of(task.missing(self._service.ports.tools))

    async def run(self, number: int) -> MaintenanceRun:
        """Return one run. Raises ``NotFoundError``, ``StateError``."""
        return self._service.current(await self._found(number))

    async def start(self, name: str, actor: Actor, *, dry: bool = False) -> MaintenanceRun:
        """
        Start a task by hand.

        Raises ``NotFoundError``, ``InvalidCommandError`` where it can't run now, ``StateError``.
        """
        task = self._task(name)
        if problem := self._service.not_configured(task):
            raise InvalidCommandError(f"{task.name} can't run here: {problem}", "task")
        if not dry and (await self._service.ports.conditions()).is_stopped:
            raise InvalidCommandError("automation is stopped: `toban run --resume` starts it again", "task")
        begun = await self._service.begin(task, actor=actor, dry=dry)
        if isinstance(begun, str):
            raise InvalidCommandError(f"{task.name} can't start now: {begun}", "task")
        return begun

    async def cancel(self, number: int, actor: Actor) -> MaintenanceRun:
        """
        End a run that goes on; its step is cancelled within seconds.

        Raises ``NotFoundError``, ``InvalidCommandError`` where it has ended, ``StateError``.
        """
        run = await self._found(number)
        if not run.is_open:
            raise InvalidCommandError(f"run {number} has ended: {run.state.value}", "id")
        entry = AuditEntry(self._clock.now(), actor, "canceled maintenance", {"task": run.task, "run": run.id})

        def work(connection: Connection) -> None:
            repository.cancel(connection, number, actor.name)
            audit_log.record(connection, entry)

        await self._state.transaction(work)
        return self._service.current(run)

    def _task(self, name: str) -> Task:
        task = self._service.tasks.get(name)
        if task is None:
            known = ", ".join(self._service.tasks) or "none"
            raise NotFoundError(f"no maintenance task {repair_surrogates(name)[:100]!r}: there are {known}")
        return task

    async def _found(self, number: int) -> MaintenanceRun:
        found = None
        if abs(number) < 2**62:
            found = await self._state.transaction(lambda connection: repository.run(connection, number))
        if found is None:
            raise NotFoundError(f"maintenance run {number} not found")
        return found
