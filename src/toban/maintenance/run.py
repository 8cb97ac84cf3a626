"""One run of a maintenance task: how far it is, what it did, and what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from toban.maintenance.task import Finding, Step


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """A step failed, or the run took too long."""
    STOPPED = "stopped"
    """A person or a brake ended it; what it has done stays."""
    INTERRUPTED = "interrupted"
    """toban ended while it ran."""
    DRY = "dry"
    """It only said what it would do."""
    SKIPPED = "skipped"
    """Something kept it from its time until it was too late."""


FAILURES: Final = frozenset({RunState.FAILED, RunState.INTERRUPTED})
"""The states of runs that count as failures of their task."""

DONE: Final = frozenset({RunState.SUCCEEDED, RunState.DRY})

LEASE: Final = timedelta(minutes=1)
"""A run that its process has not renewed for so long belongs to nobody."""


class StepOutcome(StrEnum):
    """What became of a step."""

    BEGUN = "begun"
    """It was begun, and its result is not known."""
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It must not be done just then."""
    PLANNED = "planned"
    """It would be done: the run was dry, or ended before."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What became of one step; ``text`` says what it did, or why it failed."""

    name: str
    description: str
    outcome: StepOutcome = StepOutcome.PLANNED
    text: str = ""
    began: datetime | None = None
    ended: datetime | None = None

    @classmethod
    def of(cls, step: Step) -> Self:
        """Return the record of a step that was not begun."""
        return cls(step.name[:200], step.description[:1000])

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "description": self.description,
            "outcome": self.outcome.value,
            "text": self.text,
            "began": self.began.isoformat() if self.began else None,
            "ended": self.ended.isoformat() if self.ended else None,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the record that ``as_dict`` returned."""
        return cls(
            body["name"],
            body["description"],
            StepOutcome(body["outcome"]),
            body["text"],
            datetime.fromisoformat(body["began"]) if body["began"] else None,
            datetime.fromisoformat(body["ended"]) if body["ended"] else None,
        )


@dataclass(frozen=True, slots=True)
class MaintenanceRun:
    """
    A run of a task.

    ``due`` is the time of its schedule; a run by hand has none, but ``by``. ``owner`` is the process that runs it,
    which writes ``renewed`` again and again; ``canceled_by`` is who wants it to end.
    """

    id: int
    task: str
    kind: str
    target: str
    state: RunState
    started: datetime
    owner: str
    renewed: datetime
    due: datetime | None = None
    by: str = ""
    is_dry: bool = False
    canceled_by: str = ""
    steps: Sequence[StepRecord] = ()
    findings: Sequence[Finding] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    progress: str = ""
    """How far the step that runs is."""
    silence: str = ""
    """The id of the silence for the alerts that it may cause."""
    ended: datetime | None = None
    text: str = ""
    """How it ended, in a sentence."""

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.state is RunState.RUNNING

    def is_abandoned(self, now: datetime) -> bool:
        """Whether it goes on and its process does not renew it any more."""
        return self.is_open and now - self.renewed > LEASE

    @property
    def took(self) -> timedelta | None:
        """How long it took."""
        return self.ended - self.started if self.ended else None

    @property
    def steps_done(self) -> int:
        """How many steps have ended."""
        return sum(it.ended is not None for it in self.steps)

    def with_step(self, index: int, record: StepRecord) -> Self:
        """Return it with the changed record of a step."""
        return replace(self, steps=(*self.steps[:index], record, *self.steps[index + 1 :]))

    def finished(self, state: RunState, at: datetime, text: str) -> Self:
        """Return it as ended."""
        return replace(self, state=state, ended=at, text=text[:2000], progress="")

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored beside the columns."""
        return {
            "kind": self.kind,
            "by": self.by,
            "is_dry": self.is_dry,
            "steps": [it.as_dict() for it in self.steps],
            "findings": [it.as_dict() for it in self.findings],
            "figures": dict(self.figures),
            "progress": self.progress,
            "silence": self.silence,
            "ended": self.ended.isoformat() if self.ended else None,
            "text": self.text,
        }
