"""Service levels and their error budgets, in toban's own API."""

from datetime import datetime
from typing import Self

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.review.error_budget import BudgetState, ErrorBudget
from toban.review.service_level import LevelKind
from toban.review.service_levels import ServiceLevels
from toban.review.slo_rules import alert_name
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, ResponseModel
from toban.web.endpoint import Endpoint


class ErrorBudgetModel(ResponseModel):
    """A service level, and its error budget."""

    name: str
    kind: LevelKind
    target: float
    """The share that must be good, in percent."""
    period_seconds: float
    state: BudgetState
    error: str
    """Why it could not be read."""
    since: datetime | None
    """When it was observed first within the period."""
    events: float
    bad: float
    good_percent: float | None
    """The share of good events, in percent; null without events."""
    outside_planned_percent: float | None
    """The same without planned maintenance windows, which count in the budget."""
    left: float | None
    """The share of the budget that is left: negative when it is overspent."""
    burn: float | None
    """How many times faster than allowed the budget was spent in the last hour."""
    lasts_seconds: float | None
    """How long the rest lasts at this rate."""
    blind_seconds: float
    """For how long nothing was observed since `since`: neither good nor bad."""
    planned_seconds: float
    alerts: list[str]
    """The names of its alerts."""

    @classmethod
    def of(cls, it: ErrorBudget) -> Self:
        """Return the model of a budget."""
        level = it.level
        return cls(
            name=level.name,
            kind=level.kind,
            target=level.settings.target,
            period_seconds=level.settings.period.total_seconds(),
            state=it.state,
            error=it.error,
            since=it.since,
            events=it.events,
            bad=it.bad,
            good_percent=_good(it.ratio),
            outside_planned_percent=_good(it.outside_planned),
            left=it.left,
            burn=it.burn,
            lasts_seconds=it.lasts.total_seconds() if it.lasts is not None else None,
            blind_seconds=it.blind.total_seconds(),
            planned_seconds=it.planned.total_seconds(),
            alerts=[alert_name(level, fast=fast) for fast in (True, False)],
        )


def _good(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (1 - ratio)


class ServiceLevelsResponse(ResponseModel):
    """All service levels."""

    levels: list[ErrorBudgetModel]


class SloApi:
    """Shows service levels."""

    def __init__(self, levels: ServiceLevels) -> None:
        self._levels = levels

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/slo", self.budgets, Permission.READ, NoParameters, ServiceLevelsResponse)]

    async def budgets(self, _: NoParameters, actor: Actor) -> ServiceLevelsResponse:
        """Return all service levels with their error budgets."""
        return ServiceLevelsResponse(levels=[ErrorBudgetModel.of(it) for it in await self._levels.budgets()])
