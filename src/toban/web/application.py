"""All routes together."""

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from toban.access.permissions import Permission
from toban.collect.service import CollectionService
from toban.core.ports import Clock, QueryEngine, SeriesSource, Service
from toban.health.service import HealthService
from toban.web import health_api as health_pages
from toban.web import static_files
from toban.web.api.openapi import OpenApi
from toban.web.api.status import StatusApi
from toban.web.endpoint import Endpoint, is_navigation, is_trusted, unauthorized
from toban.web.fair_streaming import FairStreaming
from toban.web.metrics_pages import MetricsPages
from toban.web.pages.rendering import page
from toban.web.problem_details import problem
from toban.web.prometheus_api import PrometheusApi
from toban.web.prometheus_status import PrometheusStatusApi
from toban.web.strict_transport import StrictTransport


def application(
    status: StatusApi,
    health: HealthService,
    engine: QueryEngine,
    queries: QueryEngine,
    source: SeriesSource,
    collection: CollectionService,
    services: Sequence[Service],
    clock: Clock,
    runtime: PrometheusStatusApi,
    more: Sequence[Endpoint] = (),
    address: str = "",
) -> Starlette:
    """
    Return the application; ``more`` are further endpoints.

    ``engine`` runs toban's own queries, ``queries`` those of clients. ``address`` is toban's public address.
    """
    streaming = FairStreaming()
    own_api = [*status.routes(), *more]
    app = _application(
        [
            # The most frequent first: routes are tried one after the other.
            *PrometheusApi(queries, source, collection.targets, clock, streaming).routes(),
            *own_api,
            OpenApi(own_api).route(),
            *health_pages.routes(health, services),
            *MetricsPages(collection.newest, engine, source, clock, streaming).routes(),
            *runtime.routes(),
            static_files.route(),
        ]
    )
    app.add_middleware(StrictTransport, address=address)
    return app


def metrics_alone(collection: CollectionService, engine: QueryEngine, source: SeriesSource, clock: Clock) -> Starlette:
    """Return an application with `/metrics` and nothing else."""
    pages = MetricsPages(collection.newest, engine, source, clock, FairStreaming())
    return _application([Endpoint("/metrics", pages.metrics, Permission.PUBLIC)])


COMPATIBLE: Final = ("/api/v1/", "/api/v2/", "/api/oncall.ics")
"""The paths below `/api/` that belong to the APIs of Prometheus and Alertmanager, and to programs for calendars."""


def _application(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application of routes. Raises ``TypeError`` for one that declares no permission."""
    for route in routes:
        if not isinstance(route, Endpoint):
            raise TypeError(f"{route!r} declares no permission: make it an Endpoint")
    app = Starlette(
        routes=routes, exception_handlers={403: _forbidden, 404: _not_found, 405: _method_not_allowed, 500: _failed}
    )
    # A path with a slash too many is not found, like any other: no redirects.
    app.router.redirect_slashes = False
    return app


def _is_own_api(request: Request) -> bool:
    """Tell whether a path belongs to toban's own API, whose errors are problem details."""
    path = request.url.path
    return path.startswith("/api/") and not path.startswith(COMPATIBLE)


async def _not_found(request: Request, error: Exception) -> Response:
    if not is_trusted(request):
        return unauthorized(is_own_api=_is_own_api(request))
    if _is_own_api(request):
        return problem(404, "no such path")
    return PlainTextResponse("404 page not found\n", 404)


async def _forbidden(request: Request, error: Exception) -> Response:
    detail = error.detail if isinstance(error, HTTPException) else ""
    if _is_own_api(request):
        return problem(403, detail)
    if is_navigation(request):
        return page(request, "forbidden.html", 403)
    return PlainTextResponse(f"{detail}\n", 403)


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) else None
    if _is_own_api(request):
        return problem(405, "this path has other methods", headers=headers)
    return PlainTextResponse("Method Not Allowed", 405, headers)


async def _failed(request: Request, error: Exception) -> Response:
    if _is_own_api(request):
        return problem(500, "unexpected error: see toban's log")
    return PlainTextResponse("Internal Server Error", 500)
