"""Samples in the text formats: `/metrics` and `/federate` for a Prometheus to scrape, and `/api/v1/export`."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
import re2
from numpy.typing import NDArray
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from toban.access.permissions import Permission
from toban.core.errors import BadQueryError, TobanError
from toban.core.labels import NAME, Labels, common_labels
from toban.core.matchers import Matcher, MatchOperator
from toban.core.ports import Clock, QueryEngine, SeriesSource
from toban.core.query_result import QueryResult
from toban.core.samples import Batch, is_absent, is_stale, milliseconds
from toban.core.single_flight import SingleFlight
from toban.exposition.openmetrics_dump import write_dump
from toban.exposition.writer import Format, SampleLine, families, negotiate_format, sample_lines, write_page
from toban.promql.parser import selector
from toban.web.endpoint import Endpoint
from toban.web.fair_streaming import FairStreaming
from toban.web.prometheus_api import query_error
from toban.web.query_parameters import FIRST, LAST, QueryParameters

STEP: Final = 15_000
"""Milliseconds between two samples of most series, to estimate the size of an export."""

HELD: Final = 2_000_000
"""How many samples an export holds in memory."""

LINES: Final = 200
"""Lines of a page that are written together."""

SENT: Final = 2**16
"""Bytes of a page that are sent together."""

Times: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]


class MetricsPages:
    """
    Exposes samples in the text formats.

    `/metrics` has the metric families that toban declares, from the last collections: it needs neither store nor
    engine. `/federate` has what `match[]` selects, scraped series included, with timestamps. `/api/v1/export` has all
    samples of that from `start` to `end`, in OpenMetrics.
    """

    def __init__(
        self,
        newest: Callable[[], Sequence[Batch]],
        engine: QueryEngine,
        source: SeriesSource,
        clock: Clock,
        turns: FairStreaming,
    ) -> None:
        self._newest = newest
        self._engine = engine
        self._source = source
        self._clock = clock
        self._turns = turns
        self._choosing = asyncio.Lock()
        self._shared = {chosen: SingleFlight(partial(self._rendered, chosen)) for chosen in Format}
        self._pages: dict[Format, tuple[Sequence[Batch], bytes]] = {}

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/metrics", self.metrics, Permission.READ),
            Endpoint("/federate", self.federate, Permission.READ),
            Endpoint("/api/v1/export", self.export, Permission.READ),
        ]

    async def metrics(self, request: Request) -> Response:
        """Return the page of toban's own families; it is written once after each collection."""
        chosen = negotiate_format(request.headers.get("accept", ""))
        body = await self._shared[chosen].get()
        pieces = (body[first : first + SENT] for first in range(0, len(body), SENT))
        headers = {"content-type": chosen.value, "content-length": str(len(body))}
        return StreamingResponse(self._turns.pieces(pieces), headers=headers)

    async def federate(self, request: Request) -> Response:
        """Return what the selectors choose, each series with its last sample of the last five minutes."""
        chosen = negotiate_format(request.headers.get("accept", ""))
        try:
            parameters = await QueryParameters.of(request)
            if not parameters.texts("match[]"):
                raise BadQueryError("no match[] parameter provided")
            for text in parameters.texts("match[]"):
                selector(text)  # an expression is not accepted
            async with self._choosing:  # one request after the other: together they would block everything else
                results = [await self._newest_of(text) for text in parameters.texts("match[]")]
                written = await asyncio.to_thread(self._federated, results, chosen)
        except TobanError as error:
            return query_error(error)
        pieces = self._turns.pieces(_together(written))
        return StreamingResponse(pieces, headers={"content-type": chosen.value})

    async def export(self, request: Request) -> Response:
        """
        Return what the selectors choose, or everything, with all samples; without staleness markers.

        With `escaping=allow-utf-8`, as in Prometheus 3, names of any characters are not escaped.
        """
        try:
            parameters = await QueryParameters.of(request)
            start, end = parameters.time("start", FIRST), parameters.time("end", LAST)
            chosen = [selector(text) for text in parameters.texts("match[]")] or [()]
            escaping = parameters.text("escaping") or "underscores"
            if escaping not in {"underscores", "allow-utf-8"}:
                raise BadQueryError(
                    f'invalid parameter "escaping": {escaping!r} is neither underscores nor allow-utf-8'
                )
            found = await asyncio.to_thread(self._found, chosen, start, end)
        except TobanError as error:
            return query_error(error)
        steps = (min(end, milliseconds(self._clock.now())) - max(start, self._since(chosen))) // STEP + 1
        most = max(1, HELD // max(1, steps))
        written = write_dump(
            found, partial(self._held, start, end), self._source.families(), most, quoted=escaping == "allow-utf-8"
        )
        return StreamingResponse(iterate_in_threadpool(written), headers={"content-type": Format.OPENMETRICS.value})

    def _found(self, chosen: Sequence[Sequence[Matcher]], start: int, end: int) -> set[Labels]:
        return {labels for matchers in chosen for labels in self._source.series(matchers, start, end)}

    def _since(self, chosen: Sequence[Sequence[Matcher]]) -> int:
        known = (self._source.oldest(matchers) for matchers in chosen)
        return min((at for at in known if at is not None), default=0)

    def _held(self, start: int, end: int, series: Sequence[Labels]) -> dict[Labels, tuple[Times, Values]]:
        """Return the samples of some series, without staleness markers."""
        names = "|".join(re2.escape(name) for name in sorted({labels.name for labels in series}))
        same = [(name, value) for name, value in common_labels(series).items() if name != NAME]
        matchers = [
            Matcher(NAME, MatchOperator.REGEX, names),
            *(Matcher(name, MatchOperator.EQUAL, value) for name, value in same),
        ]
        wanted, found = set(series), dict[Labels, tuple[Times, Values]]()
        for group in self._source.select(matchers, start, end):
            left = ~(is_absent(group.values) | is_stale(group.values))
            for labels, values, there in zip(group.series, group.values, left, strict=True):
                if labels in wanted and there.any():
                    found[labels] = group.times[there], values[there]
        return found

    async def _newest_of(self, text: str) -> QueryResult:
        """Return the samples of the last five minutes that a selector chooses."""
        return await self._engine.instant(f"{text}[5m]", milliseconds(self._clock.now()))

    def _federated(self, results: Iterable[QueryResult], chosen: Format) -> Iterator[str]:
        """Write a page of the last sample of each series, with its timestamp."""
        found = {
            points.labels: SampleLine(points.labels, points.last, int(points.times[-1]))
            for result in results
            for points in result.series
        }
        return write_page(found.values(), self._source.families(), chosen)

    async def _rendered(self, chosen: Format) -> bytes:
        """Return the page of toban's own families, written anew only after a collection."""
        newest = tuple(self._newest())
        known, body = self._pages.get(chosen, ((), b""))
        if known != newest or not body:
            written = await asyncio.to_thread(lambda: write_page(sample_lines(newest), families(newest), chosen))
            body = "".join([piece async for piece in self._turns.pieces(_together(written))]).encode()
            self._pages[chosen] = newest, body
        return body


def _together(written: Iterable[str]) -> Iterator[str]:
    """Return a page some lines at a time: in one piece, a large one would block the loop."""
    rest = iter(written)
    while piece := "".join(islice(rest, LINES)):
        yield piece
