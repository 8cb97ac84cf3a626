"""Queries in the browser: as charts and tables that a script draws, or as tables where there is no JavaScript."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.permissions import Permission
from toban.core.errors import QueryError, StoreError
from toban.core.number_format import format_value
from toban.core.ports import Clock, QueryEngine, SeriesSource
from toban.core.query_result import ResultType
from toban.core.samples import milliseconds
from toban.dashboards.query_description import describe_query
from toban.dashboards.time_range import TimeRangeError, parse_range
from toban.instruments.metric_sources import MetricSource
from toban.promql import aggregation, evaluation, lexer
from toban.promql.parser import ParseError
from toban.web.api.queries import MAX_QUERIES, POSITION
from toban.web.endpoint import Endpoint
from toban.web.pages.boards import POINTS, range_controls
from toban.web.pages.preferences import Preferences
from toban.web.pages.rendering import language_of, page, script_texts

MAX_LENGTH: Final = 20_000
"""How many characters a query may have: it stands in an address."""

MAX_ROWS: Final = 200
"""How many series of a query a table shows."""

INITIAL: Final = ("now-1h", "now")

SCRIPT_TEXTS: Final = (
    "add-query",
    "chart-label",
    "clear",
    "completions",
    "completions-count",
    "copy-range",
    "earlier",
    "expression",
    "hide-query",
    "highest",
    "last",
    "later",
    "link-copied",
    "lowest",
    "mean",
    "metric-since",
    "metric-with",
    "more-metrics",
    "more-series",
    "no-history",
    "no-metric",
    "no-metrics",
    "no-queries",
    "no-range",
    "not-live",
    "nothing-at-time",
    "nothing-in-range",
    "or",
    "paste-range",
    "range-copied",
    "refresh-now",
    "remove-query",
    "result",
    "rows-cut",
    "series",
    "series-count",
    "step",
    "top-series",
    "total",
    "value",
    "zoom-out",
    *(f"source-{source.name.lower()}" for source in MetricSource),
)
"""The keys of the texts that the script shows."""


@dataclass(frozen=True, slots=True)
class QueryTable:
    """The result of a query at one time, or why there is none; ``marker`` stands below the erroneous line."""

    query: str
    rows: Sequence[tuple[str, str]] = ()
    hidden: int = 0
    error: str = ""
    line: str = ""
    marker: str = ""
    notes: Sequence[str] = ()


class ExplorePage:
    """Shows the results of queries that somebody writes."""

    def __init__(self, engine: QueryEngine, source: SeriesSource, clock: Clock) -> None:
        self._engine = engine
        self._source = source
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/explore", self.show, Permission.READ),
            Endpoint("/graph", self.graph, Permission.READ),
        ]

    async def graph(self, request: Request) -> Response:
        """Lead the addresses of Prometheus' own page here: links in alerts and rules are written for that."""
        found = request.query_params
        queries = [("expr", found[f"g{it}.expr"]) for it in range(MAX_QUERIES) if found.get(f"g{it}.expr")]
        span = [("from", f"now-{found['g0.range_input']}")] if found.get("g0.range_input") else []
        return RedirectResponse(f"/explore?{urlencode([*queries, *span])}", 302)

    async def show(self, request: Request) -> Response:
        """Show the form, and with ``view=table`` the results at the end of the range."""
        language, parameters = language_of(request), request.query_params
        begin, end = parameters.get("from") or INITIAL[0], parameters.get("to") or INITIAL[1]
        queries = [it for it in parameters.getlist("expr") if it.strip()][:MAX_QUERIES]
        is_table = parameters.get("view") == "table"
        tables: list[QueryTable] = []
        error = ""
        if is_table:
            try:
                span = parse_range(begin, end, self._clock.now(), Preferences.of(request).zone, POINTS)
                tables = [await self._table(query, milliseconds(span.end), language) for query in queries]
            except TimeRangeError as invalid:
                error = str(invalid)
        address = [("from", begin), ("to", end), *(("expr", query) for query in queries)]
        return page(
            request,
            "explore.html",
            queries=queries,
            # Without a script there is room for one query more.
            fields=[*queries, ""] if is_table or not queries else queries,
            tables=tables,
            error=error,
            is_table=is_table,
            **range_controls(begin, end, parameters.get("refresh", "")),
            max_length=MAX_LENGTH,
            max_queries=MAX_QUERIES,
            as_table=f"?{urlencode([*address, ('view', 'table')])}",
            as_charts=f"?{urlencode(address)}",
            texts=script_texts(language, SCRIPT_TEXTS),
            words=json.dumps(
                {
                    "functions": sorted(evaluation.FUNCTION_NAMES),
                    "aggregations": sorted(aggregation.OPERATORS),
                    "keywords": sorted(lexer.KEYWORDS),
                    "grouping": sorted(lexer.GROUPING),
                }
            ),
        )

    async def _table(self, query: str, at: int, language: str) -> QueryTable:
        try:
            unit = describe_query(query, self._source.families()).unit
            result = await self._engine.instant(query, at)
        except ParseError as error:
            return _marked(query, str(error))
        except (QueryError, StoreError) as error:
            return QueryTable(query, error=str(error))
        notes = [*result.warnings, *result.infos]
        if result.type is ResultType.STRING:
            return QueryTable(query, [("", result.text)], notes=notes)
        rows = [
            (str(it.labels) if it.labels else "", format_value(it.last, unit, language))
            for it in result.series[:MAX_ROWS]
        ]
        return QueryTable(query, rows, max(0, len(result.series) - MAX_ROWS), notes=notes)


def _marked(query: str, message: str) -> QueryTable:
    """Return an error with the line it is in."""
    found = POSITION.fullmatch(message)
    if not found:
        return QueryTable(query, error=message)
    line, column = int(found[1]), int(found[2])
    lines = query.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    return QueryTable(query, error=found[3], line=text, marker=" " * (column - 1) + "^")
