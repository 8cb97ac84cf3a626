"""Log lines, in toban's own API."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.config_types import parse_duration
from toban.core.errors import InvalidCommandError, QueryError
from toban.core.input_limits import parse_time
from toban.core.log_line import LogLevel
from toban.core.matchers import Matcher, MatchOperator
from toban.core.ports import Clock
from toban.core.samples import milliseconds, moment
from toban.dashboards.time_range import STEPS
from toban.logs.line_store import LAST_NUMBER, Direction, LinePosition, TextFilter
from toban.logs.logql.search import FoundLine, FoundSlice, LineSearch, MissingLines
from toban.logs.logql.simple_search import parse_search
from toban.logs.logql.syntax_tree import Grouping, LineFilter, LogQuery, RangeAggregation, VectorAggregation
from toban.logs.outside.line_mapping import level_of
from toban.logs.text_filter import shown_text
from toban.logs.tiered_log_engine import TieredLogEngine
from toban.web.api.api_endpoint import ApiEndpoint
from toban.web.api.log_models import (
    LogHistogramBar,
    LogHistogramRequest,
    LogHistogramResponse,
    LogLineModel,
    LogsRequest,
    LogsResponse,
    MissingLinesModel,
)
from toban.web.endpoint import Endpoint

SECONDS: Final = 2.0
"""After so many seconds a search responds with what it has found so far."""

HISTOGRAM_LIMIT: Final = timedelta(seconds=5)

CHARACTERS: Final = 4 * 2**20
"""Characters of lines after which a page is full."""

AHEAD: Final = timedelta(days=1)
"""How far in the future a line may be that is found without an end: the clocks of programs differ."""

_POSITION: Final = re.compile(r"(-?[0-9]{1,15})-([0-9]{1,19})")


class LogsApi:
    """Searches log lines, newest first."""

    def __init__(self, engine: TieredLogEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            ApiEndpoint("/api/logs", self.lines, Permission.LOGS, LogsRequest, LogsResponse),
            ApiEndpoint(
                "/api/logs/histogram", self.histogram, Permission.LOGS, LogHistogramRequest, LogHistogramResponse
            ),
        ]

    async def lines(self, request: LogsRequest, actor: Actor) -> LogsResponse:
        """Return the newest log lines that a search finds, page by page; or the lines around one."""
        try:
            if request.around:
                return await self._around(request)
            return await self._page(request)
        except QueryError as error:
            raise InvalidCommandError(str(error), "query") from error

    async def histogram(self, request: LogHistogramRequest, actor: Actor) -> LogHistogramResponse:
        """Count the lines that a search finds over time, by level; by default of the last hour."""
        now = self._clock.now()
        start = time_of(request.since or "1h", "since", now)
        end = time_of(request.until, "until", now) if request.until else now
        step = next((it for it in STEPS if (end - start) / it <= request.bars), STEPS[-1])
        span = step // timedelta(milliseconds=1)
        try:
            query = log_query(request.query, request.level, request.service, request.context, request.text)
            counted = RangeAggregation("count_over_time", query, span)
            root = VectorAggregation("sum", counted, Grouping(("level",)))
            # A point counts the step before it.
            first = (milliseconds(start) // span + 1) * span
            last = max(first, milliseconds(end) + span - 1)
            found = await self._engine.evaluate(root, first, last, span, time_limit=HISTOGRAM_LIMIT)
        except QueryError as error:
            raise InvalidCommandError(str(error), "query") from error
        bars: dict[int, dict[LogLevel, int]] = {}
        for series in found.series:
            level = level_of(series.labels.get("level", ""))
            for at, value in zip(series.times.tolist(), series.values.tolist(), strict=True):
                bar = bars.setdefault(at - span, {})
                bar[level] = bar.get(level, 0) + round(value)
        models = [LogHistogramBar(at=moment(at), lines=bars[at]) for at in sorted(bars)]
        return LogHistogramResponse(step=step.total_seconds(), bars=models, warnings=list(found.warnings))

    async def _page(self, request: LogsRequest) -> LogsResponse:
        now = self._clock.now()
        wanted = LineSearch(
            log_query(request.query, request.level, request.service, request.context, request.text),
            milliseconds(time_of(request.since, "since", now)) if request.since else 0,
            milliseconds(time_of(request.until, "until", now) if request.until else now + AHEAD),
            request.limit,
            before=position_of(request.cursor, "cursor") if request.cursor else None,
        )
        started, size = self._clock.monotonic(), 0
        lines, missing = list[FoundLine](), list[MissingLines]()
        reached, is_complete, outside = wanted.end, True, None
        async with aclosing(self._engine.search(wanted)) as slices:
            async for part in slices:
                lines += part.lines
                missing += part.missing
                reached, outside = part.reached, part.outside
                size += sum(len(line.text) for line in part.lines)
                is_slow = size > CHARACTERS or self._clock.monotonic() - started > SECONDS
                if len(lines) >= request.limit or (is_slow and reached > wanted.start):
                    is_complete = False
                    break
        response = await _response(FoundSlice(lines, reached, missing, outside))
        if is_complete:
            return response
        return response.model_copy(update={"cursor": _text(_next(lines, reached)), "reached": moment(reached)})

    async def _around(self, request: LogsRequest) -> LogsResponse:
        """Return a line, and those before and after it, of whatever stream."""
        position = position_of(request.around, "around")
        wanted = LineSearch(LogQuery(), 0, position.at + 1, request.limit, before=position)
        before = await self._engine.lines(wanted)
        end = milliseconds(self._clock.now() + AHEAD)
        after = await self._engine.lines(
            replace(
                wanted,
                start=position.at,
                end=max(end, position.at + 1),
                limit=min(request.limit + 1, self._engine.limits.lines),
                direction=Direction.FORWARD,
                before=None,
                after=LinePosition(position.at, position.number - 1),
            )
        )
        missing = [*after.missing, *before.missing]
        outside = before.outside if after.outside is None else after.outside
        lines = [*reversed(after.lines), *before.lines]
        return await _response(FoundSlice(lines, before.reached, missing, outside))


def log_query(query: str, level: LogLevel, service: str, context: str, text: str) -> LogQuery:
    """Return the query of some parameters together. Raises ``QueryError``."""
    found = parse_search(query)
    matchers, stages = list(found.matchers), list(found.stages)
    if level is not LogLevel.DEBUG:
        levels = "|".join(it for it in LogLevel if it.is_at_least(level))
        matchers.append(Matcher("level", MatchOperator.REGEX, levels))
    for name, value in (("service", service), ("context", context)):
        if value:
            matchers.append(Matcher(name, MatchOperator.EQUAL, value))
    if text:
        stages.insert(0, LineFilter(TextFilter((text,), ignore_case=True)))
    return LogQuery(tuple(matchers), tuple(stages))


def time_of(text: str, field: str, now: datetime) -> datetime:
    """Return a time, or how long ago. Raises ``InvalidCommandError``."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass  # then it is a time
    try:
        return parse_time(text)
    except ValueError:
        raise InvalidCommandError(f"{text[:50]!r} is neither a time (RFC 3339) nor a duration like 1h", field) from None


def position_of(text: str, field: str) -> LinePosition:
    """Read a position. Raises ``InvalidCommandError``."""
    if not (found := _POSITION.fullmatch(text)):
        raise InvalidCommandError(f"{text[:50]!r} is no position of a line", field)
    return LinePosition(int(found[1]), min(int(found[2]), LAST_NUMBER))


def _text(position: LinePosition) -> str:
    return f"{position.at}-{position.number}"


def _next(lines: Sequence[FoundLine], reached: int) -> LinePosition:
    """Return the position before which a search goes on."""
    if lines and lines[-1].position.at <= reached:
        return lines[-1].position
    return LinePosition(reached, LAST_NUMBER)


async def _response(found: FoundSlice) -> LogsResponse:
    return LogsResponse(
        lines=await asyncio.to_thread(_models, found.lines),
        missing=[
            MissingLinesModel(start=moment(it.start), end=moment(it.end), reason=it.reason) for it in found.missing
        ],
        outside_before=None if found.outside is None else moment(found.outside),
    )


def _models(lines: Sequence[FoundLine]) -> list[LogLineModel]:
    return [line_model(line) for line in lines]


def line_model(found: FoundLine) -> LogLineModel:
    """Return a line as it is returned; a text that the query has formatted takes the place of message and trace."""
    line = found.stored.line
    is_formatted = found.text != shown_text(line)
    return LogLineModel(
        timestamp=line.at.astimezone(UTC),
        level=line.level,
        message=found.text if is_formatted else line.message,
        context=line.context,
        service=line.service,
        environment=line.environment,
        instance=line.instance,
        category=line.category,
        trace="" if is_formatted else line.trace,
        trace_id=line.trace_id,
        facts={**found.parsed, **line.facts},
        position=_text(found.position),
    )
