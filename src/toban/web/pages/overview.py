"""The first page: is the shop well, what does it sell, what fires, and how is each of its components."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.access.permissions import Permission
from toban.core.alerts import AlertStatus
from toban.core.ports import HealthState
from toban.health.checks import UnavailableCheck
from toban.web.api.deploys import DeployModel
from toban.web.api.incident_models import IncidentModel
from toban.web.api.models import AlertModel
from toban.web.api.status import Overview, StatusApi, remedy
from toban.web.endpoint import Endpoint
from toban.web.pages.charts import SalesChart
from toban.web.pages.i18n import texts
from toban.web.pages.rendering import language_of, page


class OverviewPage:
    """Shows the same as `toban status`, the open incidents, and the latest deploys."""

    def __init__(
        self,
        status: StatusApi,
        incidents: Callable[[], Sequence[IncidentModel]],
        deploys: Callable[[], Awaitable[Sequence[DeployModel]]],
    ) -> None:
        """``incidents`` returns the open ones, ``deploys`` the latest."""
        self._status = status
        self._incidents = incidents
        self._deploys = deploys

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/", self.show, Permission.READ)]

    async def show(self, request: Request) -> Response:
        """Show the status of everything, in the reader's language."""
        overview, language = await self._status.overview(), language_of(request)
        alerts = [AlertModel.of(it, overview.suppressed.get(it.fingerprint, ())) for it in overview.alerts]
        sales = overview.sales
        return page(
            request,
            "overview.html",
            overview=overview,
            verdict=_verdict(overview),
            firing=[it for it in alerts if it.status is AlertStatus.FIRING and not it.suppressed],
            suppressed=[it for it in alerts if it.status is AlertStatus.FIRING and it.suppressed],
            pending=[it for it in alerts if it.status is AlertStatus.PENDING],
            sales=sales,
            chart=SalesChart.of(sales.hours) if sales else None,
            at_risk=_at_risk(overview),
            missing=_missing(overview, texts(language)),
            version=toban.__version__,
            incidents=self._incidents(),
            deploys=await self._deploys(),
        )


def _verdict(overview: Overview) -> str:
    """Return what the first sentence is about."""
    if overview.state is not HealthState.UNHEALTHY:
        return overview.state.replace(" ", "-")
    firing = [it for it in overview.alerts if it.status is AlertStatus.FIRING]
    return "critical" if any(it.severity == "critical" for it in firing) else "unhealthy"


def _at_risk(overview: Overview) -> Mapping[str, float]:
    """Return the revenue of today that is missing against the least of the last weeks, by currency."""
    revenue = overview.sales.revenue if overview.sales else {}
    return {currency: it.missing for currency, it in revenue.items() if it.missing}


def _missing(overview: Overview, say: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Return what is not monitored, and what enables it."""
    checks = [(it.name, _remedy(it, say)) for it in overview.unavailable]
    metrics = [(say[f"known-{it.key}"], remedy(it, say)) for it in (overview.missing if overview.figures else ())]
    return [*checks, *metrics]


def _remedy(check: UnavailableCheck, say: Mapping[str, str]) -> str:
    return say["source-plain"] if check.source else check.setting
