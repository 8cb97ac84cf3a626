"""The pages that a Prometheus scrapes: `/metrics` and `/federate`."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from toban.core.errors import BadQueryError, TobanError
from toban.core.ports import Clock, QueryEngine, SeriesSource
from toban.core.samples import Batch, milliseconds
from toban.exposition.writing import Format, Line, accepted, families, lines, page
from toban.promql.syntax import selector
from toban.web.parameters import Parameters
from toban.web.prometheus import refused


class Exposing:
    """
    Shows numbers in the text formats.

    `/metrics` has the families that toban declares, as its newest looks brought them: it needs neither store nor
    engine. `/federate` has whatever `match[]` chooses, scraped numbers included, with their times.
    """

    def __init__(
        self, newest: Callable[[], Sequence[Batch]], engine: QueryEngine, source: SeriesSource, clock: Clock
    ) -> None:
        self._newest = newest
        self._engine = engine
        self._source = source
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/metrics", self.metrics), Route("/federate", self.federate)]

    async def metrics(self, request: Request) -> Response:
        """Show toban's own families."""
        newest = self._newest()
        chosen = accepted(request.headers.get("accept", ""))
        return _page(page(lines(newest), families(newest), chosen), chosen)

    async def federate(self, request: Request) -> Response:
        """Show what the selectors choose, each series with its newest sample of the last five minutes."""
        chosen = accepted(request.headers.get("accept", ""))
        try:
            asked = await Parameters.of(request)
            if not asked.texts("match[]"):
                raise BadQueryError("no match[] parameter provided")
            found: dict[object, Line] = {}
            for text in asked.texts("match[]"):
                selector(text)  # an expression is no selector
                for line in await self._samples(text):
                    found[line.labels] = line
        except TobanError as error:
            return refused(error)
        return _page(page(found.values(), self._source.families(), chosen), chosen)

    async def _samples(self, text: str) -> list[Line]:
        """Return the newest sample of each series with its own time."""
        at = milliseconds(self._clock.now())
        answer = await self._engine.instant(f"{text}[5m]", at)
        return [Line(points.labels, points.last, int(points.times[-1])) for points in answer.series]


def _page(written: Iterable[str], chosen: Format) -> Response:
    return StreamingResponse(_pieces(written), headers={"content-type": chosen.value})


async def _pieces(written: Iterable[str]) -> AsyncIterator[str]:
    """Return a page some lines at a time: in one piece, a large one would hold the loop."""
    rest = iter(written)
    while piece := "".join(islice(rest, 200)):
        yield piece
