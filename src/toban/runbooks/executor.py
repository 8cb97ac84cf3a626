"""Executes one run, step by step: plan, ask, check the brakes, write the intent, act, write the result."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.actor import RUNBOOKS
from toban.core.errors import TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.runbook_events import TOPIC, RunbookEvent
from toban.core.samples import counter
from toban.runbooks import repository
from toban.runbooks.action import Action, ActionContext, Plan
from toban.runbooks.brakes import VALID_FOR, may_act
from toban.runbooks.run import FAILURES, Run, RunState, StepRecord
from toban.runbooks.runbook import Mode, Runbook, TextStep
from toban.runbooks.situation import RunbookPorts, SituationReader
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.runbooks")

LOOKS_FOR: Final = timedelta(minutes=2)
"""How long it tries to find out whether an act was done: the network may come a little after toban."""
LOOK_INTERVAL: Final = 10.0

RUNS: Final = counter("toban_runbook_runs_total", "Ended runs of runbooks.", labels=("runbook", "outcome"))
ACTS: Final = counter("toban_runbook_acts_total", "Acts of runbooks.", labels=("runbook", "action", "outcome"))


class RunEndedError(Exception):
    """A run ended here, in a state and with a sentence that says why."""

    def __init__(self, state: RunState, text: str) -> None:
        super().__init__(text)
        self.state = state


class RunPausedError(Exception):
    """A run waits for a person."""


class RunExecutor:
    """
    Executes runs.

    An act is written before it is done, with its audit row, and its result after that. `look_at` is for what a crash
    left in between.
    """

    def __init__(
        self,
        ports: Callable[[], RunbookPorts],
        situations: SituationReader,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
        changed: Callable[[], None],
    ) -> None:
        """``changed`` is called whenever a run was written."""
        self._ports = ports
        self._situations = situations
        self._state = state
        self._clock = clock
        self._meters = meters
        self._changed = changed

    async def execute(self, run: Run) -> None:
        """Execute a run from its next step on, until it ends or waits for a person. Raises ``StateError``."""
        try:
            runbook = self._runbook(run)
            while run.step < len(runbook.steps):
                step = runbook.steps[run.step]
                run = await (
                    self._text_step(run, step) if isinstance(step, TextStep) else self._action_step(runbook, run, step)
                )
            if run.mode == Mode.DRY:
                raise RunEndedError(RunState.DRY, "a dry run: nothing was done")
            raise RunEndedError(RunState.SUCCEEDED, "all of its steps are done")
        except RunPausedError:
            return
        except RunEndedError as ended:
            await self.end(run.id, ended.state, str(ended))

    def _runbook(self, run: Run) -> Runbook:
        runbook = next((it for it in self._ports().runbooks if it.name == run.runbook), None)
        if runbook is None or runbook.version != run.version:
            raise RunEndedError(RunState.VOID, "the runbook was changed or removed meanwhile")
        return runbook

    async def _text_step(self, run: Run, step: TextStep) -> Run:
        plan = Plan(step.text, facts={"text_ja": step.text_ja} if step.text_ja else {})
        if run.mode == Mode.DRY:
            return await self._record(run, run.begin("text", plan, self._clock.now()), step.text)
        await self._save(replace(run, state=RunState.WAITING, question=plan), "waits", step.text, text_ja=step.text_ja)
        raise RunPausedError

    async def _action_step(self, runbook: Runbook, run: Run, action: Action) -> Run:
        """Execute one action; return the run with the next step."""
        if run.mode != Mode.DRY and (await self._situations.read()).is_stopped:
            raise RunEndedError(RunState.STOPPED, "automation is stopped")
        context, decided = self._context(run), self._clock.monotonic()
        try:
            async with asyncio.timeout(action.timeout.total_seconds()):
                plan = await self._plan(action, context)
        except (TobanError, TimeoutError) as error:
            raise RunEndedError(RunState.FAILED, _reason(action, error)) from error
        if run.mode == Mode.DRY or not plan.needed:
            text = f"would {plan.description}" if action.acts and plan.needed else plan.description
            return await self._record(run, run.begin(action.kind, plan, self._clock.now()), text)
        run = await self._approved(runbook, run, action, plan)
        if action.acts:
            await self._check_brakes(runbook, run, plan, decided)
        record = run.begin(action.kind, plan, self._clock.now(), acts=action.acts)
        run = run.with_step(record)
        await self._save(run, "acts" if action.acts else "", plan.description, "begins to act")
        try:
            async with asyncio.timeout(action.timeout.total_seconds()):
                text = await action.run(plan, context, self._ports().tools)
        except (TobanError, TimeoutError) as error:
            reason = _reason(action, error)
            self._count(run, action, "failed")
            failed = replace(record, ended=self._clock.now(), text=reason)
            await self._save(run.with_step(failed), "", reason, "acted without effect" if action.acts else "")
            raise RunEndedError(RunState.FAILED, reason) from error
        self._count(run, action, "succeeded")
        return await self._record(run, record, text)

    async def _plan(self, action: Action, context: ActionContext) -> Plan:
        tools = self._ports().tools
        if action.unless and await tools.has_result(action.unless):
            return Plan(f"not needed: `{action.unless}` has a result", needed=False)
        return await action.plan(context, tools)

    async def _approved(self, runbook: Runbook, run: Run, action: Action, plan: Plan) -> Run:
        """Return the run once a person has approved this plan; where nobody has, ask and wait."""
        needs_answer = action.asks or plan.needs_approval or (action.acts and run.mode == Mode.ASK)
        if not needs_answer:
            return run
        # One yes is for all acts of a run but those that need one of their own.
        if not run.approved_by or ((action.asks or plan.needs_approval) and run.question is None):
            expires = self._clock.now() + runbook.guard.expires
            asked = replace(run, state=RunState.ASKED, question=plan, expires=expires, approved_by="")
            await self._save(asked, "asked", plan.description)
            raise RunPausedError
        approved = run.question
        if approved and (approved.state, approved.targets) != (plan.state, plan.targets):
            text = f"what was approved has changed ({approved.description}): now it would {plan.description}"
            raise RunEndedError(RunState.VOID, text)
        return replace(run, question=None, expires=None)

    async def _check_brakes(self, runbook: Runbook, run: Run, plan: Plan, decided: float) -> None:
        situation = await self._situations.read()
        if reason := may_act(self._ports().settings, runbook, run, plan.targets, situation):
            state = RunState.STOPPED if situation.is_stopped else RunState.VOID
            raise RunEndedError(state, f"{reason}: it does not {plan.description}")
        if self._clock.monotonic() - decided > VALID_FOR.total_seconds():
            raise RunEndedError(RunState.VOID, "what it was decided on is older than a minute")

    async def look_at(self, run: Run, record: StepRecord) -> Run | None:
        """
        Look whether an act without a result was done; return the run with the next step, None where it ended.

        What is not known is never repeated. Raises ``StateError``.
        """
        found = await self._found(run, record)
        if found is not None:
            return await self._record(replace(run, step=record.index), record, found)
        text = f"toban ended while it began to {record.plan.description}: look whether it was done, it is not repeated"
        await self.end(run.id, RunState.UNKNOWN, text)
        return None

    async def _found(self, run: Run, record: StepRecord) -> str | None:
        """Ask the action of a record whether it was done; for a while also where it can't find out."""
        context, started = self._context(replace(run, step=record.index)), self._clock.monotonic()
        while True:
            try:
                action = self._runbook(run).steps[record.index]
                assert isinstance(action, Action)  # noqa: S101  # a step for people does not act
                async with asyncio.timeout(action.timeout.total_seconds()):
                    return await action.look(record.plan, context, self._ports().tools)
            except RunEndedError:
                return None
            except (TobanError, TimeoutError) as error:
                log.warning("act not verified", runbook=run.runbook, run=run.id, error=str(error))
                if self._clock.monotonic() - started >= LOOKS_FOR.total_seconds():
                    return None
            await self._clock.sleep(LOOK_INTERVAL)

    async def end(self, number: int, state: RunState, text: str) -> None:
        """End a run that goes on. Raises ``StateError``."""

        def work(connection: Connection) -> Run | None:
            found = repository.run(connection, number)
            if found is None or not found.is_open:
                return None
            ended = found.finished(state, self._clock.now(), text)
            repository.save_run(connection, ended)
            tell(connection, ended, state.value, text, self._clock)
            return ended

        if ended := await self._state.transaction(work):
            self._changed()
            self._meters.add(RUNS, runbook=ended.runbook, outcome=state.value)
            write = log.warning if state in FAILURES else log.info
            write("runbook ended", runbook=ended.runbook, run=number, outcome=state.value, reason=text)

    async def _record(self, run: Run, record: StepRecord, text: str) -> Run:
        """Write the result of an act, and go on with the next one, of this step or of the one after it."""
        done = replace(record, ended=self._clock.now(), ok=True, text=text)
        again = record.acts and record.plan.goes_on
        after = replace(run.with_step(done), step=run.step if again else run.step + 1)
        await self._save(after, "acted" if record.acts else "", text, "acted")
        return after

    async def _save(self, run: Run, event: str, text: str, audit: str = "", text_ja: str = "") -> None:
        """Write a run, what it tells others, and its row of the audit log where it acts."""
        record = run.steps[-1] if run.steps else None

        def work(connection: Connection) -> None:
            repository.save_run(connection, run)
            if event:
                tell(connection, run, event, text, self._clock, run.approved_by or run.by, text_ja)
            if audit and record and record.acts:
                facts = {
                    "runbook": run.runbook,
                    "run": run.id,
                    "key": record.key,
                    "action": record.kind,
                    "targets": list(record.plan.targets),
                    "text": text[:1000],
                    "approved_by": run.approved_by,
                }
                audit_log.record(connection, AuditEntry(self._clock.now(), RUNBOOKS, audit, facts))

        await self._state.transaction(work)
        self._changed()

    def _context(self, run: Run) -> ActionContext:
        return ActionContext(run.alert, run.id, run.key, run.started)

    def _count(self, run: Run, action: Action, outcome: str) -> None:
        if action.acts:
            self._meters.add(ACTS, runbook=run.runbook, action=action.kind, outcome=outcome)


def tell(
    connection: Connection, run: Run, event: str, text: str, clock: Clock, by: str = "", text_ja: str = ""
) -> None:
    """Append what a run does to the event log: incidents write it in their timelines."""
    approval = run.approval_digest if run.state is RunState.ASKED else ""
    appended = RunbookEvent(
        run.id, run.runbook, event, text[:1000], run.alert.fingerprint, clock.now(), by, approval, text_ja[:1000]
    )
    event_log.append(connection, TOPIC, appended.as_dict(), appended.at)


def _reason(action: Action, error: Exception) -> str:
    return f"{action.kind}: {f'not done within {action.timeout}' if isinstance(error, TimeoutError) else error}"
