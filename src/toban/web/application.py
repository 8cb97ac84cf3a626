"""All routes together."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from toban.collect.service import CollectionService
from toban.core.ports import Clock, QueryEngine, SeriesSource, Service
from toban.health.service import HealthService
from toban.web import health_api as health_pages
from toban.web.endpoint import Endpoint, Permission, is_trusted, unauthorized
from toban.web.fair_streaming import FairStreaming
from toban.web.metrics_pages import MetricsPages
from toban.web.overview_page import OverviewPage
from toban.web.prometheus_api import PrometheusApi
from toban.web.prometheus_status import PrometheusStatusApi
from toban.web.status_api import StatusApi
from toban.web.strict_transport import StrictTransport


def application(
    own: StatusApi,
    health: HealthService,
    engine: QueryEngine,
    questions: QueryEngine,
    source: SeriesSource,
    collecting: CollectionService,
    services: Sequence[Service],
    clock: Clock,
    runtime: PrometheusStatusApi,
    more: Sequence[Endpoint] = (),
    address: str = "",
) -> Starlette:
    """
    Return what answers all requests; ``more`` is what lets numbers and lines in, and shows lines.

    ``engine`` answers toban's own questions, ``questions`` those that are asked. ``address`` is where people reach it.
    """
    turns = FairStreaming()
    app = _answering(
        [
            # First what is asked most: routes are tried one after the other.
            *PrometheusApi(questions, source, collecting.targets, clock, turns).routes(),
            *OverviewPage(own).routes(),
            *own.routes(),
            *health_pages.routes(health, services),
            *MetricsPages(collecting.newest, engine, source, clock, turns).routes(),
            *runtime.routes(),
            *more,
        ]
    )
    app.add_middleware(StrictTransport, address=address)
    return app


def metrics_alone(collecting: CollectionService, engine: QueryEngine, source: SeriesSource, clock: Clock) -> Starlette:
    """Return what answers `/metrics` and nothing else."""
    exposing = MetricsPages(collecting.newest, engine, source, clock, FairStreaming())
    return _answering([Endpoint("/metrics", exposing.metrics, Permission.PUBLIC)])


def _answering(routes: Sequence[BaseRoute]) -> Starlette:
    """Put routes together. Raises ``TypeError`` for one that does not say who may ask."""
    for route in routes:
        if not isinstance(route, Endpoint):
            raise TypeError(f"{route!r} declares no permission: make it an Endpoint")
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    # An address with a slash too many is not found, like any other: what leads elsewhere needs no answer of its own.
    app.router.redirect_slashes = False
    return app


async def _not_found(request: Request, error: Exception) -> Response:
    if not is_trusted(request):
        return unauthorized()
    return PlainTextResponse("404 page not found\n", 404)
