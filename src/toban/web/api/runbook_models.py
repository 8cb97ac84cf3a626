"""Requests and responses of the operations on runbooks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.runbooks.commands import RunbookReport
from toban.runbooks.run import Run, RunState, StepRecord, StopSwitch
from toban.runbooks.runbook import Mode, TextStep
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.incident_models import Number
from toban.web.api.models import Comment, Name, Text


class RunRequest(RequestModel):
    """Which run."""

    id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}$")]


class StartRunRequest(RequestModel):
    """Which runbook to start, for which firing alert."""

    runbook: Name
    alert: Annotated[Text, StringConstraints(max_length=5_000)] = ""
    """Its name or fingerprint; by default the first one that the runbook is for, else none."""
    dry: bool = False
    """Whether it only says what it would do."""


class ApproveRequest(RequestModel):
    """What is approved."""

    id: Number
    approval: Annotated[Text, StringConstraints(max_length=10_000)]
    """`approval` of the run that was read: what has changed since is not approved."""


class AnswerRequest(RequestModel):
    """An answer to a run."""

    id: Number
    comment: Comment = ""


class SwitchRequest(RequestModel):
    """Why automation is stopped, or started again."""

    reason: Comment = ""


class StepModel(ResponseModel):
    """What became of a step."""

    index: int
    kind: str
    description: str
    description_ja: str
    """The same in Japanese, where the runbook's author has written it."""
    targets: list[str]
    acts: bool
    began: datetime
    ended: datetime | None
    ok: bool
    text: str
    by: str

    @classmethod
    def of(cls, record: StepRecord) -> Self:
        """Return the model of a step's record."""
        return cls(
            index=record.index,
            kind=record.kind,
            description=record.plan.description,
            description_ja=record.plan.text_ja,
            targets=list(record.plan.targets),
            acts=record.acts,
            began=record.intended,
            ended=record.ended,
            ok=record.ok,
            text=record.text,
            by=record.by,
        )


class RunModel(ResponseModel):
    """A run of a runbook."""

    id: int
    runbook: str
    mode: str
    state: RunState
    alert: str
    fingerprint: str
    started: datetime
    ended: datetime | None
    by: str
    """Who started it; empty where an alert did."""
    question: str
    """What it asks for, or the step that it waits for; empty otherwise."""
    question_ja: str
    """The same in Japanese, where the runbook's author has written it."""
    targets: list[str]
    """What it would act on."""
    approval: str
    """Identifies the question: send it to approve."""
    expires: datetime | None
    approved_by: str
    steps: list[StepModel]
    text: str
    """How it ended."""

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the model of a run."""
        asks = run.state is RunState.ASKED
        return cls(
            id=run.id,
            runbook=run.runbook,
            mode=run.mode,
            state=run.state,
            alert=run.alert.name,
            fingerprint=run.alert.fingerprint,
            started=run.started,
            ended=run.ended,
            by=run.by,
            question=run.question.description if run.question and run.is_open else "",
            question_ja=run.question.text_ja if run.question and run.is_open else "",
            targets=list(run.question.targets) if run.question and asks else [],
            approval=run.approval if asks else "",
            expires=run.expires if asks else None,
            approved_by=run.approved_by,
            steps=[StepModel.of(it) for it in sorted(run.steps, key=lambda it: it.index)],
            text=run.text,
        )


class RunbookModel(ResponseModel):
    """A runbook, and its newest runs."""

    name: str
    title: str
    title_ja: str
    mode: Mode
    when: list[str]
    steps: list[str]
    """Its steps: what people do, and the kinds of actions."""
    steps_ja: list[str]
    """The same in Japanese, where the runbook's author has written it."""
    held: dict[str, str]
    """Why it does not run although an alert fires, by the fingerprint of that."""
    missing: list[str]
    """What keeps its actions from working here, with the remedy."""
    runs: list[RunModel]

    @classmethod
    def of(cls, report: RunbookReport) -> Self:
        """Return the model of a runbook."""
        it = report.runbook
        held: Mapping[str, str] = report.held
        return cls(
            name=it.name,
            title=it.title,
            title_ja=it.title_ja,
            mode=it.guard.mode,
            when=list(it.when),
            steps=[step.text if isinstance(step, TextStep) else step.kind for step in it.steps],
            steps_ja=[step.localized("ja") if isinstance(step, TextStep) else step.kind for step in it.steps],
            held=dict(held),
            missing=list(report.missing),
            runs=[RunModel.of(run) for run in report.runs],
        )


class SwitchModel(ResponseModel):
    """The stop switch of automation."""

    is_stopped: bool
    by_file: bool
    """Whether the file `stop-automation` in the data folder stops it."""
    at: datetime | None
    by: str
    reason: str

    @classmethod
    def of(cls, switch: StopSwitch, *, by_file: bool) -> Self:
        """Return the model of the switch."""
        return cls(
            is_stopped=switch.is_stopped or by_file,
            by_file=by_file,
            at=switch.at,
            by=switch.by,
            reason=switch.reason,
        )


class RunbooksResponse(ResponseModel):
    """All runbooks, and the stop switch."""

    switch: SwitchModel
    runbooks: list[RunbookModel]
