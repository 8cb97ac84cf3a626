"""The runbook service: starts runs for alerts that fire, and continues those that were interrupted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.alerts import Alert
from toban.core.background_tasks import BackgroundTasks
from toban.core.errors import QueryError, StateError, StoreError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.wakeup import Wakeup
from toban.runbooks import repository
from toban.runbooks.brakes import Situation, may_run
from toban.runbooks.executor import RunExecutor, tell
from toban.runbooks.run import Run, RunState
from toban.runbooks.runbook import Mode, Runbook
from toban.runbooks.situation import STOP_FILE, RunbookPorts, SituationReader
from toban.state.database import State

log = structlog.get_logger("toban.runbooks")

INTERVAL: Final = timedelta(seconds=10)
"""How long the service waits at most before it looks at the alerts again."""
RETENTION: Final = timedelta(days=400)
PRUNE_INTERVAL: Final = timedelta(hours=6)
SLICE: Final = 200
"""How many alerts are looked at before the event loop runs other tasks."""
MAX_RUNNING: Final = 10
"""How many runs go on at once."""
REPORTED_FOR: Final = timedelta(days=1)
"""How long an act whose result is not known keeps this service unhealthy."""


class RunbookService:
    """Starts, executes and ends runs."""

    name = "runbooks"

    def __init__(self, folder: Path, state: State, clock: Clock, meters: MetricRegistry) -> None:
        """It is configured before it runs."""
        self.ports: RunbookPorts
        """What it uses under the configuration of now."""
        self.held: Mapping[tuple[str, str], str] = {}
        """By runbook and alert, why a runbook does not run although its alert fires."""
        self.changes = 0
        """How often a run or the stop switch has changed since the start."""
        self._state = state
        self._clock = clock
        self._situations = SituationReader(lambda: self.ports, folder, state, clock, meters)
        self._executor = RunExecutor(lambda: self.ports, self._situations, state, clock, meters, self._changed)
        self._wakeup = Wakeup(clock)
        self._tasks = BackgroundTasks()
        self._failure = FailureLog(log, "state unavailable: no runbook runs", "state available again")
        self._recovered = False
        self._pruned: datetime | None = None
        self._unknown: Sequence[Run] = ()

    @property
    def runbooks(self) -> Mapping[str, Runbook]:
        """The runbooks by name."""
        return {it.name: it for it in self.ports.runbooks}

    @property
    def has_stop_file(self) -> bool:
        """Whether the file in the data folder stops automation."""
        return self._situations.has_stop_file

    async def situation(self) -> Situation:
        """Return what is known now. Raises ``StateError``."""
        return await self._situations.read()

    def configure(self, ports: RunbookPorts) -> None:
        """Go on with another configuration; runs of runbooks that were changed become void at their next step."""
        self.ports = ports
        self.wake()

    def wake(self) -> None:
        """Wake the service: an alert may have changed."""
        self._wakeup.set()

    def answered(self) -> None:
        """Wake the service and those who follow its runs: somebody answered one."""
        self.wake()
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self.ports.on_events()

    async def run(self) -> None:
        """Start and execute runs until cancelled."""
        try:
            while True:
                await self.once()
                await self._wakeup.wait(INTERVAL.total_seconds())
        finally:
            await self._tasks.cancel()

    async def once(self) -> None:
        """Continue what was interrupted, and start what an alert calls for."""
        try:
            if not self._recovered:
                await self._recover()
                self._recovered = True
            await self._start_due()
            await self._end_due()
            await self._prune()
        except StateError as error:
            self._failure.failed(str(error))
        else:
            self._failure.succeeded()

    async def settled(self) -> None:
        """Wait until no run goes on by itself."""
        await self._tasks.settled()

    async def begin(self, runbook: Runbook, alert: Alert, mode: Mode, *, by: str = "", text: str = "") -> Run:
        """Begin a run; it is executed in the background. Raises ``StateError``."""
        new = Run(0, runbook.name, runbook.version, alert, mode.value, RunState.RUNNING, self._clock.now(), by)

        def work(connection: Connection) -> Run:
            written = repository.add_run(connection, new)
            title_ja = "" if text else runbook.title_ja
            tell(connection, written, "started", text or runbook.title, self._clock, by, title_ja)
            return written

        written = await self._state.transaction(work)
        self._changed()
        log.info("runbook started", runbook=runbook.name, run=written.id, mode=mode.value, alert=alert.name)
        self.resume(written)
        return written

    def resume(self, run: Run) -> None:
        """Execute a run in the background, from its next step on."""
        self._tasks.start(run.id, self._execute(run), f"runbook {run.runbook} {run.id}")

    async def _execute(self, run: Run) -> None:
        try:
            await self._executor.execute(run)
        except StateError as error:
            # The intent of an act is written before it: what could not be written was not done.
            log.warning("runbook interrupted: state unavailable", runbook=run.runbook, run=run.id, error=str(error))
            self._recovered = False
        except Exception as error:
            log.exception("runbook failed unexpectedly", runbook=run.runbook, run=run.id)
            await self._fail(run, f"unexpected error: {type(error).__name__}: {error}")
        finally:
            self.wake()

    async def _fail(self, run: Run, text: str) -> None:
        try:
            await self._executor.end(run.id, RunState.FAILED, text)
        except StateError:
            self._recovered = False

    async def _start_due(self) -> None:
        situation = await self._situations.read()
        recent = situation.now - REPORTED_FOR
        self._unknown = [it for it in situation.runs if it.state is RunState.UNKNOWN and it.started > recent]
        held: dict[tuple[str, str], str] = {}
        for place, alert in enumerate(situation.firing, 1):
            if place % SLICE == 0:
                await asyncio.sleep(0)  # thousands of alerts must not block the loop
            for runbook in self.ports.runbooks:
                if not runbook.applies_to(alert) or len(self._tasks) >= MAX_RUNNING:
                    continue
                verdict = may_run(runbook, alert, situation)
                mode, reason = verdict.mode, verdict.reason
                if mode is not None:
                    mode, reason = await self._signals(runbook, mode, reason)
                if mode is None:
                    held[runbook.name, alert.fingerprint] = reason
                    continue
                text = f"it asks instead of acting by itself: {reason}" if reason else ""
                await self.begin(runbook, alert, mode, text=text)
                situation = await self._situations.read()
        self.held = held

    async def _signals(self, runbook: Runbook, mode: Mode, reason: str) -> tuple[Mode | None, str]:
        """Evaluate the expressions of a guard; one that can't be evaluated is a doubt."""
        try:
            tools = self.ports.tools
            if runbook.guard.unless and await tools.has_result(runbook.guard.unless):
                return None, f"`unless` has a result: {runbook.guard.unless}"
            if mode is Mode.AUTO and (second := runbook.guard.second_signal) and not await tools.has_result(second):
                return Mode.ASK, f"the second signal does not confirm it: {second}"
        except (QueryError, StoreError) as error:
            return (Mode.ASK if mode is Mode.AUTO else mode), f"its guard can't be evaluated: {error}"
        return mode, reason

    async def _recover(self) -> None:
        """Continue the runs that the last process left: look at an act without a result, repeat none."""
        now = self._clock.now()
        for run in await self._state.transaction(lambda connection: repository.recent_runs(connection, now)):
            if run.state is not RunState.RUNNING or run.id in self._tasks:
                continue
            pending = [it for it in run.acts if it.ended is None]
            after = await self._executor.look_at(run, pending[-1]) if pending else run
            if after is not None:
                self.resume(after)

    async def _end_due(self) -> None:
        """End what nobody answered in time, and what waits although its alert is resolved."""
        situation = await self._situations.read()
        firing = {alert.fingerprint for alert in situation.firing}
        for run in situation.runs:
            if run.state not in {RunState.ASKED, RunState.WAITING} or run.id in self._tasks:
                continue
            if run.expires and situation.now >= run.expires:
                await self._executor.end(run.id, RunState.EXPIRED, "nobody answered in time")
            elif not run.by and run.alert.fingerprint not in firing:
                await self._executor.end(run.id, RunState.VOID, "its alert is resolved")

    async def _prune(self) -> None:
        now = self._clock.now()
        if self._pruned is None or now - self._pruned >= PRUNE_INTERVAL:
            self._pruned = now
            await self._state.transaction(lambda connection: repository.prune(connection, now - RETENTION))

    def health(self) -> HealthStatus:
        """Return whether runbooks can run, and whether a person must look at one."""
        if error := self._failure.error:
            return HealthStatus(False, f"state unavailable: no runbook runs: {error}")
        if self._unknown:
            it = self._unknown[-1]
            return HealthStatus(False, f"{it.runbook} (run {it.id}): {it.text}")
        if self.has_stop_file:
            return HealthStatus(True, f"automation is stopped by the file {STOP_FILE}")
        return HealthStatus(True, f"{len(self.ports.runbooks)} runbooks")
