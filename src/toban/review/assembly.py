"""Assembles the review from its settings."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from toban.core.actor import Actor
from toban.core.config_source import ConfigSource
from toban.core.incident_record import IncidentHistory
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, QueryEngine
from toban.core.replay import RuleReplayer
from toban.review.alert_review import MOST_FIRINGS, AlertReviews, EvaluatedRule
from toban.review.firing import Firing
from toban.review.limit_commands import LimitCommands
from toban.review.proposal_service import ProposalService
from toban.review.proposals import ThresholdReview
from toban.review.recorder import FiringRecorder
from toban.review.service_level import ServiceLevel
from toban.review.service_levels import PlannedWindows, ServiceLevels
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class ReviewPorts:
    """What the review uses of the other features, under one configuration."""

    planned: PlannedWindows
    rules: Callable[[], Sequence[EvaluatedRule]]
    zone: ZoneInfo
    replayer: RuleReplayer
    incidents: IncidentHistory
    source: ConfigSource | None
    """The file of the configuration."""
    reload: Callable[[Actor], Awaitable[str]]
    """Reloads the configuration; returns why it is not in force, nothing when it is."""


@dataclass(frozen=True, slots=True)
class Review:
    """The service levels of a configuration, and the history of firings, which outlives it."""

    levels: ServiceLevels
    firings: FiringRecorder
    reviews: AlertReviews
    proposals: ProposalService
    limits: LimitCommands


def open_review(
    levels: Sequence[ServiceLevel],
    firings: FiringRecorder,
    engine: QueryEngine,
    ports: ReviewPorts,
    state: State,
    clock: Clock,
    meters: MetricRegistry,
) -> Review:
    """Return what some settings ask for."""
    reviews = AlertReviews(firings, ports.rules, ports.zone, clock)

    async def history(begins: datetime, ends: datetime, rule: str) -> Sequence[Firing]:
        return (await firings.history(begins, ends, rule, MOST_FIRINGS)).firings

    thresholds = ThresholdReview(ports.replayer, engine, history, ports.incidents, ports.planned, ports.zone)
    proposals = ProposalService(thresholds, ports.rules, history, ports.zone, state, clock, meters)
    limits = LimitCommands(proposals, ports.source, ports.reload, ports.zone, state, clock, meters)
    return Review(ServiceLevels(levels, engine, ports.planned, clock), firings, reviews, proposals, limits)
