"""The status of everything: what `toban status` and the first page show."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from toban.access.permissions import Permission
from toban.collect.service import TargetStatus
from toban.core.actor import Actor
from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import ItemIsolation, health_by_service
from toban.core.ports import HealthState, HealthStatus, Service
from toban.health.checks import Endpoints, UnavailableCheck
from toban.health.components import Component, component_state
from toban.health.key_figures import FigureValue
from toban.health.sales import Amount, Sales
from toban.health.service import CheckResult, HealthService
from toban.health.shop_report import ShopReport
from toban.instruments.metric_sources import Coverage
from toban.state.quarantine import Quarantine
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.models import AlertModel
from toban.web.api.status_models import (
    AmountModel,
    CheckModel,
    ComponentModel,
    FigureModel,
    MissingMetricsModel,
    SalesHourModel,
    SalesModel,
    ServiceModel,
    StatusResponse,
    TargetModel,
    TargetsResponse,
    UnavailableCheckModel,
)
from toban.web.endpoint import Endpoint
from toban.web.pages.i18n import texts

T = TypeVar("T")

DEFAULT_KINDS: Final = frozenset({"toban", "host", "telemetry", "events"})
"""The kinds of targets that exist without configuration: they monitor nothing of a shop."""

NOTIFICATIONS: Final = "notify"
"""The name of the notification service."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What does not change while toban runs."""

    started: datetime
    data: str
    pages: str


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """A component of the shop: its state, the firing alerts that belong to it, and its figure of the last hour."""

    component: Component
    state: HealthState
    alerts: Sequence[Alert]
    values: Sequence[float | None]

    @property
    def value(self) -> float | None:
        """Its figure now."""
        return self.values[-1] if self.values else None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the first page and `toban status` show."""

    about: ProcessInfo
    alerts: Sequence[Alert]
    suppressed: Mapping[str, Sequence[str]]
    targets: Sequence[TargetStatus]
    health: Sequence[CheckResult]
    unavailable: Sequence[UnavailableCheck]
    figures: Sequence[FigureValue]
    missing: Sequence[Coverage]
    services: Sequence[tuple[str, HealthStatus]]
    components: Sequence[ComponentStatus]
    sales: Sales | None
    """The sales of today; None where no orders are counted."""

    @property
    def state(self) -> HealthState:
        """
        The state of everything together.

        1. Unhealthy while anything fires, a target or a check is down, or a part of toban is unhealthy.
        2. No data before the first collection of each target.
        3. Not configured as long as nothing of a shop is monitored.
        """
        states = [target.state for target in self.targets]
        if (
            HealthState.UNHEALTHY in states
            or any(alert.status is AlertStatus.FIRING for alert in self.alerts)
            or any(HealthState.UNHEALTHY is status.state for _, status in self.services)
            or (HealthState.NO_DATA not in states and not all(result.up for result in self.health))
        ):
            return HealthState.UNHEALTHY
        if HealthState.NO_DATA in states:
            return HealthState.NO_DATA
        monitored = {target.kind for target in self.targets} - DEFAULT_KINDS
        return HealthState.HEALTHY if monitored else HealthState.NOT_CONFIGURED

    @property
    def notified(self) -> bool:
        """Whether anybody is notified of what fires."""
        return not any(name == NOTIFICATIONS and not it.configured for name, it in self.services)


class StatusApi:
    """Collects the status of everything."""

    def __init__(
        self,
        about: ProcessInfo,
        alerts: Callable[[], Sequence[Alert]],
        suppressed: Callable[[], Mapping[str, Sequence[str]]],
        targets: Callable[[], Sequence[TargetStatus]],
        health: HealthService,
        services: Sequence[Service],
        shop: ShopReport,
        metrics_of: Callable[[str], Sequence[str]],
        quarantine: Quarantine | None = None,
    ) -> None:
        """``metrics_of`` returns the metrics that the rule of an alert reads, by its name."""
        self._about = about
        self._alerts = alerts
        self._suppressed = suppressed
        self._targets = targets
        self._health = health
        self._services = services
        self._shop = shop
        self._metrics_of = metrics_of
        self._quarantine = quarantine

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            ApiEndpoint("/api/status", self.status, Permission.READ, NoParameters, StatusResponse),
            ApiEndpoint("/api/targets", self.targets, Permission.READ, NoParameters, TargetsResponse),
        ]

    async def overview(self) -> Overview:
        """Return the status of everything; a part that fails is left out and reported."""
        isolation = ItemIsolation()

        async def part(name: str, pending: Awaitable[Sequence[T]]) -> Sequence[T]:
            with isolation.item("overview", name):
                return await pending
            return ()

        async def sales() -> Sales | None:
            with isolation.item("overview", "sales"):
                return await self._shop.sales()
            return None

        async def alerts() -> Sequence[Alert]:
            return [alert for alert in self._alerts() if alert.status is not AlertStatus.RESOLVED]

        async def targets() -> Sequence[TargetStatus]:
            return self._targets()

        firing, collected = await part("alerts", alerts()), await part("targets", targets())
        overview = Overview(
            self._about,
            firing,
            self._suppressed(),
            collected,
            await part("health", self._health.results(Endpoints.HEALTH)),
            await part("unavailable checks", self._health.unavailable()),
            await part("figures", self._health.figures()),
            await part("missing", self._health.missing()),
            health_by_service(self._services),
            await part("components", self._components(firing, collected)),
            await sales(),
        )
        if self._quarantine:
            self._quarantine.report("overview", isolation.failures)
        return overview

    async def _components(self, alerts: Sequence[Alert], targets: Sequence[TargetStatus]) -> list[ComponentStatus]:
        found = []
        firing = [alert for alert in alerts if alert.status is AlertStatus.FIRING]
        for figure in await self._shop.components():
            own = [it for it in targets if figure.component.owns_target(it.kind, it.name)]
            jobs = {it.labels.get("job", "") for it in own}
            alerting = [
                alert
                for alert in firing
                if alert.labels.get("job") in jobs or figure.component.owns_rule(self._metrics_of(alert.name))
            ]
            firing = [alert for alert in firing if alert not in alerting]
            state = component_state(figure, [it.state for it in own], is_alerting=bool(alerting))
            found.append(ComponentStatus(figure.component, state, alerting, figure.values))
        return found

    async def targets(self, _: NoParameters, actor: Actor) -> TargetsResponse:
        """Return the targets, each with its last collection."""
        return TargetsResponse(targets=[_target(it) for it in self._targets()])

    async def status(self, _: NoParameters, actor: Actor) -> StatusResponse:
        """Return the status of everything."""
        return status_response(await self.overview())


def status_response(overview: Overview) -> StatusResponse:
    """Return the response that shows an overview."""
    english = texts("en")
    return StatusResponse(
        started=overview.about.started,
        data=overview.about.data,
        pages=overview.about.pages,
        state=overview.state,
        notified=overview.notified,
        alerts=[AlertModel.of(it, overview.suppressed.get(it.fingerprint, ())) for it in overview.alerts],
        targets=[_target(it) for it in overview.targets],
        health=[CheckModel.model_validate(it) for it in overview.health],
        unavailable_checks=[UnavailableCheckModel.model_validate(it) for it in overview.unavailable],
        figures=[
            FigureModel(
                key=it.key, title=english[f"figure-{it.key}"], of=it.of, value=it.value, unit=it.unit, text=it.text
            )
            for it in overview.figures
        ],
        not_monitored=[
            MissingMetricsModel(title=english[f"known-{it.key}"], remedy=remedy(it, english)) for it in overview.missing
        ],
        services=[ServiceModel(name=name, state=it.state, message=it.message) for name, it in overview.services],
        components=[
            ComponentModel(
                key=it.component.key,
                title=english[f"component-{it.component.key}"],
                state=it.state,
                alerts=[alert.name for alert in it.alerts],
                unit=it.component.unit,
                value=it.value,
                values=list(it.values),
                board=it.component.board,
            )
            for it in overview.components
        ],
        sales=_sales(overview.sales) if overview.sales else None,
    )


def _sales(sales: Sales) -> SalesModel:
    return SalesModel(
        hours=[SalesHourModel.model_validate(it) for it in sales.hours],
        orders=_amount(sales.orders),
        revenue={currency: _amount(it) for currency, it in sales.revenue.items()},
    )


def _amount(amount: Amount) -> AmountModel:
    return AmountModel(value=amount.value, usual=amount.usual, missing=amount.missing)


def _target(target: TargetStatus) -> TargetModel:
    return TargetModel(
        name=target.name,
        kind=target.kind,
        labels=target.labels,
        state=target.state,
        up=target.up,
        error=target.error,
        interval=target.interval,
        last_collection=target.at,
        duration=target.seconds,
        samples=target.samples,
    )


def remedy(missing: Coverage, texts: Mapping[str, str]) -> str:
    """Return what enables something that is not monitored."""
    return texts["or"].join(texts[f"source-{source.name.lower()}"] for source in missing.sources)
