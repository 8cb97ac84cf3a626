"""Assembles the review from its settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from toban.core.ports import Clock, QueryEngine
from toban.review.recorder import FiringRecorder
from toban.review.service_level import ServiceLevel
from toban.review.service_levels import PlannedWindows, ServiceLevels


@dataclass(frozen=True, slots=True)
class ReviewPorts:
    """What the review uses of the other features, under one configuration."""

    planned: PlannedWindows


@dataclass(frozen=True, slots=True)
class Review:
    """The service levels of a configuration, and the history of firings, which outlives it."""

    levels: ServiceLevels
    firings: FiringRecorder


def open_review(
    levels: Sequence[ServiceLevel], firings: FiringRecorder, engine: QueryEngine, ports: ReviewPorts, clock: Clock
) -> Review:
    """Return what some settings ask for."""
    return Review(ServiceLevels(levels, engine, ports.planned, clock), firings)
