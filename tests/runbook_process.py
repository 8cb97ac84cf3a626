"""
The runbooks of one toban process in virtual time, over a folder and a clock that outlive it, and a machine to act on.

    life = Process(folder, clock, [runbook()])
    life.fires()
    await life.passes(5)
    MACHINE.acts        # the keys of what was done
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import httpx2
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from tests.fakes import FakeClock
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.query_result import QueryResult
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.commands import RunbookCommands
from toban.runbooks.runbook import Guard, Runbook
from toban.runbooks.service import RunbookService
from toban.runbooks.settings import RunbookSettings
from toban.runbooks.situation import RunbookPorts
from toban.shop.connections import ShopConnections
from toban.state.backends import SqliteBackend
from toban.state.column_types import metadata
from toban.state.database import State

T = TypeVar("T")


class Killed(BaseException):
    """The process was killed here."""


@dataclass
class Machine:
    """What the action acts on: its version, how often it was acted on, and what happens when it is."""

    version: int = 1
    acts: list[str] = field(default_factory=list)
    outcome: Callable[[], str] = lambda: "restarted"
    found: str | None = None
    names: tuple[str, ...] = ("m1", "m2", "m3")
    """What is restarted one by one."""


MACHINE = Machine()


class Restart(Action):
    """Restart the machine of the test."""

    kind: Literal["restart"] = "restart"

    acts: ClassVar[bool] = True

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        if MACHINE.version == 0:
            raise ActionError("it is the last healthy machine")
        return Plan("restart m1", str(MACHINE.version), ("m1",))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        MACHINE.acts.append(context.key)
        return MACHINE.outcome()

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        return MACHINE.found


class RestartEach(Restart):
    """Restart the machines of the test, one by one."""

    kind: Literal["restart_each"] = "restart_each"  # type: ignore[assignment]  # another kind

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        rest = MACHINE.names[len(MACHINE.acts) :]
        return Plan(f"restart {rest[0]}", targets=rest[:1], goes_on=len(rest) > 1) if rest else Plan("", needed=False)


class Queries:
    """Answers every query with what is set for it; what is not expected is an error."""

    def __init__(self) -> None:
        self.results: dict[str, bool] = {}

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        return QueryResult("vector", [1] if self.results[query] else [])  # type: ignore[list-item]  # only whether there is one


class MemoryState(State):
    """State in memory: a transaction costs no thread and no disk. It outlives a process that is killed."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(SqliteBackend(Path(os.devnull)), clock, MetricRegistry())
        self._memory = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(self._memory)

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        await asyncio.sleep(0)  # others run meanwhile, as with a real one
        with self._memory.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.dispose()


class Process:
    """The runbooks of one toban process, over a folder and a clock that outlive it."""

    def __init__(
        self,
        folder: Path,
        clock: FakeClock,
        runbooks: Sequence[Runbook],
        settings: RunbookSettings | None = None,
        state: State | None = None,
    ) -> None:
        self.clock = clock
        self.folder = folder
        self.alerts: list[Alert] = []
        self.doubts = self.maintenance = ""
        self.deployed: datetime | None = None
        self.state = state or State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry())
        self.service = RunbookService(folder, self.state, clock, MetricRegistry())
        self.commands = RunbookCommands(self.service, self.state, clock)
        self.queries = Queries()
        tools = ActionTools(
            httpx2.AsyncClient(), clock, ShopConnections(), self.queries, self.is_firing, self._nothing, self._nothing
        )
        self.service.configure(
            RunbookPorts(
                settings or RunbookSettings(),
                runbooks,
                tools,
                lambda: self.alerts,
                lambda: self.doubts,
                lambda: self.maintenance,
                lambda: self.deployed,
            )
        )

    def is_firing(self, fingerprint: str) -> bool:
        return any(it.fingerprint == fingerprint and it.status is AlertStatus.FIRING for it in self.alerts)

    async def _nothing(self, *_: Any) -> str:
        return ""

    def fires(self, name: str = "memory", **labels: str) -> None:
        now = self.clock.now()
        self.alerts.append(Alert(Labels(alertname=name, **labels), {}, AlertStatus.FIRING, now, now))

    def resolves(self) -> None:
        self.alerts = []

    async def passes(self, minutes: float, step: float = 10) -> None:
        """Let time pass; the service looks at the alerts every ten seconds."""
        end = self.clock.now() + timedelta(minutes=minutes)
        while self.clock.now() < end:
            self.clock.advance(step)
            await self.service.once()
            await self.service.settled()

    async def state_of(self, number: int = 1) -> str:
        return (await self.commands.run(number)).state.value

    async def close(self) -> None:
        await self.state.__aexit__(None, None, None)


def runbook(*steps: Any, **guard: Any) -> Runbook:
    found = Guard.model_validate({"mode": "auto", **guard})
    return Runbook(name="fix", title="Fix it", when=('alertname="memory"',), guard=found, steps=steps or (Restart(),))
