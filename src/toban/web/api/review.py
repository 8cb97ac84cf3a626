"""The review of alerts, in toban's own API."""

import asyncio
from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.review.alert_review import AlertReviews, EvaluatedRule
from toban.review.limit_commands import LimitCommands
from toban.review.proposal_service import ProposalService
from toban.review.quality import RuleQuality, Spread
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, RequestModel, ResponseModel
from toban.web.api.review_models import AppliedLimitModel, ProposalModel, ProposalsResponse
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


class ApplyRequest(RequestModel):
    """Which proposal to apply."""

    rule: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """The name of its rule."""


class ApplyResponse(ResponseModel):
    """An applied limit: it is in force."""

    applied: AppliedLimitModel
    difference: str
    """The lines that were added to toban.yaml, as a unified diff without context."""


class ReviewApi:
    """Shows the review of alerts, looks for better limits, and applies them."""

    def __init__(self, reviews: AlertReviews, proposals: ProposalService, limits: LimitCommands) -> None:
        self._reviews = reviews
        self._proposals = proposals
        self._limits = limits

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/review", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.review, read, ReviewRequest, ReviewResponse),
            ApiEndpoint(f"{path}/proposals", self.proposals, read, NoParameters, ProposalsResponse),
            ApiEndpoint(f"{path}/propose", self.propose, act, NoParameters, ProposalsResponse, method="POST"),
            ApiEndpoint(f"{path}/apply", self.apply, Permission.ADMIN, ApplyRequest, ApplyResponse, method="POST"),
        ]

    async def proposals(self, _: NoParameters, actor: Actor) -> ProposalsResponse:
        """Return the last review of thresholds, or the one that goes on."""
        run = await self._proposals.last()
        proposals = list(run.proposals) if run else []
        void = self._proposals.void(proposals)
        obstacles, limits = await self._limits.obstacles(proposals), await self._proposals.applied()

        def work() -> ProposalsResponse:
            models = [
                ProposalModel.of(it, self._limits.lines(it), why, is_void=it.rule in void)
                for it, why in zip(proposals, obstacles, strict=True)
            ]
            found = {it.applied: it for it in run.follow_ups} if run else {}
            return ProposalsResponse.of(run, models, [AppliedLimitModel.of(it, found.get(it.id)) for it in limits])

        # In a thread: the evidence of many proposals is thousands of firings.
        return await asyncio.to_thread(work)

    async def propose(self, _: NoParameters, actor: Actor) -> ProposalsResponse:
        """Look for better limits of rules on which too seldom anybody acts; it runs in the background."""
        self._proposals.start(actor)
        return await self.proposals(_, actor)

    async def apply(self, request: ApplyRequest, actor: Actor) -> ApplyResponse:
        """
        Write what is proposed for a rule into toban.yaml, and reload it.

        Nothing is changed when the rule or the file has changed since, or when the configuration would be invalid.
        """
        found = await self._limits.apply(request.rule, actor)
        return ApplyResponse(applied=AppliedLimitModel.of(found.applied), difference=found.difference)

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
