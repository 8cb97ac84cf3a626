"""All routes together."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from toban.collect.collecting import Collecting
from toban.core.ports import Clock, QueryEngine, SeriesSource, Service
from toban.health.answering import Health
from toban.web import health as health_pages
from toban.web.exposing import Exposing
from toban.web.own import Own
from toban.web.page import Page
from toban.web.prometheus import Prometheus
from toban.web.runtime import Runtime


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
    more: Sequence[Route] = (),
) -> Starlette:
    """
    Return what answers all requests; ``more`` is what lets numbers and lines in, and shows lines.

    ``engine`` answers toban's own questions, ``questions`` those that are asked.
    """
    return Starlette(
        routes=[
            # First what is asked most: routes are tried one after the other.
            *Prometheus(questions, source, collecting.targets, clock).routes(),
            *Page(own).routes(),
            *own.routes(),
            *health_pages.routes(health, services),
            *Exposing(collecting.newest, engine, source, clock).routes(),
            *runtime.routes(),
            *more,
        ],
        exception_handlers={404: _not_found},
    )


def metrics_alone(collecting: Collecting, engine: QueryEngine, source: SeriesSource, clock: Clock) -> Starlette:
    """Return what answers `/metrics` and nothing else."""
    exposing = Exposing(collecting.newest, engine, source, clock)
    return Starlette(routes=[Route("/metrics", exposing.metrics)], exception_handlers={404: _not_found})


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404)
