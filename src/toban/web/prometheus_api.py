"""The HTTP API of Prometheus: https://prometheus.io/docs/prometheus/latest/querying/api/."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, islice
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from toban.access.permissions import Permission
from toban.collect.service import TargetStatus
from toban.core.config_types import format_duration
from toban.core.errors import BadQueryError, QueryError, StoreError, TobanError
from toban.core.labels import Labels
from toban.core.ports import Clock, QueryEngine, SeriesSource
from toban.core.query_result import QueryResult, ResultType
from toban.core.samples import milliseconds
from toban.promql.parser import ParseError, format_query, parse, selector
from toban.web.disconnect import cancel_on_disconnect
from toban.web.endpoint import FORM, NOTHING, Endpoint
from toban.web.fair_streaming import FairStreaming
from toban.web.json_response import JsonResponse
from toban.web.prometheus_json import join_pieces, json_list, scalar_text, series_array, timestamp_seconds
from toban.web.query_parameters import FIRST, LAST, QueryParameters

CODES: Final = {"bad_data": 400, "execution": 422, "timeout": 503, "canceled": 499, "internal": 500, "not_found": 404}

POSTED: Final = frozenset({"query", "query_range", "series", "labels", "query_exemplars", "format_query"})
"""What also accepts POST with a form, for expressions that are too long for a URL."""

Handler = Callable[[QueryParameters], Coroutine[Any, Any, Response]]


class PrometheusApi:
    """Responds as Prometheus does, so that its clients work with toban."""

    def __init__(
        self,
        engine: QueryEngine,
        source: SeriesSource,
        targets: Callable[[], Sequence[TargetStatus]],
        clock: Clock,
        turns: FairStreaming,
    ) -> None:
        self._engine = engine
        self._source = source
        self._targets = targets
        self._clock = clock
        self._turns = turns

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        handlers = {
            "query": with_prometheus_errors(self.query),
            "query_range": with_prometheus_errors(self.query_range),
            "series": with_prometheus_errors(self.series),
            "labels": with_prometheus_errors(self.labels),
            "label/{label}/values": self.label_values,
            "metadata": with_prometheus_errors(self.metadata),
            "targets": with_prometheus_errors(self.targets),
            "query_exemplars": with_prometheus_errors(self.exemplars),
            "format_query": with_prometheus_errors(self.format_query),
        }
        return [
            Endpoint(
                f"/api/v1/{path}",
                handler,
                Permission.READ,
                methods=("GET", "POST") if path in POSTED else ("GET",),
                takes=FORM if path in POSTED else NOTHING,
                refuse=body_error,
            )
            for path, handler in handlers.items()
        ]

    async def query(self, parameters: QueryParameters) -> Response:
        """Evaluate an expression at one time."""
        at = parameters.time("time", milliseconds(self._clock.now()))
        with _parameter("query"):
            result = await self._engine.instant(parameters.text("query"), at, time_limit=parameters.duration("timeout"))
        return self._streamed(result, parameters.limit())

    async def query_range(self, parameters: QueryParameters) -> Response:
        """Evaluate an expression over a range of times."""
        start, end, step = parameters.time("start"), parameters.time("end"), parameters.duration("step")
        if step is None:
            raise BadQueryError('invalid parameter "step": cannot parse "" to a valid duration')
        width = round(step / timedelta(milliseconds=1))
        with _parameter("query"):
            result = await self._engine.range(
                parameters.text("query"), start, end, width, time_limit=parameters.duration("timeout")
            )
        return self._streamed(result, parameters.limit())

    async def series(self, parameters: QueryParameters) -> Response:
        """Return series."""
        if not parameters.texts("match[]"):
            raise BadQueryError("no match[] parameter provided")
        return await self._listed(parameters, lambda found: sorted(found, key=lambda labels: tuple(labels.items())))

    async def labels(self, parameters: QueryParameters) -> Response:
        """Return label names."""
        return await self._listed(parameters, lambda found: sorted({name for labels in found for name in labels}))

    async def label_values(self, request: Request) -> Response:
        """Return the values of a label."""
        label = request.path_params["label"]

        async def values(parameters: QueryParameters) -> Response:
            if not label.isidentifier() or not label.isascii():
                raise BadQueryError(f'invalid label name: "{label}"')
            return await self._listed(parameters, lambda found: sorted({it[label] for it in found if label in it}))

        return await with_prometheus_errors(values)(request)

    async def _listed(self, parameters: QueryParameters, of: Callable[[set[Labels]], list[Any]]) -> Response:
        """Return what ``of`` makes of the series that any selector chooses; in a thread, there may be very many."""
        start, end = parameters.time("start", FIRST), parameters.time("end", LAST)
        with _parameter("match[]"):
            chosen = [selector(text) for text in parameters.texts("match[]")] or [()]
        limit = parameters.limit()

        def written() -> bytes:
            found = of({labels for matchers in chosen for labels in self._source.series(matchers, start, end)})
            more = b',"warnings":["results truncated due to limit"]' if limit and len(found) > limit else b""
            return b'{"status":"success","data":%s%s}' % (json_list(found[: limit or None]), more)

        return Response(await asyncio.to_thread(written), media_type="application/json")

    async def metadata(self, parameters: QueryParameters) -> Response:
        """Return the metadata of metrics."""
        wanted = parameters.text("metric")
        found = {
            name: [{"type": family.type.value, "help": family.help, "unit": family.unit}]
            for name, family in sorted(self._source.families().items())
            if wanted in ("", name)
        }
        return success(dict(islice(found.items(), parameters.limit() or None)))

    async def targets(self, parameters: QueryParameters) -> Response:
        """Return targets, and how their last scrape went."""
        active = [] if parameters.text("state") == "dropped" else [_target(target) for target in self._targets()]
        return success({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}})

    async def exemplars(self, parameters: QueryParameters) -> Response:
        """Return no exemplars: toban stores none. The query must be valid all the same."""
        parameters.time("start", FIRST), parameters.time("end", LAST)
        with _parameter("query"):
            parse(parameters.text("query"))
        return success([])

    async def format_query(self, parameters: QueryParameters) -> Response:
        """Return a formatted query."""
        with _parameter("query"):
            return success(format_query(parameters.text("query")))

    def _streamed(self, result: QueryResult, limit: int) -> Response:
        """Return a result: at once where it is small, else piece by piece."""
        written = join_pieces(_written(result, limit))
        first, second = next(written), next(written, None)
        if second is None:
            return Response(first, media_type="application/json")
        pieces = self._turns.pieces(chain([first, second], written))
        return StreamingResponse(pieces, media_type="application/json")


@contextmanager
def _parameter(parameter: str) -> Iterator[None]:
    """Name the parameter that is invalid."""
    try:
        yield
    except ParseError as error:
        raise BadQueryError(f'invalid parameter "{parameter}": {error}') from error


def with_prometheus_errors(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that reports errors as Prometheus does."""

    async def endpoint(request: Request) -> Response:
        try:
            parameters = await QueryParameters.of(request)
            return await cancel_on_disconnect(request, handler(parameters))
        except TobanError as error:
            return query_error(error)

    return endpoint


def query_error(error: TobanError) -> Response:
    """Return the response to a query that failed."""
    kind = error.kind if isinstance(error, QueryError) else "internal" if isinstance(error, StoreError) else "execution"
    return JsonResponse({"status": "error", "errorType": kind, "error": str(error)}, CODES[kind])


def body_error(status: int, message: str) -> Response:
    """Return the response to a body that is not accepted."""
    return JsonResponse({"status": "error", "errorType": "bad_data", "error": message}, status)


def success(data: Any, warnings: Sequence[str] = ()) -> Response:
    """Return a successful response."""
    return JsonResponse({"status": "success", "data": data} | ({"warnings": list(warnings)} if warnings else {}))


def _target(target: TargetStatus) -> Mapping[str, Any]:
    return {
        "discoveredLabels": {},
        "labels": target.labels,
        "scrapePool": target.labels["job"],
        "scrapeUrl": target.labels["instance"],
        "globalUrl": target.labels["instance"],
        "lastError": target.error,
        "lastScrape": target.at.isoformat() if target.at else "0001-01-01T00:00:00Z",
        "lastScrapeDuration": target.seconds,
        "health": "unknown" if target.at is None else "up" if target.up else "down",
        "scrapeInterval": format_duration(timedelta(seconds=target.interval)),
        "scrapeTimeout": format_duration(timedelta(seconds=target.interval)),
    }


def _written(result: QueryResult, limit: int) -> Iterator[bytes]:
    warnings = list(result.warnings)
    yield b'{"status":"success","data":{"resultType":' + orjson.dumps(result.type.value) + b',"result":'
    if result.type is ResultType.STRING:
        yield orjson.dumps((timestamp_seconds(result.at), result.text))
    elif result.type is ResultType.SCALAR:
        yield orjson.dumps((timestamp_seconds(result.at), scalar_text(result.series[0].last)))
    else:
        shown = result.series
        if limit and len(shown) > limit:
            shown, warnings = shown[:limit], [*warnings, "results truncated due to limit"]
        yield from series_array(shown, single=result.type is ResultType.VECTOR)
    yield b"}"
    if warnings:
        yield b',"warnings":' + orjson.dumps(warnings)
    if result.infos:
        yield b',"infos":' + orjson.dumps(list(result.infos))
    yield b"}"
