"""Log lines in the console: searched, counted over time, followed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import InvalidCommandError, StoreError
from toban.core.log_line import LogLevel
from toban.core.ports import Clock
from toban.dashboards.time_range import TimeRangeError, parse_range
from toban.web.api.log_models import LogHistogramRequest, LogHistogramResponse, LogsRequest, LogsResponse
from toban.web.api.logs import LogsApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.boards import range_controls
from toban.web.pages.preferences import Preferences
from toban.web.pages.rendering import page
from toban.web.problem_details import readable_fields

LINES: Final = 200
"""How many lines a page shows."""

CONTEXT: Final = 20
"""How many lines are shown before and after one."""

REQUEST_SPAN: Final = timedelta(hours=1)
"""How long before and after one of its lines a request has others: a job may wait and be tried again."""

BARS: Final = 80
INITIAL: Final = ("now-1h", "now")
SELECTION: Final = ("query", "level", "service", "context", "from", "to")
"""The parameters of a search, which every link keeps."""


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """The lines of a step of time, as parts of a bar within 100 × 100, the most severe level below."""

    x: float
    width: float
    begin: datetime
    end: datetime
    parts: Sequence[tuple[LogLevel, int, float, float]]
    """Level, lines, the top of the part and its height."""

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return sum(count for _, count, _, _ in self.parts)


class LogsPage:
    """Shows log lines: the newest, those of a search, or those around one."""

    def __init__(self, api: LogsApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/logs", self.show, Permission.LOGS)]

    async def show(self, request: Request) -> Response:
        """Show what a search finds in a range of time."""
        asked = {name: request.query_params[name] for name in SELECTION if request.query_params.get(name)}
        begin, end = asked.get("from", INITIAL[0]), asked.get("to", INITIAL[1])
        around, cursor = request.query_params.get("around", ""), request.query_params.get("cursor", "")
        is_live = end == "now" and not around and not cursor and request.query_params.get("live") != "off"
        found, error = LogsResponse(lines=[]), ""
        bars: Sequence[HistogramBar] = ()
        uncounted: Sequence[str] = ()
        selection = {name: value for name, value in asked.items() if name not in {"from", "to"}}
        shown = None
        try:
            shown = parse_range(begin, end, self._clock.now(), Preferences.of(request).zone, BARS)
            selection |= {"since": shown.begin.isoformat(), "until": shown.end.isoformat()}
            if around:
                wanted = LogsRequest(around=around, limit=CONTEXT)
            else:
                wanted = LogsRequest.model_validate({**selection, "cursor": cursor, "limit": LINES})
                if histogram := await self._histogram(request, {**selection, "bars": BARS}):
                    bars, uncounted = _bars(histogram, shown.begin, shown.end), histogram.warnings
            found = await self._api.lines(wanted, actor(request))
        except ValidationError as invalid:
            error = readable_fields(invalid)
        except (TimeRangeError, InvalidCommandError, StoreError) as problem:
            error = str(problem)
        return page(
            request,
            "logs.html",
            lines=found.lines,
            older=found.cursor,
            missing=found.missing,
            uncounted=uncounted,
            outside_before=found.outside_before,
            reached=found.reached,
            around=around,
            cursor=cursor,
            asked=asked,
            levels=[it.value for it in LogLevel],
            error=error,
            bars=bars,
            shown=shown,
            is_live=is_live,
            searched=lambda **changes: _link(asked, changes),
            narrowed=lambda name, value: _narrowed(asked, name, value),
            of_request=_of_request,
            export=f"/api/logs?{urlencode({**selection, 'limit': 5_000})}",
            is_table=True,
            **range_controls(begin, end, ""),
        )

    async def _histogram(self, request: Request, selection: Mapping[str, object]) -> LogHistogramResponse | None:
        """Return the counts over time; none where counting takes too long, for the lines are worth more."""
        try:
            return await self._api.histogram(LogHistogramRequest.model_validate(selection), actor(request))
        except InvalidCommandError:
            return None  # the search says what is wrong with the query


def _link(asked: Mapping[str, str], changes: Mapping[str, str]) -> str:
    """Return the address of the page with another search; an empty value removes a parameter."""
    parameters = {name: value for name, value in {**asked, **changes}.items() if value}
    return f"/logs?{urlencode(parameters)}" if parameters else "/logs"


def _narrowed(asked: Mapping[str, str], name: str, value: Any) -> str:
    """Return the address of the page with one more condition in its search."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    query = asked.get("query", "")
    if query.lstrip().startswith("{"):
        condition = f" | {name.removeprefix('@')}={orjson.dumps(text).decode()}"
    else:
        quoted = text.replace('"', "")
        condition = f' {name}:"{quoted}"' if not text or set(text) & set(' "\t\n') else f" {name}:{text}"
    return _link(asked, {"query": (query + condition).strip()})


def _of_request(trace_id: str, at: datetime) -> str:
    """Return the address of the page with all lines of a request, one of which is of this time."""
    begin, end = (at + step for step in (-REQUEST_SPAN, REQUEST_SPAN))
    return _link({}, {"query": f"trace_id:{trace_id}", "from": begin.isoformat(), "to": end.isoformat()})


def _bars(histogram: LogHistogramResponse, begin: datetime, end: datetime) -> Sequence[HistogramBar]:
    """Return the bars of a range."""
    whole, step = (end - begin).total_seconds(), timedelta(seconds=histogram.step)
    highest = max((sum(bar.lines.values()) for bar in histogram.bars), default=0) or 1
    bars = []
    for bar in histogram.bars:
        parts, top = [], 100.0
        for level in LogLevel:
            if count := bar.lines.get(level, 0):
                height = 100 * count / highest
                top -= height
                parts.append((level, count, top, height))
        x = 100 * (bar.at - begin).total_seconds() / whole
        bars.append(HistogramBar(x, 100 * histogram.step / whole * 0.9, bar.at, bar.at + step, parts))
    return bars
