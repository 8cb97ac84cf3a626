"""What queries read and where they are wrong, in toban's own API; their results are those of Prometheus' API."""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from pydantic import Field, Json, StringConstraints

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.config_types import Zone
from toban.core.errors import InvalidCommandError
from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.number_format import Unit
from toban.core.ports import Clock, SeriesSource
from toban.core.samples import MetricFamily, milliseconds
from toban.dashboards.query_description import QueryDescription, base_name, describe_query, family_of
from toban.dashboards.time_range import MAX_TEXT, TimeRangeError, parse_range
from toban.instruments.metric_sources import COVERAGE
from toban.promql.lexer import MAX_LENGTH
from toban.promql.parser import ParseError
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.endpoint import Endpoint

MAX_QUERIES: Final = 26
"""How many queries are described, and explored, at once."""

POSITION: Final = re.compile(r"(\d+):(\d+): (.*)", re.DOTALL)

TimeText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class DescribeQueriesRequest(RequestModel):
    """Which queries, and which range of time."""

    queries: Json[
        Annotated[list[Annotated[str, StringConstraints(max_length=MAX_LENGTH)]], Field(max_length=MAX_QUERIES)]
    ]
    """PromQL expressions, as a JSON list."""
    begin: TimeText = Field("now-1h", alias="from")
    """`now-6h`, `now/d`, milliseconds since the epoch, or ISO 8601."""
    end: TimeText = Field("now", alias="to")
    points: int = Field(400, ge=10, le=2_000)
    """How many points a series has at most."""
    timezone: Zone = "UTC"
    """The zone in which days begin."""


class DescribedMetricModel(ResponseModel):
    """A metric that a query reads."""

    name: str
    type: str
    """As in Prometheus' metadata; empty where it is unknown."""
    help: str
    unit: str
    oldest: int | None
    """About when its oldest sample is, in milliseconds since the epoch; null where there is none."""
    sources: list[str]
    """Which sources of a shop provide it, for one of the shop's metrics."""


class DescribedQueryModel(ResponseModel):
    """A query: what it reads, or where it is wrong."""

    metrics: list[DescribedMetricModel]
    unit: Unit
    """The unit of the result, as far as it follows from the metrics."""
    error: str
    line: int | None
    """Where the error is, from 1 on."""
    column: int | None


class DescribeQueriesResponse(ResponseModel):
    """The queries in their order, and the range with its step, in milliseconds."""

    queries: list[DescribedQueryModel]
    start: int
    end: int
    step: int


class QueriesApi:
    """Describes queries before they are run."""

    def __init__(self, source: SeriesSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            ApiEndpoint(
                "/api/queries/describe",
                self.describe,
                Permission.READ,
                DescribeQueriesRequest,
                DescribeQueriesResponse,
            )
        ]

    async def describe(self, request: DescribeQueriesRequest, actor: Actor) -> DescribeQueriesResponse:
        """
        Return what queries read, the unit of their results, and where they are wrong, without running them.

        The range lies on the grid of its step, so that points of neighbouring ranges are at the same times.
        """
        try:
            span = parse_range(
                request.begin, request.end, self._clock.now(), ZoneInfo(request.timezone), request.points
            )
        except TimeRangeError as error:
            raise InvalidCommandError(str(error), "from") from error
        step = round(span.step.total_seconds() * 1000)
        families = self._source.families()
        # In a thread: the store looks through all its blocks for the oldest sample.
        found = await asyncio.to_thread(lambda: [self._described(text, families) for text in request.queries])
        return DescribeQueriesResponse(
            queries=found,
            start=milliseconds(span.begin) // step * step,
            end=milliseconds(span.end) // step * step,
            step=step,
        )

    def _described(self, text: str, families: Mapping[str, MetricFamily]) -> DescribedQueryModel:
        error, line, column = "", None, None
        described = QueryDescription((), Unit.SHORT)
        try:
            described = describe_query(text, families)
        except ParseError as invalid:
            error = str(invalid)
            if position := POSITION.fullmatch(error):
                line, column, error = int(position[1]), int(position[2]), position[3]
        metrics = [self._metric(name, families) for name in described.metrics]
        return DescribedQueryModel(metrics=metrics, unit=described.unit, error=error, line=line, column=column)

    def _metric(self, name: str, families: Mapping[str, MetricFamily]) -> DescribedMetricModel:
        family = family_of(name, families)
        sources = {
            source.name.lower()
            for part in COVERAGE
            if {name, base_name(name)} & set(part.metrics)
            for source in part.sources
        }
        return DescribedMetricModel(
            name=name,
            type=family.type.value if family else "",
            help=family.help if family else "",
            unit=family.unit if family else "",
            oldest=self._source.oldest((Matcher(NAME, MatchOperator.EQUAL, name),)),
            sources=sorted(sources),
        )
