"""One run of a runbook: how far it is, what it did, and who approved it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from toban.core.alerts import Alert
from toban.runbooks.action import Plan


class RunState(StrEnum):
    """The state of a run."""

    ASKED = "asked"
    """It waits for approval."""
    RUNNING = "running"
    WAITING = "waiting"
    """It waits for a person to do a step."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """toban ended between an act and its result: a person must look."""
    REFUSED = "refused"
    """Somebody said no."""
    EXPIRED = "expired"
    """Nobody answered in time."""
    VOID = "void"
    """What it was decided on has changed."""
    STOPPED = "stopped"
    """The stop switch was on."""
    DRY = "dry"
    """It only said what it would do."""


OPEN: Final = frozenset({RunState.ASKED, RunState.RUNNING, RunState.WAITING})
"""The states of runs that go on."""

FAILURES: Final = frozenset({RunState.FAILED, RunState.UNKNOWN})
"""The states of runs that count as failures of their runbook."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """
    What became of one step, or of one act of a step that has several.

    ``intended`` is when it was written that the act begins: what has no ``ended`` then may have been done. ``plan`` is
    what it was to do. ``key`` is the same for all attempts of the act, and that of no other.
    """

    index: int
    key: str
    kind: str
    plan: Plan
    acts: bool
    intended: datetime
    ended: datetime | None = None
    ok: bool = False
    text: str = ""
    by: str = ""
    """Who ticked it, if a person did it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "index": self.index,
            "key": self.key,
            "kind": self.kind,
            "plan": self.plan.as_dict(),
            "acts": self.acts,
            "intended": self.intended.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "ok": self.ok,
            "text": self.text,
            "by": self.by,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(
            body["index"],
            body.get("key", str(body["index"])),  # older ones have one act for each step
            body["kind"],
            Plan.from_dict(body["plan"]),
            body["acts"],
            datetime.fromisoformat(body["intended"]),
            datetime.fromisoformat(body["ended"]) if body["ended"] else None,
            body["ok"],
            body["text"],
            body["by"],
        )


@dataclass(frozen=True, slots=True)
class Run:
    """
    A run of a runbook for an alert.

    ``version`` is that of the runbook; ``step`` the index of the next step. ``question`` is what somebody is asked to
    approve until ``expires``; ``approval`` identifies exactly that.
    """

    id: int
    runbook: str
    version: str
    alert: Alert
    mode: str
    state: RunState
    started: datetime
    by: str = ""
    """Who started it by hand; empty where an alert did."""
    step: int = 0
    steps: Sequence[StepRecord] = ()
    question: Plan | None = None
    expires: datetime | None = None
    approved_by: str = ""
    ended: datetime | None = None
    text: str = ""
    """How it ended, in a sentence."""

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.state in OPEN

    @property
    def approval(self) -> str:
        """Identifies what is to be approved: the run, the version of its runbook, and the state it was decided on."""
        return f"{self.id}.{self.version}.{self.step}.{self.question.state if self.question else ''}"

    @property
    def approval_digest(self) -> str:
        """A short form of ``approval``, for buttons: it identifies the same."""
        return hashlib.sha256(self.approval.encode()).hexdigest()[:16]

    @property
    def acts(self) -> list[StepRecord]:
        """The steps that acted, or were about to."""
        return [it for it in self.steps if it.acts]

    def with_step(self, record: StepRecord) -> Self:
        """Return it with the record of a step, a new or a changed one."""
        return replace(self, steps=(*(it for it in self.steps if it.key != record.key), record))

    def begin(self, kind: str, plan: Plan, at: datetime, *, acts: bool = False) -> StepRecord:
        """Return the record of the next step, or of its next act, which begins."""
        return StepRecord(self.step, self.key, kind, plan, acts, at)

    @property
    def key(self) -> str:
        """The key of the next act."""
        acted = sum(it.index == self.step and it.ended is not None for it in self.steps)
        return f"run-{self.id}.{self.step}{f'.{acted}' if acted else ''}"

    def finished(self, state: RunState, at: datetime, text: str) -> Self:
        """Return it as ended."""
        return replace(self, state=state, ended=at, text=text, question=None, expires=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without its id."""
        return {
            "runbook": self.runbook,
            "version": self.version,
            "alert": self.alert.as_dict(),
            "mode": self.mode,
            "state": self.state.value,
            "started": self.started.isoformat(),
            "by": self.by,
            "step": self.step,
            "steps": [it.as_dict() for it in self.steps],
            "question": self.question.as_dict() if self.question else None,
            "expires": self.expires.isoformat() if self.expires else None,
            "approved_by": self.approved_by,
            "ended": self.ended.isoformat() if self.ended else None,
            "text": self.text,
        }

    @classmethod
    def from_dict(cls, number: int, body: Mapping[str, Any]) -> Self:
        """Return the run that ``as_dict`` returned."""
        return cls(
            number,
            body["runbook"],
            body["version"],
            Alert.from_dict(body["alert"]),
            body["mode"],
            RunState(body["state"]),
            datetime.fromisoformat(body["started"]),
            body["by"],
            body["step"],
            tuple(StepRecord.from_dict(it) for it in body["steps"]),
            Plan.from_dict(body["question"]) if body["question"] else None,
            datetime.fromisoformat(body["expires"]) if body["expires"] else None,
            body["approved_by"],
            datetime.fromisoformat(body["ended"]) if body["ended"] else None,
            body["text"],
        )


@dataclass(frozen=True, slots=True)
class StopSwitch:
    """Whether automation is stopped, since when, by whom, and why."""

    is_stopped: bool
    at: datetime | None = None
    by: str = ""
    reason: str = ""
