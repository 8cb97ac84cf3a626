"""A review of all rules: who asked for it, how far it is, and what it found; as it is kept in state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from toban.review.alert_review import EvaluatedRule
from toban.review.follow_up import AppliedLimit, FollowUp
from toban.review.proposals import Proposal, Refusal
from toban.review.true_incident import TrueIncident

MOST_PROPOSALS: Final = 30
"""How many proposals of a run are kept: those that save most; the next review proposes the others."""
MOST_REFUSALS: Final = 2_000
MOST_JUDGED: Final = 50
"""How many refusals are kept with the limits that were tried."""
MOST_INCIDENTS: Final = 200


@dataclass(frozen=True, slots=True)
class ProposalRun:
    """
    A run over all rules: who asked for it, how far it is, and what it found.

    ``unnoticed`` are the true incidents in which nothing fired: every rule missed them. ``follow_ups`` say whether the
    limits that were applied before have helped.
    """

    started: datetime
    by: str
    total: int
    done: int = 0
    ended: datetime | None = None
    proposals: tuple[Proposal, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    incidents: int = 0
    """How many true incidents there were."""
    unnoticed: tuple[TrueIncident, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    error: str = ""
    """Why it ended before it was done."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        found: dict[str, Any] = _run().dump_python(self, mode="json")
        return found

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "ProposalRun":
        """Return it from what ``as_dict`` returned. Raises ``ValueError``."""
        return _run().validate_python(body)


@cache
def _run() -> TypeAdapter[ProposalRun]:
    return TypeAdapter(ProposalRun)


@cache
def _applied() -> TypeAdapter[AppliedLimit]:
    return TypeAdapter(AppliedLimit)


def applied_as_dict(applied: AppliedLimit) -> dict[str, Any]:
    """Return an applied limit as plain data."""
    found: dict[str, Any] = _applied().dump_python(applied, mode="json")
    return found


def applied_from_dict(number: int, body: Mapping[str, Any]) -> AppliedLimit:
    """Return the applied limit of a row. Raises ``ValueError``."""
    return _applied().validate_python({**body, "id": number})


def with_refusal(run: ProposalRun, refusal: Refusal) -> ProposalRun:
    """Return a run with a refusal more."""
    if sum(bool(it.judged) for it in run.refusals) >= MOST_JUDGED:
        refusal = replace(refusal, judged=())
    return replace(run, refusals=(*run.refusals, refusal)[:MOST_REFUSALS])


def with_proposal(run: ProposalRun, proposal: Proposal) -> ProposalRun:
    """Return a run with a proposal more, those first that save most."""
    found = sorted((*run.proposals, proposal), key=lambda it: -it.judged.saved)
    return replace(run, proposals=tuple(found[:MOST_PROPOSALS]))


def is_void(proposal: Proposal, rules: Sequence[EvaluatedRule]) -> bool:
    """Return whether the rule of a proposal has changed since, or is no longer there alone."""
    present = [(it.expression, it.for_) for it in rules if it.name == proposal.rule]
    return present != [(proposal.expression, proposal.for_)]
