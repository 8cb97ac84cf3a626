"""A maintenance task for tests: what it plans and does is a script, and what it did is written down."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import httpx2

from tests.fakes import FakeClock
from toban.core.actor import Actor
from toban.core.alerts import Alert
from toban.core.errors import ActionError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import gauge
from toban.core.schedule import Schedule
from toban.maintenance.commands import MaintenanceCommands
from toban.maintenance.decisions import Conditions
from toban.maintenance.executor import MaintenancePorts
from toban.maintenance.run import MaintenanceRun
from toban.maintenance.service import MaintenanceService
from toban.maintenance.task import (
    Finding,
    Severity,
    Step,
    StepContext,
    StepFailedError,
    StepResult,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop.connections import ShopConnections
from toban.state.backends import SqliteBackend, StateBackend
from toban.state.database import State

PERSON = Actor("ann", "session")
FOUND = gauge("toban_test_found", "What was found.", labels=("task",))


class Sweep(Task):
    """Sweep rooms: `hall`, `shop`, `store`."""

    kind: Literal["sweep"] = "sweep"
    target: ClassVar[str] = "rooms"
    metrics: ClassVar[Sequence[object]] = (FOUND,)  # type: ignore[assignment]  # a test's own
    mutes: ClassVar[Sequence[str]] = ("dust",)

    cron: Schedule = "0 3 * * *"
    rooms: tuple[str, ...] = ("hall", "shop", "store")
    timeout: timedelta = timedelta(minutes=30)

    done: ClassVar[list[str]] = []
    """What was done, by all of its instances."""
    cleaned: ClassVar[list[str]] = []
    before: ClassVar[Callable[[str], None]] = lambda room: None
    """Called before a room is swept: a test raises or changes something here."""
    stuck: ClassVar[set[str]] = set()
    """Rooms in which a step never ends."""

    async def clean(self, tools: TaskTools) -> str:
        Sweep.cleaned.append(self.name)
        return ""

    async def plan(self, tools: TaskTools) -> TaskPlan:
        steps = [Step(room, f"sweep the {room}") for room in self.rooms if room not in Sweep.done]
        return TaskPlan(steps, [Finding("cellar", "it is locked", Severity.WARNING, "find the key")])

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        Sweep.before(step.name)
        context.tell("half of it")
        if step.name in Sweep.stuck:
            await asyncio.Event().wait()
        if step.name == "attic":
            raise ActionError("no ladder")
        if step.name == "cellar":
            raise StepFailedError("it is flooded", [Finding("water", "a foot of it")], {FOUND.name: 12})
        Sweep.done.append(step.name)
        return StepResult(f"swept the {step.name}", figures={FOUND.name: len(Sweep.done)})


class Process:
    """The maintenance of one toban process, over a folder and a clock that outlive it."""

    def __init__(
        self, folder: Path, clock: FakeClock, *tasks: Task, zone: str = "UTC", backend: StateBackend | None = None
    ) -> None:
        self.clock = clock
        self.meters = MetricRegistry()
        self.stopped = False
        self.firing: list[Alert] = []
        self.silences: dict[str, bool] = {}
        self.state = State(backend or SqliteBackend(folder / "toban.db"), clock, MetricRegistry())
        self.service = MaintenanceService(self.state, clock, self.meters)
        self.commands = MaintenanceCommands(self.service, self.state, clock)
        self.tools = TaskTools(httpx2.AsyncClient(), clock, ShopConnections(), None, ZoneInfo(zone), folder)  # type: ignore[arg-type]  # nothing is queried
        ports = MaintenancePorts(tasks, self.tools, self._conditions, self._silence, self._unsilence)
        self.service.configure(ports)

    async def _conditions(self) -> Conditions:
        return Conditions(self.clock.now(), self.stopped, firing=self.firing)

    async def _silence(self, names: Sequence[str], until: object, comment: str) -> str:
        number = f"s{len(self.silences)}"
        self.silences[number] = True
        return number

    async def _unsilence(self, number: str) -> None:
        self.silences[number] = False

    async def at(self, hour: int, minute: int = 0) -> None:
        """Let the service look at a time of the day; wait for what it starts."""
        now = self.clock.now()
        self.clock.set(now.replace(hour=hour, minute=minute))
        await self.service.once()
        await self.service.settled()

    async def runs(self, name: str = "sweep") -> list[MaintenanceRun]:
        """Return the runs of a task, oldest first."""
        found = next(it for it in await self.commands.tasks() if it.task.name == name)
        return list(reversed(found.runs))

    async def close(self) -> None:
        """End it."""
        await self.state.__aexit__(None, None, None)
        await self.tools.http.aclose()
