"""Dashboards in the browser: charts, or tables where there is no JavaScript."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.config_types import parse_duration
from toban.core.errors import NotFoundError
from toban.core.number_format import MISSING, format_value
from toban.core.ports import Clock, QueryEngine
from toban.dashboards.board import Board, Panel
from toban.dashboards.board_data import PanelData, board_data
from toban.dashboards.board_loader import Boards
from toban.dashboards.time_range import TimeRangeError, parse_range
from toban.instruments.metric_sources import MetricSource
from toban.web.endpoint import Endpoint
from toban.web.pages.preferences import Preferences
from toban.web.pages.rendering import language_of, page, script_texts

RANGES: Final = (
    ("now-15m", "now"),
    ("now-1h", "now"),
    ("now-3h", "now"),
    ("now-6h", "now"),
    ("now-24h", "now"),
    ("now-7d", "now"),
    ("now-30d", "now"),
    ("now-90d", "now"),
    ("now/d", "now"),
    ("now-1d/d", "now-1d/d"),
    ("now/w", "now"),
    ("now/M", "now"),
)
"""The ranges to choose from."""

REFRESH: Final = ("", "auto", "5s", "10s", "30s", "1m", "5m", "15m", "30m", "1h")
"""The intervals of refresh to choose from; empty for none, `auto` for one that fits the range."""

POINTS: Final = 60
"""How many points of a series are looked at for a table."""


ROTATION: Final = (timedelta(seconds=2), timedelta(hours=1))
"""How long a board stands on a wall before the next one, at least and at most."""

SCRIPT_TEXTS: Final = (
    "chart-label",
    "copy-range",
    "earlier",
    "explore",
    "full-screen",
    "highest",
    "kiosk",
    "last",
    "later",
    "leave",
    "legend-table",
    "lowest",
    "mean",
    "metric-with",
    "more-series",
    "not-live",
    "no-metric",
    "no-range",
    "nothing-in-range",
    "or",
    "paste-range",
    "range-copied",
    "panel-menu",
    "refresh-now",
    "series",
    "total",
    "zoom-out",
    *(f"source-{source.name.lower()}" for source in MetricSource),
)
"""The keys of the texts that the script shows."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A series of a panel as a row of a table."""

    name: str
    last: str
    lowest: str
    highest: str


@dataclass(frozen=True, slots=True)
class PanelTable:
    """A panel as a table."""

    data: PanelData
    rows: Sequence[TableRow]


class BoardsPages:
    """Shows the list of boards, and each board."""

    def __init__(self, boards: Boards, engine: QueryEngine, clock: Clock) -> None:
        self._boards = boards
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/dashboards", self.index, Permission.READ),
            Endpoint("/dashboards/{name}", self.show, Permission.READ),
        ]

    async def index(self, request: Request) -> Response:
        """Show all boards."""
        language = language_of(request)
        boards = [
            {
                "name": it.name,
                "title": it.title_in(language),
                "description": it.description_in(language),
            }
            for it in self._boards.by_name.values()
        ]
        return page(request, "boards.html", boards=boards)

    async def show(self, request: Request) -> Response:
        """Show a board: charts that a script draws, or tables with ``view=table``."""
        try:
            board = self._boards.get(request.path_params["name"])
        except NotFoundError:
            return page(request, "not_found.html", 404)
        language, query = language_of(request), request.query_params
        begin, end = query.get("from") or board.time.begin, query.get("to") or board.time.end
        tables: list[PanelTable] = []
        error = ""
        is_table = query.get("view") == "table"
        if is_table:
            try:
                tables = await self._tables(board, begin, end, Preferences.of(request).zone, language)
            except TimeRangeError as invalid:
                error = str(invalid)
        rotate = 0.0
        try:
            rotate = _rotation(query.get("rotate", ""))
        except ValueError as invalid:
            error = f"rotate: {invalid}"
        span = {"from": begin, "to": end}
        return page(
            request,
            "board.html",
            board=board,
            title=board.title_in(language),
            description=board.description_in(language),
            sections=_sections(board, language),
            tables=tables,
            error=error,
            is_table=is_table,
            **range_controls(begin, end, query.get("refresh", board.refresh)),
            texts=script_texts(language, SCRIPT_TEXTS),
            kiosk="kiosk" in query,
            rotate=f"{rotate:g}",
            next=f"/dashboards/{self._after(board.name)}",
            as_table=f"?{urlencode({**span, 'view': 'table'})}",
            as_charts=f"?{urlencode(span)}",
        )

    def _after(self, name: str) -> str:
        """Return the name of the board after another one; after the last comes the first."""
        names = list(self._boards.by_name)
        return names[(names.index(name) + 1) % len(names)]

    async def _tables(self, board: Board, begin: str, end: str, zone: ZoneInfo, language: str) -> list[PanelTable]:
        span = parse_range(begin, end, self._clock.now(), zone, POINTS)
        found = await board_data(board, self._engine, span, {}, language)
        return [
            PanelTable(data, [_row(panel, it.name, it.values, language) for it in data.series])
            for panel, data in zip(board.all_panels, found.panels, strict=True)
        ]


def range_controls(begin: str, end: str, refresh: str) -> dict[str, Any]:
    """Return what `range_controls.html` shows: the range and the interval of refresh, with those to choose from."""
    ranges = RANGES if (begin, end) in RANGES else [*RANGES, (begin, end)]
    return {"begin": begin, "end": end, "ranges": ranges, "refresh": refresh, "refreshes": REFRESH}


def _rotation(text: str) -> float:
    """Return after how many seconds the next board is shown; zero for never. Raises ``ValueError``."""
    if not text:
        return 0
    least, most = ROTATION
    return min(max(parse_duration(text), least), most).total_seconds()


def _row(panel: Panel, name: str, values: Sequence[float | None], language: str) -> TableRow:
    present = [value for value in values if value is not None]
    if not present:
        return TableRow(name, MISSING, MISSING, MISSING)
    last, lowest, highest = (format_value(it, panel.unit, language) for it in (present[-1], min(present), max(present)))
    return TableRow(name, last, lowest, highest)


def _sections(board: Board, language: str) -> list[dict[str, object]]:
    """Return the panels by row, each with its place among all panels."""
    panels = iter(enumerate(board.all_panels))

    def described(count: int) -> Iterator[Mapping[str, object]]:
        for _ in range(count):
            place, panel = next(panels)
            yield {
                "place": place,
                "title": panel.title_in(language),
                "description": panel.description_in(language),
                "width": panel.width,
                "height": panel.height,
            }

    found: list[dict[str, object]] = [{"title": "", "panels": list(described(len(board.panels)))}]
    for row in board.rows:
        title = row.title_in(language)
        found.append({"title": title, "panels": list(described(len(row.panels)))})
    return [section for section in found if section["panels"]]
