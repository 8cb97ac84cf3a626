"""The HTTP API of Loki: https://grafana.com/docs/loki/latest/reference/loki-http-api/."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from toban.access.permissions import Permission
from toban.core.errors import BadQueryError, QueryCanceledError, QueryTimeoutError, StoreError, TobanError
from toban.core.ports import Clock
from toban.logs.logql.parser import parse, parse_log_query, parse_matchers
from toban.logs.logql.search import LineSearch, MissingLines
from toban.logs.logql.statistics import FoundStreams, FoundVolumes, Group, detected_fields
from toban.logs.logql.syntax_tree import LogQuery
from toban.logs.tiered_log_engine import TieredLogEngine
from toban.web.disconnect import cancel_on_disconnect
from toban.web.endpoint import FORM, Endpoint
from toban.web.fair_streaming import FairStreaming
from toban.web.json_response import JsonResponse
from toban.web.loki_json import CATEGORIZE, streams, success, written_lines, written_result
from toban.web.loki_parameters import MILLISECOND, LokiParameters
from toban.web.prometheus_json import join_pieces, sample_text, timestamp_seconds
from toban.web.query_parameters import QueryParameters
from toban.web.request_bodies import RETRY_AFTER

VERSION: Final = "3.5.0"
"""The version of Loki whose answers these are."""

LOG_INSTANT: Final = (
    "log queries are not supported as an instant query type, please change your query to a range query type"
)

TOO_MANY_STEPS: Final = (
    "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
)

MAX_FIELDS: Final = 1_000
"""How many fields are detected, by default and at most."""
FIELD_LINES: Final = 1_000
"""In how many of the newest lines fields are detected."""

Handler = Callable[[LokiParameters, Request], Coroutine[Any, Any, Response]]


class LokiApi:
    """Responds as Loki does, so that Grafana and logcli work with toban."""

    def __init__(self, engine: TieredLogEngine, clock: Clock, turns: FairStreaming) -> None:
        self._engine = engine
        self._clock = clock
        self._turns = turns

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        handlers: dict[str, Handler] = {
            "query_range": self.query_range,
            "query": self.query,
            "labels": self.labels,
            "label": self.labels,
            "label/{name}/values": self.label_values,
            "series": self.series,
            "index/stats": self.stats,
            "index/volume": self.volume,
            "index/volume_range": self.volume_range,
            "detected_fields": self.detected_fields,
        }
        endpoint = partial(Endpoint, permission=Permission.LOGS, methods=("GET", "POST"), takes=FORM, refuse=loki_error)
        return [
            *(endpoint(f"/loki/api/v1/{path}", self._with_errors(handler)) for path, handler in handlers.items()),
            Endpoint("/loki/api/v1/status/buildinfo", self.build, Permission.READ),
            Endpoint("/ready", self.ready, Permission.PUBLIC),
        ]

    async def query_range(self, parameters: LokiParameters, request: Request) -> Response:
        """Return lines, or evaluate a query for series over a range of times."""
        start, end = parameters.range()
        query = parse(parameters.text("query"))
        if isinstance(query, LogQuery):
            found = await self._engine.lines(
                LineSearch(
                    query,
                    start // MILLISECOND,
                    -(-end // MILLISECOND),
                    parameters.limit(),
                    parameters.direction(),
                    nanoseconds=range(start, end) if start % MILLISECOND or end % MILLISECOND else None,
                )
            )
            categorize = _categorizes(request)
            by_stream = await asyncio.to_thread(streams, found.lines, categorize=categorize)
            warnings = [it.warning for it in found.missing]
            return self._streamed(written_lines(by_stream, warnings, categorize=categorize))
        step = parameters.step(start, end)
        # Loki aligns both ends to the step too.
        first = start // MILLISECOND // step * step
        last = -(-end // MILLISECOND // step) * step
        return self._streamed(written_result(await self._engine.range(parameters.text("query"), first, last, step)))

    async def query(self, parameters: LokiParameters, request: Request) -> Response:
        """Evaluate a query for series at one time."""
        query = parameters.text("query")
        if isinstance(parse(query), LogQuery):
            raise BadQueryError(LOG_INSTANT)
        result = await self._engine.instant(query, parameters.nanoseconds("time") // MILLISECOND)
        return self._streamed(written_result(result))

    async def labels(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the names of labels."""
        found = await self._streams(parameters, "query")
        return _listed(sorted({name for labels in found.labels for name in labels}), found.missing)

    async def label_values(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the values of a label."""
        name = request.path_params["name"]
        found = await self._streams(parameters, "query")
        return _listed(sorted({labels[name] for labels in found.labels if name in labels}), found.missing)

    async def series(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the label sets of streams."""
        found = await self._streams(parameters, "match[]", "match")
        return _listed([dict(labels) for labels in found.labels], found.missing)

    async def stats(self, parameters: LokiParameters, request: Request) -> Response:
        """Return how many streams, lines and bytes a selector chooses."""
        start, end = parameters.milliseconds()
        found = await self._volumes(parameters, (), start, end, max(end - start, 1))
        count = len({group for group, _ in found.volumes})
        lines, size = (sum(getattr(volume, name) for volume in found.volumes.values()) for name in ("lines", "bytes"))
        return JsonResponse(
            {"streams": count, "chunks": count, "entries": lines, "bytes": size, **_warnings(found.missing)}
        )

    async def volume(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the bytes of each group of streams."""
        start, end = parameters.milliseconds()
        groups: dict[Group, int] = {}
        found = await self._volume_groups(parameters, start, end, max(end - start, 1))
        for (group, _), volume in found.volumes.items():
            groups[group] = groups.get(group, 0) + volume.bytes
        largest = sorted(groups.items(), key=lambda pair: (-pair[1], pair[0]))[: parameters.limit()]
        result = [
            {"metric": dict(group), "value": [timestamp_seconds(end), sample_text(size)]} for group, size in largest
        ]
        return _volumes("vector", result, found.missing)

    async def volume_range(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the bytes of each group of streams, step by step; the time is the end of the step."""
        start, end = parameters.milliseconds()
        step = parameters.step(*parameters.range())
        if (end - start) // step > self._engine.limits.steps:
            raise BadQueryError(TOO_MANY_STEPS)
        groups: dict[Group, dict[int, int]] = {}
        found = await self._volume_groups(parameters, start, end, step)
        for (group, at), volume in found.volumes.items():
            points = groups.setdefault(group, {})
            points[at + step] = points.get(at + step, 0) + volume.bytes
        largest = sorted(groups.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
        result = [
            {
                "metric": dict(group),
                "values": [[timestamp_seconds(at), sample_text(size)] for at, size in sorted(points.items())],
            }
            for group, points in largest[: parameters.limit()]
        ]
        return _volumes("matrix", result, found.missing)

    async def detected_fields(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the fields of the newest lines that a query finds."""
        start, end = parameters.milliseconds()
        limit = min(parameters.limit(MAX_FIELDS), MAX_FIELDS)
        query = parse_log_query(parameters.text("query"))
        found = await self._engine.lines(LineSearch(query, start, end, FIELD_LINES))
        fields = [
            {"label": it.name, "type": it.types.most_common(1)[0][0], "cardinality": len(it.values), "parsers": []}
            for it in await asyncio.to_thread(detected_fields, found.lines, limit)
        ]
        return JsonResponse({"fields": fields, "limit": limit, **_warnings(found.missing)})

    async def build(self, request: Request) -> Response:
        """Return the version of Loki with which toban is compatible."""
        empty = dict.fromkeys(("revision", "branch", "buildDate", "buildUser", "goVersion"), "")
        return JsonResponse({"version": VERSION, **empty})

    async def ready(self, request: Request) -> Response:
        """Return that lines can be searched."""
        return PlainTextResponse("ready\n")

    async def _streams(self, parameters: LokiParameters, *names: str) -> FoundStreams:
        """Return the label sets of streams that the selectors of some parameters choose."""
        selectors = [parse_matchers(text) for text in parameters.texts(*names) if text]
        start, end = parameters.milliseconds()
        return await self._engine.streams(selectors, start, end)

    async def _volume_groups(self, parameters: LokiParameters, start: int, end: int, step: int) -> FoundVolumes:
        """Return volumes by the labels that a client wants, by default those of its selector; or by labels alone."""
        matchers = parse_matchers(parameters.text("query"))
        names = [name for name in parameters.text("targetLabels").split(",") if name] or [it.name for it in matchers]
        found = await self._volumes(parameters, names, start, end, step)
        if parameters.text("aggregateBy") != "labels":
            return found
        by_name = FoundVolumes({}, found.missing)
        for (group, at), volume in found.volumes.items():
            for name, _ in group:
                by_name.add({(((name, ""),), at): volume})
        return by_name

    async def _volumes(
        self, parameters: LokiParameters, names: Sequence[str], start: int, end: int, step: int
    ) -> FoundVolumes:
        matchers = parse_matchers(parameters.text("query"))
        return await self._engine.volumes(matchers, names, start, end, step)

    def _streamed(self, written: Iterator[bytes]) -> Response:
        """Return a result: at once where it is small, else piece by piece."""
        pieces = join_pieces(written)
        first, second = next(pieces), next(pieces, None)
        if second is None:
            return Response(first, media_type="application/json")
        return StreamingResponse(self._turns.pieces(chain([first, second], pieces)), media_type="application/json")

    def _with_errors(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that reports errors as Loki does."""

        async def endpoint(request: Request) -> Response:
            try:
                parameters = LokiParameters(await QueryParameters.of(request), self._clock.now())
                return await cancel_on_disconnect(request, handler(parameters, request))
            except TobanError as error:
                return query_error(error)

        return endpoint


def _listed(data: Sequence[Any], missing: Sequence[MissingLines]) -> Response:
    return JsonResponse({**success(data), **_warnings(missing)})


def _volumes(kind: str, result: Sequence[Any], missing: Sequence[MissingLines]) -> Response:
    data = {"resultType": kind, "result": result, "stats": {}}
    return JsonResponse({**success(data), **_warnings(missing)})


def _warnings(missing: Sequence[MissingLines]) -> dict[str, Any]:
    """Return what could not be searched, as Loki's responses have warnings."""
    return {"warnings": [it.warning for it in missing]} if missing else {}


def _categorizes(request: Request) -> bool:
    return CATEGORIZE in request.headers.get("x-loki-response-encoding-flags", "")


def query_error(error: TobanError) -> Response:
    """Return the response to a query that failed: plain text, as Loki writes it."""
    if isinstance(error, StoreError):
        return PlainTextResponse(str(error), 503, {"retry-after": str(RETRY_AFTER)})
    if isinstance(error, QueryTimeoutError):
        return PlainTextResponse(str(error), 504)
    return PlainTextResponse(str(error), 499 if isinstance(error, QueryCanceledError) else 400)


def loki_error(status: int, message: str) -> Response:
    """Return the response to a body that is not accepted."""
    return PlainTextResponse(f"{message}\n", status)
