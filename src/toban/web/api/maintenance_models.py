"""Requests and responses of the operations on maintenance."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.maintenance.commands import TaskReport
from toban.maintenance.run import MaintenanceRun, RunState, StepOutcome, StepRecord
from toban.maintenance.task import Finding, Mode, Severity
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.incident_models import Number
from toban.web.api.models import Name


class MaintenanceRunRequest(RequestModel):
    """Which run."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}$")]


class TaskRequest(RequestModel):
    """Which task."""

    task: Name


class StartTaskRequest(RequestModel):
    """Which task to start."""

    task: Name
    dry: bool = False
    """Whether it only says what it would do."""


class CancelRunRequest(RequestModel):
    """Which run to end."""

    id: Number


class FindingModel(ResponseModel):
    """Something that a task has found and does not change itself."""

    name: str
    text: str
    severity: Severity
    remedy: str

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Return the model of a finding."""
        return cls(name=finding.name, text=finding.text, severity=finding.severity, remedy=finding.remedy)


class MaintenanceStepModel(ResponseModel):
    """What became of a step, or what it would do."""

    name: str
    description: str
    outcome: StepOutcome
    text: str
    began: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, record: StepRecord) -> Self:
        """Return the model of a step's record."""
        return cls(
            name=record.name,
            description=record.description,
            outcome=record.outcome,
            text=record.text,
            began=record.began,
            ended=record.ended,
        )


class MaintenanceRunModel(ResponseModel):
    """A run of a maintenance task."""

    id: int
    task: str
    kind: str
    state: RunState
    dry: bool
    due: datetime | None
    """The time of its schedule; null where somebody started it."""
    by: str
    """Who started it; empty where its schedule did."""
    started: datetime
    ended: datetime | None
    seconds: float | None
    """How long it took."""
    steps: list[MaintenanceStepModel]
    findings: list[FindingModel]
    figures: Mapping[str, float]
    """Values of the task's own metrics, by their names."""
    progress: str
    text: str
    """How it ended."""

    @classmethod
    def of(cls, run: MaintenanceRun) -> Self:
        """Return the model of a run."""
        return cls(
            id=run.id,
            task=run.task,
            kind=run.kind,
            state=run.state,
            dry=run.is_dry,
            due=run.due,
            by=run.by,
            started=run.started,
            ended=run.ended,
            seconds=run.took.total_seconds() if run.took else None,
            steps=[MaintenanceStepModel.of(it) for it in run.steps],
            findings=[FindingModel.of(it) for it in run.findings],
            figures=dict(run.figures),
            progress=run.progress,
            text=run.text,
        )


class TaskModel(ResponseModel):
    """A maintenance task and its newest runs, newest first."""

    name: str
    kind: str
    target: str
    mode: Mode
    cron: str
    timezone: str
    timeout_seconds: float
    not_configured: str
    """The setting that it needs and that is not set; empty where nothing is missing."""
    next: datetime | None
    held: str
    """Why it has not started although it is due; empty where it is not."""
    runs: list[MaintenanceRunModel]

    @classmethod
    def of(cls, report: TaskReport, timezone: str) -> Self:
        """Return the model of a task."""
        task = report.task
        return cls(
            name=task.name,
            kind=task.kind,
            target=task.target,
            mode=task.mode,
            cron=task.cron,
            timezone=timezone,
            timeout_seconds=task.timeout.total_seconds(),
            not_configured=report.not_configured,
            next=report.next,
            held=report.held,
            runs=[MaintenanceRunModel.of(it) for it in report.runs],
        )


class MaintenanceResponse(ResponseModel):
    """All maintenance tasks."""

    tasks: list[TaskModel]


class MissingResponse(ResponseModel):
    """What keeps a task from working here, with the remedy; empty where nothing does."""

    missing: str
