"""The status of everything in toban's own API: responses."""

from datetime import datetime

import toban
from toban.core.ports import HealthState
from toban.health.key_figures import Unit
from toban.web.api.api_endpoint import ResponseModel
from toban.web.api.models import AlertModel


class TargetModel(ResponseModel):
    """A target, and how its last collection went."""

    name: str
    kind: str
    labels: dict[str, str]
    state: HealthState
    up: bool
    error: str
    interval: float
    """Seconds."""
    last_collection: datetime | None
    duration: float
    """Seconds."""
    samples: int


class TargetsResponse(ResponseModel):
    """All targets."""

    targets: list[TargetModel]


class CheckModel(ResponseModel):
    """A health check of the shop."""

    name: str
    up: bool
    message: str


class UnavailableCheckModel(ResponseModel):
    """A health check that can't be made."""

    name: str
    reason: str


class FigureModel(ResponseModel):
    """A key figure of the shop."""

    key: str
    title: str
    of: str
    """Of which currency, queue, …, where there are several."""
    value: float
    unit: Unit
    text: str
    """The value with its unit."""


class MissingMetricsModel(ResponseModel):
    """Something of the shop that is not monitored."""

    title: str
    remedy: str
    """What enables it."""


class ServiceModel(ResponseModel):
    """A service of toban itself."""

    name: str
    state: HealthState
    message: str


class ComponentModel(ResponseModel):
    """A component of the shop, and its key figure."""

    key: str
    title: str
    state: HealthState
    alerts: list[str]
    """The firing alerts that belong to it."""
    unit: str
    """The unit of the figure, by Grafana's names."""
    value: float | None
    values: list[float | None]
    """The figure at each minute of the last hour."""
    board: str
    """The dashboard that shows more."""


class UsualModel(ResponseModel):
    """The least, the median and the most of the same hours of the last four weeks."""

    least: float
    median: float
    most: float


class SalesHourModel(ResponseModel):
    """An hour of today."""

    starts: datetime
    orders: float | None
    usual: UsualModel | None


class AmountModel(ResponseModel):
    """A sum of today so far."""

    value: float | None
    usual: UsualModel | None
    """The sums until the same time of day."""
    missing: float
    """How much less it is than the least that is usual."""


class SalesModel(ResponseModel):
    """Orders of today by the hour and in all, and revenue by currency."""

    hours: list[SalesHourModel]
    orders: AmountModel
    revenue: dict[str, AmountModel]


class StatusResponse(ResponseModel):
    """Everything together."""

    version: str = toban.__version__
    started: datetime
    data: str
    """The data folder."""
    pages: str
    """Where toban listens."""
    state: HealthState
    notified: bool
    """Whether a notification channel is configured."""
    alerts: list[AlertModel]
    targets: list[TargetModel]
    health: list[CheckModel]
    unavailable_checks: list[UnavailableCheckModel]
    figures: list[FigureModel]
    not_monitored: list[MissingMetricsModel]
    services: list[ServiceModel]
    components: list[ComponentModel]
    sales: SalesModel | None
    """None where no orders are counted."""
