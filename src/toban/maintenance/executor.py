"""Executes one run of a task: cleans up, plans, and does one step after the other, until something ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.actor import MAINTENANCE
from toban.core.errors import StateError, TobanError
from toban.core.number_format import counted
from toban.core.ports import Clock
from toban.maintenance import repository
from toban.maintenance.decisions import Conditions, reason_to_stop
from toban.maintenance.run import MaintenanceRun, RunState, StepOutcome, StepRecord
from toban.maintenance.task import StepContext, StepFailedError, StepResult, StepSkippedError, Task, TaskPlan, TaskTools
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.maintenance")

RENEWAL: Final = 10.0
"""Seconds between two looks at what may end a run."""
CLEAN_SECONDS: Final = 60
"""How long the cleaning after an ended run may take."""
MAX_STEPS: Final = 200
"""Steps of a run: the next run does the others."""
MAX_FINDINGS: Final = 300
FAILURES_IN_A_ROW: Final = 3
"""Steps that fail one after the other: what is left would fail too."""


@dataclass(frozen=True, slots=True)
class MaintenancePorts:
    """
    What maintenance uses under one configuration.

    ``silence`` silences alerts by their names until a time, with a comment, and returns the id of the silence, which
    ``unsilence`` ends.
    """

    tasks: Sequence[Task]
    tools: TaskTools
    conditions: Callable[[], Awaitable[Conditions]]
    silence: Callable[[Sequence[str], datetime, str], Awaitable[str]]
    unsilence: Callable[[str], Awaitable[None]]


class RunEndedError(Exception):
    """A run ended here, in a state and with a sentence that says why."""

    def __init__(self, state: RunState, text: str) -> None:
        super().__init__(text)
        self.state = state


class Execution:
    """
    One run while it goes on.

    What a step is about to do is written before it begins; every ten seconds the run is renewed, and what may end it is
    looked at: a person, the stop switch, a critical alert, its time limit, another process that has taken it over.
    """

    def __init__(
        self,
        run: MaintenanceRun,
        task: Task,
        ports: MaintenancePorts,
        state: State,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self.run = run
        """How far it is."""
        self._task = task
        self._ports = ports
        self._state = state
        self._clock = clock
        self._changed = changed
        self._progress = ""

    async def execute(self) -> MaintenanceRun:
        """Execute it and return it as it ended. Raises ``StateError`` where that can't be written."""
        started = self._clock.monotonic()
        body = asyncio.ensure_future(self._body())
        watch = asyncio.ensure_future(self._watch(started))
        try:
            await asyncio.wait([body, watch], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _cancel(body, watch)
            with suppress(StateError):
                await self._end(RunState.INTERRUPTED, "toban was stopped while it ran")
            raise
        if body.done():
            await _cancel(watch)
            state, text = _outcome(body)
        else:
            await _cancel(body)
            state, text = _outcome(watch)
        if state is not RunState.SUCCEEDED and not self.run.is_dry:
            await clean_up(self._task, self.run, self._ports.tools)
        return await self._end(state, text)

    async def _body(self) -> None:
        """Plan and do all steps. Raises ``RunEndedError``."""
        try:
            cleaned = await self._task.clean(self._ports.tools) if not self.run.is_dry else ""
            plan = await self._task.plan(self._ports.tools)
        except TobanError as error:
            raise RunEndedError(RunState.FAILED, str(error)) from error
        steps = tuple(StepRecord.of(it) for it in plan.steps[:MAX_STEPS])
        findings = tuple(plan.findings[:MAX_FINDINGS])
        await self._save(replace(self.run, steps=steps, findings=findings, figures=dict(plan.figures)))
        said = "; ".join(it for it in (cleaned, plan.text) if it)
        if self.run.is_dry:
            raise RunEndedError(RunState.DRY, said or _would(steps))
        if not steps:
            raise RunEndedError(RunState.SUCCEEDED, said or "nothing to do")
        await self._silence()
        await self._do(plan)
        done = sum(it.outcome is StepOutcome.DONE for it in self.run.steps)
        failed = [it for it in self.run.steps if it.outcome is StepOutcome.FAILED]
        how_far = f"{done} of {counted(len(plan.steps), 'step')} done"
        if failed:
            raise RunEndedError(RunState.FAILED, f"{how_far}; {failed[0].name}: {failed[0].text}")
        text = self.run.steps[0].text if len(steps) == 1 else how_far
        raise RunEndedError(RunState.SUCCEEDED, "; ".join(it for it in (said, text) if it))

    async def _do(self, plan: TaskPlan) -> None:
        failures = 0
        for index, step in enumerate(plan.steps[:MAX_STEPS]):
            record = replace(self.run.steps[index], outcome=StepOutcome.BEGUN, began=self._clock.now())
            await self._save(self.run.with_step(index, record))
            context = StepContext(self.run.id, self._tell)
            result, outcome = StepResult(""), StepOutcome.DONE
            try:
                result = await self._task.act(step, context, self._ports.tools)
                failures = 0
            except StepSkippedError as error:
                result, outcome = StepResult(str(error)), StepOutcome.SKIPPED
            except StepFailedError as error:
                result, outcome = error.result, StepOutcome.FAILED
                failures += 1
            except TobanError as error:
                result, outcome = StepResult(str(error)), StepOutcome.FAILED
                failures += 1
            self._progress = ""
            record = replace(record, outcome=outcome, text=result.text[:1000], ended=self._clock.now())
            after = self.run.with_step(index, record)
            await self._save(
                replace(
                    after,
                    findings=(*after.findings, *result.findings)[:MAX_FINDINGS],
                    figures={**after.figures, **result.figures},
                )
            )
            if failures == FAILURES_IN_A_ROW:
                raise RunEndedError(
                    RunState.FAILED, f"{counted(failures, 'step')} failed one after the other: {result.text}"
                )

    def _tell(self, text: str) -> None:
        self._progress = text[:200]
        self.run = replace(self.run, progress=self._progress)
        self._changed()

    async def _watch(self, started: float) -> None:
        """Renew the run, until something ends it. Raises ``RunEndedError``."""
        limit = self._task.timeout.total_seconds()
        while True:
            left = limit - (self._clock.monotonic() - started)
            if left <= 0:
                raise RunEndedError(RunState.FAILED, f"it took longer than {self._task.timeout}")
            await self._clock.sleep(min(RENEWAL, left))
            await self._save(self.run)
            stored = await self._state.transaction(lambda connection: repository.run(connection, self.run.id))
            if stored and stored.canceled_by:
                raise RunEndedError(RunState.STOPPED, f"{stored.canceled_by} ended it")
            if reason := reason_to_stop(self._task, await self._ports.conditions(), self.run):
                raise RunEndedError(RunState.STOPPED, reason)

    async def _silence(self) -> None:
        """Silence the alerts that it may cause, until it must have ended."""
        if not self._task.mutes:
            return
        until = self._clock.now() + self._task.timeout
        comment = f"maintenance: {self._task.name} (run {self.run.id})"
        await self._save(replace(self.run, silence=await self._ports.silence(self._task.mutes, until, comment)))

    async def _end(self, state: RunState, text: str) -> MaintenanceRun:
        if self.run.silence:
            try:
                await self._ports.unsilence(self.run.silence)
            except TobanError as error:
                log.warning("silence not ended", silence=self.run.silence, error=str(error))
        ended = replace(self.run, renewed=self._clock.now()).finished(state, self._clock.now(), text)
        facts = {"task": ended.task, "run": ended.id, "outcome": state.value, "text": text[:1000], "by": ended.by}

        def work(connection: Connection) -> bool:
            is_own = repository.save_run(connection, ended)
            if is_own and not ended.is_dry:
                audit_log.record(connection, AuditEntry(self._clock.now(), MAINTENANCE, "ended maintenance", facts))
            return is_own

        if not await self._state.transaction(work):
            log.warning("maintenance run was taken over", task=ended.task, run=ended.id)
        self.run = ended
        self._changed()
        return ended

    async def _save(self, run: MaintenanceRun) -> None:
        """Write the run. Raises ``RunEndedError`` where another process has taken it over, and ``StateError``."""
        self.run = replace(run, renewed=self._clock.now(), progress=self._progress)
        if not await self._state.transaction(lambda connection: repository.save_run(connection, self.run)):
            raise RunEndedError(RunState.INTERRUPTED, "another process has taken it over")
        self._changed()


async def clean_up(task: Task, run: MaintenanceRun, tools: TaskTools) -> str:
    """Clean up after a run that has ended in the middle; return what was there. The next run does what this can't."""
    try:
        async with asyncio.timeout(CLEAN_SECONDS):
            return await task.clean(tools)
    except TobanError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"it takes longer than {CLEAN_SECONDS} seconds"
    log.warning("maintenance not cleaned up", task=run.task, run=run.id, error=reason)
    return f"what it has left is not removed yet: {reason}"


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    """Cancel tasks, and wait for their end."""
    for it in tasks:
        it.cancel()
    await asyncio.wait(tasks)
    for it in tasks:
        if not it.cancelled():
            it.exception()  # what it raised while it was cancelled is of no interest


def _outcome(ended: asyncio.Future[None]) -> tuple[RunState, str]:
    """Return how a run ended. Raises ``StateError``."""
    error = ended.exception()
    if isinstance(error, RunEndedError):
        return error.state, str(error)
    if isinstance(error, StateError):
        raise error
    log.error("maintenance failed unexpectedly", exc_info=error)
    return RunState.FAILED, f"unexpected error: {type(error).__name__}: {error}"


def _would(steps: Sequence[StepRecord]) -> str:
    return f"it would do {counted(len(steps), 'step')}" if steps else "nothing to do"
