"""The HTTP API of Loki: https://grafana.com/docs/loki/latest/reference/loki-http-api/."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import chain
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from toban.access.permissions import Permission
from toban.core.errors import BadQueryError, QueryCanceledError, QueryTimeoutError, StoreError, TobanError
from toban.core.ports import Clock
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.parser import parse, parse_log_query, parse_matchers
from toban.logs.logql.search import LineSearch
from toban.logs.logql.statistics import Group, Volume, detected_fields, matching_streams, volumes
from toban.logs.logql.syntax_tree import LogQuery
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
MAX_VOLUMES: Final = 100_000
"""How many volumes, of groups and steps, a query may have."""

Handler = Callable[[LokiParameters, Request], Coroutine[Any, Any, Response]]


class LokiApi:
    """Responds as Loki does, so that Grafana and logcli work with toban."""

    def __init__(self, engine: LogqlEngine, clock: Clock, turns: FairStreaming) -> None:
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
            lines = await self._engine.lines(
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
            found = await asyncio.to_thread(streams, lines, categorize=categorize)
            return self._streamed(written_lines(found, categorize=categorize))
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
        return JsonResponse(success(sorted({name for labels in found for name in labels})))

    async def label_values(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the values of a label."""
        name = request.path_params["name"]
        found = await self._streams(parameters, "query")
        return JsonResponse(success(sorted({labels[name] for labels in found if name in labels})))

    async def series(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the label sets of streams."""
        return JsonResponse(success(await self._streams(parameters, "match[]", "match")))

    async def stats(self, parameters: LokiParameters, request: Request) -> Response:
        """Return how many streams, lines and bytes a selector chooses."""
        start, end = parameters.milliseconds()
        found = await self._volumes(parameters, (), start, end, max(end - start, 1))
        count = len({group for group, _ in found})
        lines, size = (sum(getattr(volume, name) for volume in found.values()) for name in ("lines", "bytes"))
        return JsonResponse({"streams": count, "chunks": count, "entries": lines, "bytes": size})

    async def volume(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the bytes of each group of streams."""
        start, end = parameters.milliseconds()
        groups: dict[Group, int] = {}
        for (group, _), volume in (await self._volume_groups(parameters, start, end, max(end - start, 1))).items():
            groups[group] = groups.get(group, 0) + volume.bytes
        largest = sorted(groups.items(), key=lambda pair: (-pair[1], pair[0]))[: parameters.limit()]
        result = [
            {"metric": dict(group), "value": [timestamp_seconds(end), sample_text(size)]} for group, size in largest
        ]
        return JsonResponse({"status": "success", "data": {"resultType": "vector", "result": result, "stats": {}}})

    async def volume_range(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the bytes of each group of streams, step by step; the time is the end of the step."""
        start, end = parameters.milliseconds()
        step = parameters.step(*parameters.range())
        if (end - start) // step > self._engine.limits.steps:
            raise BadQueryError(TOO_MANY_STEPS)
        groups: dict[Group, dict[int, int]] = {}
        for (group, at), volume in (await self._volume_groups(parameters, start, end, step)).items():
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
        return JsonResponse({"status": "success", "data": {"resultType": "matrix", "result": result, "stats": {}}})

    async def detected_fields(self, parameters: LokiParameters, request: Request) -> Response:
        """Return the fields of the newest lines that a query finds."""
        start, end = parameters.milliseconds()
        limit = min(parameters.limit(MAX_FIELDS), MAX_FIELDS)
        query = parse_log_query(parameters.text("query"))
        lines = await self._engine.lines(LineSearch(query, start, end, FIELD_LINES))
        fields = [
            {"label": it.name, "type": it.types.most_common(1)[0][0], "cardinality": len(it.values), "parsers": []}
            for it in await asyncio.to_thread(detected_fields, lines, limit)
        ]
        return JsonResponse({"fields": fields, "limit": limit})

    async def build(self, request: Request) -> Response:
        """Return the version of Loki with which toban is compatible."""
        empty = dict.fromkeys(("revision", "branch", "buildDate", "buildUser", "goVersion"), "")
        return JsonResponse({"version": VERSION, **empty})

    async def ready(self, request: Request) -> Response:
        """Return that lines can be searched."""
        return PlainTextResponse("ready\n")

    async def _streams(self, parameters: LokiParameters, *names: str) -> list[dict[str, str]]:
        """Return the label sets of streams that the selectors of some parameters choose."""
        selectors = [parse_matchers(text) for text in parameters.texts(*names) if text]
        start, end = parameters.milliseconds()
        found = await self._engine.call(lambda store: matching_streams(store, selectors, start, end))
        return [dict(labels) for labels in found]

    async def _volume_groups(
        self, parameters: LokiParameters, start: int, end: int, step: int
    ) -> dict[tuple[Group, int], Volume]:
        """Return volumes by the labels that a client wants, by default those of its selector; or by labels alone."""
        matchers = parse_matchers(parameters.text("query"))
        names = [name for name in parameters.text("targetLabels").split(",") if name] or [it.name for it in matchers]
        found = await self._volumes(parameters, names, start, end, step)
        if parameters.text("aggregateBy") != "labels":
            return found
        by_name: dict[tuple[Group, int], Volume] = {}
        for (group, at), volume in found.items():
            for name, _ in group:
                by_name.setdefault((((name, ""),), at), Volume()).add(volume)
        return by_name

    async def _volumes(
        self, parameters: LokiParameters, names: Sequence[str], start: int, end: int, step: int
    ) -> dict[tuple[Group, int], Volume]:
        matchers = parse_matchers(parameters.text("query"))
        found: dict[tuple[Group, int], Volume] = {}
        slices = self._engine.slices(lambda store, check: volumes(store, matchers, names, start, end, step, check))
        async with aclosing(slices):
            async for part in slices:
                for key, volume in part.items():
                    found.setdefault(key, Volume()).add(volume)
                if len(found) > MAX_VOLUMES:
                    raise BadQueryError(f"more than {MAX_VOLUMES} volumes: ask for a larger step or fewer labels")
        return found

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
