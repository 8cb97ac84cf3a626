"""Assembles the review from its settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, QueryEngine
from toban.core.replay import RuleReplayer
from toban.review.alert_review import MOST_FIRINGS, AlertReviews, EvaluatedRule
from toban.review.firing import Firing
from toban.review.proposal_service import ProposalService
from toban.review.proposals import ThresholdReview
from toban.review.recorder import FiringRecorder
from toban.review.service_level import ServiceLevel
from toban.review.service_levels import PlannedWindows, ServiceLevels


@dataclass(frozen=True, slots=True)
class ReviewPorts:
    """What the review uses of the other features, under one configuration."""

    planned: PlannedWindows
    rules: Callable[[], Sequence[EvaluatedRule]]
    zone: ZoneInfo
    replayer: RuleReplayer


@dataclass(frozen=True, slots=True)
class Review:
    """The service levels of a configuration, and the history of firings, which outlives it."""

    levels: ServiceLevels
    firings: FiringRecorder
    reviews: AlertReviews
    proposals: ProposalService


def open_review(
    levels: Sequence[ServiceLevel],
    firings: FiringRecorder,
    engine: QueryEngine,
    ports: ReviewPorts,
    clock: Clock,
    meters: MetricRegistry,
) -> Review:
    """Return what some settings ask for."""
    reviews = AlertReviews(firings, ports.rules, ports.zone, clock)

    async def history(begins: datetime, ends: datetime) -> Sequence[Firing]:
        return (await firings.history(begins, ends, limit=MOST_FIRINGS)).firings

    thresholds = ThresholdReview(ports.replayer, engine, history, ports.planned, ports.zone)
    proposals = ProposalService(thresholds, ports.rules, clock, meters)
    return Review(ServiceLevels(levels, engine, ports.planned, clock), firings, reviews, proposals)
