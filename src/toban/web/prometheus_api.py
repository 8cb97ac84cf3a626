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

from toban.collect.service import TargetStatus
from toban.core.config_types import format_duration
from toban.core.errors import BadQueryError, QueryError, StoreError, TobanError
from toban.core.labels import Labels
from toban.core.ports import Clock, QueryEngine, SeriesSource
from toban.core.query_result import QueryResult, ResultType
from toban.core.samples import milliseconds
from toban.promql.parser import ParseError, format_query, parse, selector
from toban.web.disconnect import cancel_on_disconnect
from toban.web.endpoint import FORM, NOTHING, Endpoint, Permission
from toban.web.fair_streaming import FairStreaming
from toban.web.json_response import JsonResponse
from toban.web.prometheus_json import join_pieces, json_list, scalar_text, series_array, timestamp_seconds
from toban.web.query_parameters import FIRST, LAST, QueryParameters

CODES: Final = {"bad_data": 400, "execution": 422, "timeout": 503, "canceled": 499, "internal": 500, "not_found": 404}

POSTED: Final = frozenset({"query", "query_range", "series", "labels", "query_exemplars", "format_query"})
"""What may be asked by a form too, for what is too long for an address."""

Answering = Callable[[QueryParameters], Coroutine[Any, Any, Response]]


class PrometheusApi:
    """Answers as Prometheus does, so that what speaks to Prometheus speaks to toban."""

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
        asked = {
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
                answer,
                Permission.READ,
                methods=("GET", "POST") if path in POSTED else ("GET",),
                takes=FORM if path in POSTED else NOTHING,
                refuse=body_error,
            )
            for path, answer in asked.items()
        ]

    async def query(self, asked: QueryParameters) -> Response:
        """Answer an expression at one time."""
        at = asked.time("time", milliseconds(self._clock.now()))
        with _naming("query"):
            answer = await self._engine.instant(asked.text("query"), at, patience=asked.duration("timeout"))
        return self._streamed(answer, asked.limit())

    async def query_range(self, asked: QueryParameters) -> Response:
        """Answer an expression over a range of times."""
        start, end, step = asked.time("start"), asked.time("end"), asked.duration("step")
        if step is None:
            raise BadQueryError('invalid parameter "step": cannot parse "" to a valid duration')
        width = round(step / timedelta(milliseconds=1))
        with _naming("query"):
            answer = await self._engine.range(
                asked.text("query"), start, end, width, patience=asked.duration("timeout")
            )
        return self._streamed(answer, asked.limit())

    async def series(self, asked: QueryParameters) -> Response:
        """Answer which series there are."""
        if not asked.texts("match[]"):
            raise BadQueryError("no match[] parameter provided")
        return await self._listed(asked, lambda found: sorted(found, key=lambda labels: tuple(labels.items())))

    async def labels(self, asked: QueryParameters) -> Response:
        """Answer which label names there are."""
        return await self._listed(asked, lambda found: sorted({name for labels in found for name in labels}))

    async def label_values(self, request: Request) -> Response:
        """Answer which values a label has."""
        label = request.path_params["label"]

        async def values(asked: QueryParameters) -> Response:
            if not label.isidentifier() or not label.isascii():
                raise BadQueryError(f'invalid label name: "{label}"')
            return await self._listed(asked, lambda found: sorted({it[label] for it in found if label in it}))

        return await with_prometheus_errors(values)(request)

    async def _listed(self, asked: QueryParameters, of: Callable[[set[Labels]], list[Any]]) -> Response:
        """Answer what some series come to, that any of the selectors chooses. Aside: there may be very many."""
        start, end = asked.time("start", FIRST), asked.time("end", LAST)
        with _naming("match[]"):
            chosen = [selector(text) for text in asked.texts("match[]")] or [()]
        limit = asked.limit()

        def written() -> bytes:
            found = of({labels for matchers in chosen for labels in self._source.series(matchers, start, end)})
            more = b',"warnings":["results truncated due to limit"]' if limit and len(found) > limit else b""
            return b'{"status":"success","data":%s%s}' % (json_list(found[: limit or None]), more)

        return Response(await asyncio.to_thread(written), media_type="application/json")

    async def metadata(self, asked: QueryParameters) -> Response:
        """Answer what is known of the metrics."""
        wanted = asked.text("metric")
        found = {
            name: [{"type": family.type.value, "help": family.help, "unit": family.unit}]
            for name, family in sorted(self._source.families().items())
            if wanted in ("", name)
        }
        return success(dict(islice(found.items(), asked.limit() or None)))

    async def targets(self, asked: QueryParameters) -> Response:
        """Answer what is looked at, and how the newest look went."""
        active = [] if asked.text("state") == "dropped" else [_target(target) for target in self._targets()]
        return success({"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}})

    async def exemplars(self, asked: QueryParameters) -> Response:
        """Answer no exemplars: toban keeps none. What is asked must be a query all the same."""
        asked.time("start", FIRST), asked.time("end", LAST)
        with _naming("query"):
            parse(asked.text("query"))
        return success([])

    async def format_query(self, asked: QueryParameters) -> Response:
        """Answer a query as it is best read."""
        with _naming("query"):
            return success(format_query(asked.text("query")))

    def _streamed(self, answer: QueryResult, limit: int) -> Response:
        """Return an answer: at once where it is small, else piece by piece."""
        written = join_pieces(_written(answer, limit))
        first, second = next(written), next(written, None)
        if second is None:
            return Response(first, media_type="application/json")
        pieces = self._turns.pieces(chain([first, second], written))
        return StreamingResponse(pieces, media_type="application/json")


@contextmanager
def _naming(parameter: str) -> Iterator[None]:
    """Say which parameter it is that can't be read."""
    try:
        yield
    except ParseError as error:
        raise BadQueryError(f'invalid parameter "{parameter}": {error}') from error


def with_prometheus_errors(answer: Answering) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that tells of trouble as Prometheus does."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = await QueryParameters.of(request)
            return await cancel_on_disconnect(request, answer(asked))
        except TobanError as error:
            return query_error(error)

    return endpoint


def query_error(error: TobanError) -> Response:
    """Return the answer to a question that could not be answered."""
    kind = error.kind if isinstance(error, QueryError) else "internal" if isinstance(error, StoreError) else "execution"
    return JsonResponse({"status": "error", "errorType": kind, "error": str(error)}, CODES[kind])


def body_error(status: int, message: str) -> Response:
    """Return the answer to a question whose body is not taken."""
    return JsonResponse({"status": "error", "errorType": "bad_data", "error": message}, status)


def success(data: Any, warnings: Sequence[str] = ()) -> Response:
    """Return an answer that is well."""
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


def _written(answer: QueryResult, limit: int) -> Iterator[bytes]:
    warnings = list(answer.warnings)
    yield b'{"status":"success","data":{"resultType":' + orjson.dumps(answer.type.value) + b',"result":'
    if answer.type is ResultType.STRING:
        yield orjson.dumps((timestamp_seconds(answer.at), answer.text))
    elif answer.type is ResultType.SCALAR:
        yield orjson.dumps((timestamp_seconds(answer.at), scalar_text(answer.series[0].last)))
    else:
        shown = answer.series
        if limit and len(shown) > limit:
            shown, warnings = shown[:limit], [*warnings, "results truncated due to limit"]
        yield from series_array(shown, single=answer.type is ResultType.VECTOR)
    yield b"}"
    if warnings:
        yield b',"warnings":' + orjson.dumps(warnings)
    if answer.infos:
        yield b',"infos":' + orjson.dumps(list(answer.infos))
    yield b"}"
