"""All routes together."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from toban.collect.service import Collecting
from toban.core.ports import Clock, QueryEngine, SeriesSource, Service
from toban.health.service import Health
from toban.web import health_api as health_pages
from toban.web.endpoint import Endpoint, Permission, is_trusted, unauthorized
from toban.web.fair_streaming import Turns
from toban.web.metrics_pages import Exposing
from toban.web.overview_page import Page
from toban.web.prometheus_api import Prometheus
from toban.web.prometheus_status import Runtime
from toban.web.status_api import Own
from toban.web.strict_transport import StrictTransport


def application(
    own: Own,
    health: Health,
    engine: QueryEngine,
    questions: QueryEngine,
    source: SeriesSource,
    collecting: Collecting,
    services: Sequence[Service],
    clock: Clock,
    runtime: Runtime,
    more: Sequence[Endpoint] = (),
    address: str = "",
) -> Starlette:
    """
    Return what answers all requests; ``more`` is what lets numbers and lines in, and shows lines.

    ``engine`` answers toban's own questions, ``questions`` those that are asked. ``address`` is where people reach it.
    """
    turns = Turns()
    app = _answering(
        [
            # First what is asked most: routes are tried one after the other.
            *Prometheus(questions, source, collecting.targets, clock, turns).routes(),
            *Page(own).routes(),
            *own.routes(),
            *health_pages.routes(health, services),
            *Exposing(collecting.newest, engine, source, clock, turns).routes(),
            *runtime.routes(),
            *more,
        ]
    )
    app.add_middleware(StrictTransport, address=address)
    return app


def metrics_alone(collecting: Collecting, engine: QueryEngine, source: SeriesSource, clock: Clock) -> Starlette:
    """Return what answers `/metrics` and nothing else."""
    exposing = Exposing(collecting.newest, engine, source, clock, Turns())
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
