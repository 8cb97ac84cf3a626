"""A maintenance task says what it would do, step by step, and does one step after the other."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from os import stat_result
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from zoneinfo import ZoneInfo

import httpx2

from toban.core.config_types import Duration
from toban.core.errors import ActionError, TobanError
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.ports import Clock, InstantQueryEngine, RetainedStore
from toban.core.samples import MetricFamily
from toban.core.schedule import Schedule
from toban.shop.admin_api import AdminApi
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

if TYPE_CHECKING:
    from toban.shop.admin_database import AdminDatabase


class Mode(StrEnum):
    """How a task runs on its schedule."""

    AUTO = "auto"
    """It acts."""
    DRY = "dry"
    """It says what it would do."""
    OFF = "off"
    """It runs by hand only."""


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that a task would do.

    ``name`` is what it acts on, like ``public.order_line``. ``description`` says what it would do, and the reason:
    ``vacuum public.order_line: 40 % of its rows are dead (120,000)``. ``facts`` are the task's own, as plain data.
    """

    name: str
    description: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a task has found and does not change itself: what it is, and what to do about it."""

    name: str
    text: str
    severity: Severity = Severity.INFO
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"name": self.name, "text": self.text, "severity": self.severity.value, "remedy": self.remedy}

    @classmethod
    def from_dict(cls, body: Mapping[str, str]) -> "Finding":
        """Return the finding that ``as_dict`` returned."""
        return cls(body["name"], body["text"], Severity(body["severity"]), body["remedy"])


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """
    What a task would do now, and what it has found.

    ``text`` is one sentence for the report; ``figures`` are the values of the task's own metrics, by their names.
    """

    steps: Sequence[Step] = ()
    findings: Sequence[Finding] = ()
    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did, in one sentence, with what it has found and the values of the task's metrics."""

    text: str
    findings: Sequence[Finding] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportOrder:
    """A report to be made: by name, period, audience and language, for a channel or for a folder."""

    name: str
    period: str
    audience: str
    language: str
    channel: str = ""
    folder: str = ""


class StepSkippedError(TobanError):
    """A step must not be done just now; the next run looks again. The message says why."""


class StepFailedError(ActionError):
    """A step has failed, and knows why: with what it has found, and the values of the task's metrics."""

    def __init__(
        self, message: str, findings: Sequence[Finding] = (), figures: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(message)
        self.result = StepResult(message, findings, figures or {})


@dataclass(frozen=True, slots=True)
class TaskTools:
    """What tasks may use."""

    http: httpx2.AsyncClient
    clock: Clock
    shop: ShopConnections
    queries: InstantQueryEngine
    """Runs queries over toban's own samples."""
    zone: ZoneInfo
    """The shop's time zone."""
    data: Path
    """toban's own data folder: for scratch files, under ``maintenance/``."""
    send_report: Callable[[ReportOrder], Awaitable[str]] | None = None
    """Makes a report and sends it; returns a sentence about that. Raises ``ActionError``."""
    review_thresholds: Callable[[Callable[[str], None]], Awaitable[StepResult]] | None = None
    """Replays rules with other limits, and tells how far it is; returns what it found. Raises ``ActionError``."""
    unread_logs: Callable[[], Awaitable[Callable[[stat_result], int]]] | None = None
    """Returns what tells how many bytes of a log file toban has yet to read. Raises ``StoreError``."""
    stores: Sequence[RetainedStore] = ()
    """toban's own stores."""

    @property
    def database(self) -> "AdminDatabase":
        """The connection for acting on the shop's database. Raises ``ActionError`` where there is none."""
        return self.shop.admin_database

    @property
    def admin_api(self) -> AdminApi:
        """Vendure's Admin API."""
        return AdminApi(self.http, self.shop.settings)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step runs in: the number of its run, and whom it tells how far it is."""

    run: int
    tell: Callable[[str], None]
    """Shows how far the step is: ``1,200 of 30,000 keys``."""


class Task(Plugin, ABC):
    """
    Keeps something in order. Schedule, lock, time limit, dry run, brakes and report belong to the service around it.

    1. `clean` ends what a run that was interrupted has left behind.
    2. `plan` looks and changes nothing.
    3. `act` does one step, sees that it had an effect, and says so. The next step begins when it has ended.
    """

    target: ClassVar[str]
    """What it works on: two tasks with one target never run at the same time."""

    metrics: ClassVar[Sequence[MetricFamily]] = ()
    """The metrics that its figures are values of; each has the label ``task``."""

    mutes: ClassVar[Sequence[str]] = ()
    """The names of alerts that it may cause itself: they are silenced while it acts."""

    cleans_at_start: ClassVar[bool] = False
    """Whether what an interrupted run has left is removed at once: it is a copy of customers' data."""

    cron: Schedule
    """When it runs, in the shop's time zone."""

    mode: Mode = Mode.AUTO
    """How it runs then: `auto`, `dry` (it says what it would do) or `off`."""

    may_start_late: Duration = timedelta(hours=2)
    """How long after its time it may start, when something kept it from that: an alert, a deploy, another task."""

    timeout: Duration = timedelta(hours=1)
    """How long a run may take in all."""

    def not_configured(self, settings: ShopSettings) -> str:
        """Return the setting that it needs and that is not set, with the remedy; empty where nothing is missing."""
        return ""

    async def missing(self, tools: TaskTools) -> str:
        """Return what keeps it from working here, such as a right, with the remedy; empty where nothing does."""
        return ""

    async def missing_programs(self, tools: TaskTools) -> str | None:
        """
        Return which program is missing on this machine, or is too old, with the remedy; None where it needs none.

        `toban check` says it. Raises ``TobanError``.
        """
        return None

    async def clean(self, tools: TaskTools) -> str:
        """End what an interrupted run has left; return a sentence where there was something. Raises ``ActionError``."""
        return ""

    @abstractmethod
    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Return what it would do now. Raises ``ActionError``."""

    @abstractmethod
    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """
        Do a step, and see that it had an effect; it may be cancelled at any time.

        Raises ``ActionError``, and ``StepSkippedError`` where it must not be done just now.
        """


TASKS: Final = PluginRegistry("toban.maintenance.tasks", Task, "maintenance task")  # type: ignore[type-abstract]  # the root of the family is never made itself
