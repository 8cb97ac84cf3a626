"""toban's own API: what the commands and the first page show."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.collect.service import TargetStatus
from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import ItemIsolation, health_by_service
from toban.core.ports import HealthState, HealthStatus, Service
from toban.health.checks import Endpoints, UnavailableCheck
from toban.health.key_figures import FigureValue
from toban.health.service import CheckResult, HealthService
from toban.instruments.metric_sources import Coverage
from toban.state.quarantine import Quarantine
from toban.web.alerts_api import alert_json as alert_as_json
from toban.web.endpoint import Endpoint, Permission
from toban.web.i18n import catalogue
from toban.web.json_response import JsonResponse

T = TypeVar("T")

ALWAYS: Final = frozenset({"toban", "host", "telemetry", "events"})
"""The kinds of targets that are there with no configuration: they tell nothing of a shop."""

DISPATCHING: Final = "notify"
"""The name of the service that notifies."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What doesn't change while toban runs."""

    started: datetime
    data: str
    pages: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the first page and `toban status` tell."""

    about: ProcessInfo
    alerts: Sequence[Alert]
    suppressed: Mapping[str, Sequence[str]]
    targets: Sequence[TargetStatus]
    health: Sequence[CheckResult]
    unknown: Sequence[UnavailableCheck]
    figures: Sequence[FigureValue]
    missing: Sequence[Coverage]
    services: Sequence[tuple[str, HealthStatus]]

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
            or any(HealthState.UNHEALTHY is condition.state for _, condition in self.services)
            or (HealthState.NO_DATA not in states and not all(finding.up for finding in self.health))
        ):
            return HealthState.UNHEALTHY
        if HealthState.NO_DATA in states:
            return HealthState.NO_DATA
        monitored = {target.kind for target in self.targets} - ALWAYS
        return HealthState.HEALTHY if monitored else HealthState.NOT_CONFIGURED

    @property
    def notified(self) -> bool:
        """Whether anybody is notified of what fires."""
        return not any(name == DISPATCHING and not it.configured for name, it in self.services)


class StatusApi:
    """Tells about toban and what it watches."""

    def __init__(
        self,
        about: ProcessInfo,
        alerts: Callable[[], Sequence[Alert]],
        suppressed: Callable[[], Mapping[str, Sequence[str]]],
        targets: Callable[[], Sequence[TargetStatus]],
        health: HealthService,
        services: Sequence[Service],
        quarantine: Quarantine | None = None,
    ) -> None:
        self._about = about
        self._alerts = alerts
        self._suppressed = suppressed
        self._targets = targets
        self._health = health
        self._services = services
        self._quarantine = quarantine

    def report(self, owner: str, isolation: ItemIsolation) -> None:
        """Report what could not be shown."""
        if self._quarantine:
            self._quarantine.report(owner, isolation.failures)

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/api/status", self.status, Permission.READ)]

    async def overview(self) -> Overview:
        """Return how everything is now; what can't be told is left out and reported."""
        isolation = ItemIsolation()

        async def part(name: str, found: Awaitable[Sequence[T]]) -> Sequence[T]:
            with isolation.item("overview", name):
                return await found
            return ()

        async def alerts() -> Sequence[Alert]:
            return [alert for alert in self._alerts() if alert.status is not AlertStatus.RESOLVED]

        async def targets() -> Sequence[TargetStatus]:
            return self._targets()

        found = Overview(
            self._about,
            await part("alerts", alerts()),
            self._suppressed(),
            await part("targets", targets()),
            await part("health", self._health.results(Endpoints.HEALTH)),
            await part("unknown", self._health.unknown()),
            await part("figures", self._health.figures()),
            await part("missing", self._health.missing()),
            health_by_service(self._services),
        )
        self.report("overview", isolation)
        return found

    async def status(self, request: Request) -> Response:
        """Answer how everything is."""
        return JsonResponse(overview_json(await self.overview()))


def overview_json(overview: Overview) -> dict[str, Any]:
    """Return an overview as plain data."""
    say = catalogue("en")
    return {
        "version": toban.__version__,
        **asdict(overview.about),
        "state": overview.state,
        "notified": overview.notified,
        "alerts": [alert_as_json(alert, overview.suppressed.get(alert.fingerprint, ())) for alert in overview.alerts],
        "targets": [{**asdict(target), "state": target.state} for target in overview.targets],
        "health": [asdict(finding) for finding in overview.health],
        "shop": [{"what": say[f"figure-{it.key}"], "text": it.text, **asdict(it)} for it in overview.figures],
        "missing": [{"what": say[f"known-{it.key}"], "remedy": how_to_add(it, say)} for it in overview.missing],
        "unknown": [{"name": unknown.name, "reason": unknown.reason} for unknown in overview.unknown],
        "toban": [{"name": name, "state": it.state, "says": it.message} for name, it in overview.services],
    }


def how_to_add(known: Coverage, say: Mapping[str, str]) -> str:
    """Say what would add something that is not known."""
    return say["or"].join(say[f"source-{source.name.lower()}"] for source in known.sources)
