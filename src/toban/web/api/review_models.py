"""Models of the review of thresholds: proposals with their evidence, refusals, and limits that were applied."""

from datetime import datetime
from typing import Self

from toban.core.replay import RuleChange
from toban.review.follow_up import AppliedLimit, FiringFigures, FollowUp
from toban.review.judgement import JudgedChange, ListedFiring
from toban.review.proposal_run import ProposalRun
from toban.review.proposals import Proposal, Refusal
from toban.review.true_incident import TrueIncident
from toban.review.value_curve import ValueCurve
from toban.web.api.api_endpoint import ResponseModel


class TrueIncidentModel(ResponseModel):
    """A true incident."""

    id: int
    """Its number; 0 where the incident book has none."""
    name: str
    name_ja: str
    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, it: TrueIncident) -> Self:
        """Return the model of an incident."""
        return cls(id=it.id, name=it.name, name_ja=it.named("ja"), begins=it.begins, ends=it.ends)


class ListedFiringModel(ResponseModel):
    """A firing that would not have been."""

    labels: str
    fired: datetime
    ended: datetime | None
    pages: int

    @classmethod
    def of(cls, it: ListedFiring) -> Self:
        """Return the model of a firing."""
        return cls(labels=it.labels, fired=it.fired, ended=it.ended, pages=it.pages)


class DetectionModel(ResponseModel):
    """An incident that would still have been found."""

    incident: TrueIncidentModel
    later_seconds: float
    """How much later; less than zero is earlier."""


class JudgedChangeModel(ResponseModel):
    """Another limit or `for`, judged by replay."""

    limit: float | None
    for_seconds: float | None
    source: str
    """What the limit comes from."""
    saved: int
    """How many firings fewer there would have been."""
    saved_pages: int
    saved_firings: list[ListedFiringModel]
    """The newest firings that would not have been."""
    found: list[DetectionModel]
    missed: list[TrueIncidentModel]
    later_seconds: float
    """How much later incidents would have been found: the median."""
    worst_seconds: float
    """The most of it."""
    is_enough: bool
    """Whether it saves so many that it is worth a change."""

    @classmethod
    def of(cls, it: JudgedChange) -> Self:
        """Return the model of a judged change."""
        return cls(
            limit=it.change.limit,
            for_seconds=_for_seconds(it.change),
            source=it.source,
            saved=it.saved,
            saved_pages=it.saved_pages,
            saved_firings=[ListedFiringModel.of(one) for one in it.saved_firings],
            found=[
                DetectionModel(incident=TrueIncidentModel.of(one.incident), later_seconds=one.later.total_seconds())
                for one in it.found
            ],
            missed=[TrueIncidentModel.of(one) for one in it.missed],
            later_seconds=it.later.total_seconds(),
            worst_seconds=it.worst.total_seconds(),
            is_enough=it.is_enough,
        )


class ValueCurveModel(ResponseModel):
    """The worst value of the rule in each part of the time."""

    begins: int
    """Milliseconds."""
    step: int
    """Milliseconds."""
    values: list[float | None]
    kept: list[datetime]
    """When it fired and would still have fired."""
    saved: list[datetime]
    """When it fired and would not have fired."""

    @classmethod
    def of(cls, it: ValueCurve) -> Self:
        """Return the model of a curve."""
        return cls(begins=it.begins, step=it.step, values=list(it.values), kept=list(it.kept), saved=list(it.saved))


class ProposalModel(ResponseModel):
    """Another limit or `for` of a rule."""

    rule: str
    expression: str
    limit: float
    for_seconds: float
    new_limit: float | None
    new_for_seconds: float | None
    fired: int
    saved: int
    """How many of these firings would not have been."""
    found: int
    """True incidents that it found, and would still have found."""
    later_seconds: float
    """How much later it would have found them: the median."""
    worst_seconds: float
    """The most of it."""
    days: float
    source: str
    """What the limit comes from."""
    override: dict[str, str]
    """What to write under `alerting.overrides.RULE` in toban.yaml."""
    lines: str
    """The lines for toban.yaml, with the evidence as a comment."""
    is_void: bool
    """Whether the rule has changed since."""
    obstacle: str
    """Why it can't be applied here; empty where it can."""
    judged: JudgedChangeModel
    others: list[JudgedChangeModel]
    """The other limits that were tried."""
    incidents: list[TrueIncidentModel]
    """The true incidents that the rule finds."""
    curve: ValueCurveModel | None

    @classmethod
    def of(cls, it: Proposal, lines: str, obstacle: str, *, is_void: bool) -> Self:
        """Return the model of a proposal."""
        return cls(
            rule=it.rule,
            expression=it.expression,
            limit=it.limit,
            for_seconds=it.for_.total_seconds(),
            new_limit=it.change.limit,
            new_for_seconds=_for_seconds(it.change),
            fired=it.fired,
            saved=it.judged.saved,
            found=len(it.judged.found),
            later_seconds=it.judged.later.total_seconds(),
            worst_seconds=it.judged.worst.total_seconds(),
            days=it.days,
            source=it.judged.source,
            override=it.override,
            lines=lines,
            is_void=is_void,
            obstacle=obstacle,
            judged=JudgedChangeModel.of(it.judged),
            others=[JudgedChangeModel.of(one) for one in it.others],
            incidents=[TrueIncidentModel.of(one) for one in it.incidents],
            curve=ValueCurveModel.of(it.curve) if it.curve else None,
        )


class RefusalModel(ResponseModel):
    """Why nothing is proposed for a rule."""

    rule: str
    reason: str
    judged: list[JudgedChangeModel]
    """The limits that were tried."""

    @classmethod
    def of(cls, it: Refusal) -> Self:
        """Return the model of a refusal."""
        return cls(rule=it.rule, reason=it.reason, judged=[JudgedChangeModel.of(one) for one in it.judged])


class FiringFiguresModel(ResponseModel):
    """What the firings of a rule in some time come to."""

    fired: int
    per_week: float
    useless: int
    pages: int
    acted_on: float | None
    """The share on which somebody acted; null with fewer than five."""

    @classmethod
    def of(cls, it: FiringFigures | None) -> Self | None:
        """Return the model of figures."""
        if it is None:
            return None
        return cls(fired=it.fired, per_week=it.per_week, useless=it.useless, pages=it.pages, acted_on=it.acted_on)


class FollowUpModel(ResponseModel):
    """Whether an applied limit has helped, by the last review."""

    at: datetime
    verdict: str
    """`too_early`, `helped`, `no_difference`, `misses`, `changed` (the rule has another limit now) or `unknown`."""
    days: float
    """How much time after it is compared with as much before."""
    before: FiringFiguresModel | None
    after: FiringFiguresModel | None
    missed: list[TrueIncidentModel]
    """Incidents that the limit of before would have found."""
    error: str

    @classmethod
    def of(cls, it: FollowUp) -> Self:
        """Return the model of a comparison."""
        return cls(
            at=it.at,
            verdict=it.verdict.value,
            days=it.days,
            before=FiringFiguresModel.of(it.before),
            after=FiringFiguresModel.of(it.after),
            missed=[TrueIncidentModel.of(one) for one in it.missed],
            error=it.error,
        )


class AppliedLimitModel(ResponseModel):
    """A proposal that was applied."""

    id: int
    rule: str
    at: datetime
    by: str
    old_limit: float
    old_for_seconds: float
    limit: float
    for_seconds: float
    saved_per_month: float
    """How many firings fewer in 30 days it promised."""
    found: int
    """How many incidents it promised to keep."""
    source: str
    follow_up: FollowUpModel | None
    """Null before the next review."""

    @classmethod
    def of(cls, it: AppliedLimit, found: FollowUp | None = None) -> Self:
        """Return the model of an applied limit."""
        return cls(
            id=it.id,
            rule=it.rule,
            at=it.at,
            by=it.by,
            old_limit=it.old_limit,
            old_for_seconds=it.old_for.total_seconds(),
            limit=it.limit,
            for_seconds=it.for_.total_seconds(),
            saved_per_month=it.saved_per_month,
            found=it.found,
            source=it.source,
            follow_up=FollowUpModel.of(found) if found else None,
        )


class ProposalsResponse(ResponseModel):
    """The last review of thresholds."""

    started: datetime | None
    """Null before the first one."""
    ended: datetime | None
    by: str
    total: int
    done: int
    """How many of the rules are done."""
    error: str
    """Why it ended before it was done."""
    proposals: list[ProposalModel]
    refusals: list[RefusalModel]
    incidents: int
    """How many true incidents there were."""
    unnoticed: list[TrueIncidentModel]
    """Those in which nothing fired."""
    applied: list[AppliedLimitModel]
    """The limits that were applied, newest first."""

    @classmethod
    def of(cls, run: ProposalRun | None, proposals: list[ProposalModel], applied: list[AppliedLimitModel]) -> Self:
        """Return the model of a run."""
        it = run or ProposalRun(datetime.min, "", 0)
        return cls(
            started=run.started if run else None,
            ended=it.ended,
            by=it.by,
            total=it.total,
            done=it.done,
            error=it.error,
            proposals=proposals,
            refusals=[RefusalModel.of(one) for one in it.refusals],
            incidents=it.incidents,
            unnoticed=[TrueIncidentModel.of(one) for one in it.unnoticed],
            applied=applied,
        )


def _for_seconds(change: RuleChange) -> float | None:
    return None if change.for_ is None else change.for_.total_seconds()
