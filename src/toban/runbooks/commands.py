"""Commands on runbooks: start, approve, refuse, tick a step, stop automation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.alerts import ALERTNAME, Alert, AlertStatus
from toban.core.errors import InvalidCommandError, NotFoundError, QueryError, StoreError
from toban.core.input_limits import repair_surrogates
from toban.core.labels import Labels
from toban.core.ports import Clock
from toban.core.runbook_events import TOPIC, RunbookEvent
from toban.core.samples import milliseconds
from toban.promql.parser import parse
from toban.promql.syntax_tree import metric_of, selectors
from toban.runbooks import repository
from toban.runbooks.action import Action
from toban.runbooks.run import Run, RunState, StopSwitch
from toban.runbooks.runbook import Mode, Runbook
from toban.runbooks.service import RunbookService
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

LISTED: Final = 50


@dataclass(frozen=True, slots=True)
class RunbookReport:
    """A runbook, its newest runs, and why it does not run for alerts that fire."""

    runbook: Runbook
    runs: Sequence[Run]
    held: Mapping[str, str]
    missing: Sequence[str]
    """What keeps its actions from working here, with the remedy."""


class RunbookCommands:
    """Changes runs and the stop switch; each change and its row of the audit log are one transaction."""

    def __init__(self, service: RunbookService, state: State, clock: Clock) -> None:
        self._service = service
        self._state = state
        self._clock = clock

    async def runbooks(self) -> list[RunbookReport]:
        """Return all runbooks. Raises ``StateError``."""
        runs = await self._state.transaction(lambda connection: repository.runs(connection, 500))
        found = []
        for runbook in self._service.runbooks.values():
            own = [run for run in runs if run.runbook == runbook.name][:LISTED]
            held = {alert: why for (name, alert), why in self._service.held.items() if name == runbook.name}
            found.append(RunbookReport(runbook, own, held, await self.missing(runbook)))
        return found

    async def missing(self, runbook: Runbook) -> list[str]:
        """Return what keeps the actions of a runbook from working here, with the remedy."""
        tools = self._service.ports.tools
        actions = [step for step in runbook.steps if isinstance(step, Action)]
        found = [await step.missing(tools) for step in actions]
        reads = [("the guard", it) for it in (runbook.guard.unless, runbook.guard.second_signal)]
        reads += [(step.kind, it) for step in actions for it in step.expressions]
        found += [await self._never_seen(reader, it) for reader, it in reads if it]
        return [it for it in dict.fromkeys(found) if it]

    async def _never_seen(self, reader: str, expression: str) -> str:
        """Return which metrics of an expression have no samples of the last hour: those never have a result."""
        unseen = []
        for selector in selectors(parse(expression).root):
            metric = metric_of(selector)
            if metric:
                try:
                    counted = await self._service.ports.tools.queries.instant(
                        f"count(last_over_time({metric}[1h]))", milliseconds(self._clock.now())
                    )
                except (QueryError, StoreError) as error:
                    return f"{metric} can't be queried: {error}"
                if not counted.series:
                    unseen.append(metric)
        return f"{reader} reads {', '.join(dict.fromkeys(unseen))}, which has no samples here" if unseen else ""

    async def runs(self, limit: int = LISTED) -> list[Run]:
        """Return the newest runs. Raises ``StateError``."""
        return await self._state.transaction(lambda connection: repository.runs(connection, limit))

    async def of_alerts(
        self, fingerprints: Collection[str], since: datetime, until: datetime | None
    ) -> tuple[list[Runbook], list[Run]]:
        """
        Return the runbooks for some alerts that fire, and the newest runs for these alerts in a time, newest first.

        Raises ``StateError``.
        """
        alerts = [it for it in self._service.ports.alerts() if it.fingerprint in fingerprints]
        firing = [it for it in alerts if it.status is AlertStatus.FIRING]
        runbooks = [it for it in self._service.runbooks.values() if any(map(it.applies_to, firing))]
        end = until or self._clock.now()
        runs = await self._state.transaction(lambda connection: repository.runs_between(connection, since, end, 500))
        return runbooks, [it for it in runs if it.alert.fingerprint in fingerprints][:LISTED]

    async def run(self, number: int) -> Run:
        """Return one run. Raises ``NotFoundError``, ``StateError``."""
        return await self._state.transaction(lambda connection: _found(connection, number))

    async def start(self, name: str, actor: Actor, alert: str = "", *, dry: bool = False) -> Run:
        """
        Start a runbook by hand: for a firing alert (its name or fingerprint), or for none.

        It asks before it acts, whatever its mode is. Raises ``NotFoundError``, ``StateError``.
        """
        runbook = self._service.runbooks.get(name)
        if runbook is None:
            known = ", ".join(self._service.runbooks) or "none"
            raise NotFoundError(f"no runbook {repair_surrogates(name)[:100]!r}: there are {known}")
        now = self._clock.now()
        firing = [it for it in self._service.ports.alerts() if it.status is AlertStatus.FIRING]
        if alert:
            subject = next((it for it in firing if alert in (it.name, it.fingerprint)), None)
            if subject is None:
                raise NotFoundError(f"no firing alert {repair_surrogates(alert)[:100]!r}")
        else:
            by_hand = Alert(Labels({ALERTNAME: name}), {}, AlertStatus.FIRING, now, now, source="by hand")
            subject = next((it for it in firing if runbook.applies_to(it)), by_hand)
        mode = Mode.DRY if dry else Mode.ASK
        facts = {"runbook": name, "alert": subject.name, "dry": dry}
        entry = AuditEntry(now, actor, "started a runbook", facts)
        await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        return await self._service.begin(runbook, subject, mode, by=actor.name)

    async def approve(self, number: int, approval: str, actor: Actor) -> Run:
        """
        Approve what a run asks for; ``approval`` identifies what was read.

        Raises ``NotFoundError``, ``InvalidCommandError`` where it asks for something else now, ``StateError``.
        """
        now = self._clock.now()

        def work(connection: Connection) -> Run:
            run = _asked(_found(connection, number))
            if approval != run.approval:
                raise InvalidCommandError("what it asks for has changed since: read it again", "approval")
            if run.expires and now >= run.expires:
                raise InvalidCommandError("the question has expired", "id")
            approved = replace(run, state=RunState.RUNNING, approved_by=actor.name)
            repository.save_run(connection, approved)
            plan = run.question.description if run.question else ""
            self._answered(connection, approved, "approved", plan, actor, "approved a runbook")
            return approved

        run = await self._state.transaction(work)
        self._service.resume(run)
        self._service.answered()
        return run

    async def refuse(self, number: int, actor: Actor, comment: str = "") -> Run:
        """Refuse what a run asks for, or end one that waits; it does not run again for this alert."""
        comment = _text("comment", comment)
        now = self._clock.now()

        def work(connection: Connection) -> Run:
            run = _found(connection, number)
            if run.state not in {RunState.ASKED, RunState.WAITING}:
                raise InvalidCommandError(f"run {number} does not wait for anybody: it is {run.state.value}", "id")
            ended = run.finished(RunState.REFUSED, now, f"{actor.name} refused it{f': {comment}' if comment else ''}")
            repository.save_run(connection, ended)
            self._answered(connection, ended, "refused", ended.text, actor, "refused a runbook")
            return ended

        run = await self._state.transaction(work)
        self._service.answered()
        return run

    async def tick(self, number: int, actor: Actor, comment: str = "") -> Run:
        """Tick the step that a run waits for; it goes on."""
        comment = _text("comment", comment)
        now = self._clock.now()

        def work(connection: Connection) -> Run:
            run = _found(connection, number)
            if run.state is not RunState.WAITING or run.question is None:
                raise InvalidCommandError(f"run {number} waits for no step: it is {run.state.value}", "id")
            text = comment or run.question.description
            record = replace(run.begin("text", run.question, now), ended=now, ok=True, text=text, by=actor.name)
            after = replace(run.with_step(record), state=RunState.RUNNING, step=run.step + 1, question=None)
            repository.save_run(connection, after)
            self._answered(connection, after, "ticked", text, actor, "ticked a step of a runbook")
            return after

        run = await self._state.transaction(work)
        self._service.resume(run)
        self._service.answered()
        return run

    @property
    def has_stop_file(self) -> bool:
        """Whether the file in the data folder stops automation."""
        return self._service.has_stop_file

    async def switch(self) -> StopSwitch:
        """Return the stop switch. Raises ``StateError``."""
        return await self._state.transaction(repository.stop_switch)

    async def stop(self, actor: Actor, reason: str = "") -> StopSwitch:
        """Stop automation: nothing acts any more, until somebody starts it again."""
        return await self._switch(actor, True, _text("reason", reason))

    async def resume(self, actor: Actor, reason: str = "") -> StopSwitch:
        """Start automation again."""
        return await self._switch(actor, False, _text("reason", reason))

    async def _switch(self, actor: Actor, is_stopped: bool, reason: str) -> StopSwitch:
        switch = StopSwitch(is_stopped, self._clock.now(), actor.name, reason)

        def work(connection: Connection) -> None:
            repository.save_stop_switch(connection, switch)
            action = "stopped automation" if is_stopped else "started automation again"
            audit_log.record(connection, AuditEntry(self._clock.now(), actor, action, {"reason": reason}))

        await self._state.transaction(work)
        self._service.wake()
        return switch

    def _answered(self, connection: Connection, run: Run, event: str, text: str, actor: Actor, action: str) -> None:
        """Write an answer to the audit log, and tell others about it."""
        now = self._clock.now()
        appended = RunbookEvent(run.id, run.runbook, event, text[:1000], run.alert.fingerprint, now, actor.name)
        event_log.append(connection, TOPIC, appended.as_dict(), now)
        facts = {"runbook": run.runbook, "run": run.id, "text": text[:1000]}
        audit_log.record(connection, AuditEntry(now, actor, action, facts))


def _found(connection: Connection, number: int) -> Run:
    found = repository.run(connection, number) if abs(number) < 2**62 else None
    if found is None:
        raise NotFoundError(f"run {number} not found")
    return found


def _asked(run: Run) -> Run:
    if run.state is not RunState.ASKED:
        raise InvalidCommandError(f"run {run.id} asks for nothing: it is {run.state.value}", "id")
    return run


def _text(field: str, text: str) -> str:
    try:
        return input_limits.checked_text(text.strip(), input_limits.COMMENT_LENGTH)
    except ValueError as error:
        raise InvalidCommandError(str(error), field) from error
