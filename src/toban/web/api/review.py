"""The review of alerts, in toban's own API."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.review.alert_review import AlertReviews, EvaluatedRule
from toban.review.proposal_service import ProposalRun, ProposalService
from toban.review.proposals import Proposal
from toban.review.quality import RuleQuality, Spread
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, RequestModel, ResponseModel
from toban.web.endpoint import Endpoint


class ReviewRequest(RequestModel):
    """Which month."""

    month: Annotated[str, StringConstraints(max_length=20)] = ""
    """Like 2026-11; by default this one."""


class SpreadModel(ResponseModel):
    """Durations, in seconds."""

    median: float
    p90: float
    """What nine of ten don't exceed."""

    @classmethod
    def of(cls, it: Spread | None) -> Self | None:
        """Return the model of a spread."""
        return cls(median=it.median.total_seconds(), p90=it.p90.total_seconds()) if it else None


class RuleQualityModel(ResponseModel):
    """What the firings of a rule came to."""

    rule: str
    priority: str
    fired: int
    alerts: int
    """Different alerts of the rule."""
    firing_seconds: float
    at_night: int
    """Firings between 22:00 and 07:00."""
    acknowledged: int
    acted_on: int
    useless: int
    refired: int
    """Firings of an alert that had ended less than half an hour before."""
    messages: int
    pages: int
    precision: float | None
    """The share of firings on which somebody acted; null with fewer than five."""
    aim: float
    to_acknowledge: SpreadModel | None
    to_resolve: SpreadModel | None
    hours: list[int]
    """Firings by the hour of the day."""
    faults: list[str]
    """`ignored`, `useless`, `flapping`."""

    @classmethod
    def of(cls, it: RuleQuality) -> Self:
        """Return the model of a quality."""
        return cls(
            rule=it.rule,
            priority=it.priority,
            fired=it.fired,
            alerts=it.alerts,
            firing_seconds=it.firing_time.total_seconds(),
            at_night=it.at_night,
            acknowledged=it.acknowledged,
            acted_on=it.acted_on,
            useless=it.useless,
            refired=it.refired,
            messages=it.messages,
            pages=it.pages,
            precision=it.precision,
            aim=it.aim,
            to_acknowledge=SpreadModel.of(it.to_acknowledge),
            to_resolve=SpreadModel.of(it.to_resolve),
            hours=list(it.hours),
            faults=list(it.faults),
        )


class ReviewedRuleModel(ResponseModel):
    """A rule that did not fire."""

    rule: str
    priority: str
    metrics: list[str]
    """What it reads."""

    @classmethod
    def of(cls, it: EvaluatedRule) -> Self:
        """Return the model of a rule."""
        return cls(rule=it.name, priority=it.priority, metrics=list(it.reads))


class ReviewResponse(ResponseModel):
    """The review of a month."""

    month: str
    begins: datetime
    ends: datetime
    pages_at_night: int
    rules: list[RuleQualityModel]
    """Those that fired, the most frequent first."""
    without_data: list[ReviewedRuleModel]
    """Rules whose data has never been there: they can't fire."""
    quiet: list[ReviewedRuleModel]
    """Rules that have data and have not fired for 90 days."""


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
    """How much later it would have found them."""
    days: float
    source: str
    """What the limit comes from."""
    override: dict[str, str]
    """What to write under `alerting.overrides.RULE` in toban.yaml."""

    @classmethod
    def of(cls, it: Proposal) -> Self:
        """Return the model of a proposal."""
        return cls(
            rule=it.rule,
            expression=it.expression,
            limit=it.limit,
            for_seconds=it.for_.total_seconds(),
            new_limit=it.change.limit,
            new_for_seconds=None if it.change.for_ is None else it.change.for_.total_seconds(),
            fired=it.fired,
            saved=it.saved,
            found=it.found,
            later_seconds=it.later.total_seconds(),
            days=it.days,
            source=it.source,
            override=it.override,
        )


class RefusalModel(ResponseModel):
    """Why nothing is proposed for a rule."""

    rule: str
    reason: str


class ProposalsResponse(ResponseModel):
    """The last review of thresholds."""

    started: datetime | None
    """Null before the first one under this configuration."""
    ended: datetime | None
    by: str
    total: int
    done: int
    """How many of the rules are done."""
    proposals: list[ProposalModel]
    refusals: list[RefusalModel]

    @classmethod
    def of(cls, it: ProposalRun | None) -> Self:
        """Return the model of a run."""
        if it is None:
            return cls(started=None, ended=None, by="", total=0, done=0, proposals=[], refusals=[])
        return cls(
            started=it.started,
            ended=it.ended,
            by=it.by,
            total=it.total,
            done=it.done,
            proposals=[ProposalModel.of(one) for one in it.proposals],
            refusals=[RefusalModel(rule=one.rule, reason=one.reason) for one in it.refusals],
        )


class ReviewApi:
    """Shows the review of alerts, and looks for better limits."""

    def __init__(self, reviews: AlertReviews, proposals: ProposalService) -> None:
        self._reviews = reviews
        self._proposals = proposals

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/review", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.review, read, ReviewRequest, ReviewResponse),
            ApiEndpoint(f"{path}/proposals", self.proposals, read, NoParameters, ProposalsResponse),
            ApiEndpoint(f"{path}/propose", self.propose, act, NoParameters, ProposalsResponse, method="POST"),
        ]

    async def proposals(self, _: NoParameters, actor: Actor) -> ProposalsResponse:
        """Return the last review of thresholds under this configuration, or the one that goes on."""
        return ProposalsResponse.of(self._proposals.last)

    async def propose(self, _: NoParameters, actor: Actor) -> ProposalsResponse:
        """Look for better limits of rules on which too seldom anybody acts; it runs in the background."""
        return ProposalsResponse.of(self._proposals.start(actor))

    async def review(self, request: ReviewRequest, actor: Actor) -> ReviewResponse:
        """Return how good each rule was in a month, and which rules did not fire."""
        found = await self._reviews.review(request.month)
        return ReviewResponse(
            month=found.month,
            begins=found.begins,
            ends=found.ends,
            pages_at_night=found.pages_at_night,
            rules=[RuleQualityModel.of(it) for it in found.rules],
            without_data=[ReviewedRuleModel.of(it) for it in found.without_data],
            quiet=[ReviewedRuleModel.of(it) for it in found.quiet],
        )
