"""What the panels of a board show in a range of time: each query is run once, and one that fails costs its panel."""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import re2

from toban.core.config_types import format_duration
from toban.core.errors import QueryError, StoreError
from toban.core.labels import NAME, Labels, quote
from toban.core.ports import QueryEngine
from toban.core.query_result import QueryResult
from toban.core.samples import milliseconds
from toban.dashboards.board import Board, Panel, Variable, expanded
from toban.dashboards.time_range import TimeRange

MAX_SERIES: Final = 50
"""How many series a panel shows: those with the largest values."""

MAX_ANNOTATIONS: Final = 200
"""How many times a board marks."""

MAX_VALUES: Final = 500
"""How many values of a variable can be chosen from."""

SCRAPE_INTERVAL: Final = timedelta(seconds=30)
"""What `$__rate_interval` takes for the distance of two samples."""

QUERY_TIMEOUT: Final = timedelta(seconds=10)

LEGEND_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class PanelSeries:
    """One series of a panel: a value for each time of the board, None where there is none."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[float | None]
    query: int = 0
    """The place of its query among those of the panel."""


@dataclass(frozen=True, slots=True)
class PanelData:
    """What a panel shows: series, or why there are none."""

    title: str
    series: Sequence[PanelSeries] = ()
    hidden: int = 0
    """How many series more there are."""
    error: str = ""
    warnings: Sequence[str] = ()
    expressions: Sequence[str] = ()
    """The expressions that were run, with the values of their variables."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A time that the charts of a board mark: from its begin to its end an alert fired (milliseconds)."""

    begin: int
    end: int
    title: str
    severity: str


@dataclass(frozen=True, slots=True)
class BoardData:
    """What all panels of a board show, the values that its variables have, and what its charts mark."""

    times: Sequence[int]
    """Milliseconds since the epoch."""
    panels: Sequence[PanelData]
    variables: Mapping[str, Sequence[str]]
    annotations: Sequence[Annotation] = ()


async def board_data(
    board: Board, engine: QueryEngine, span: TimeRange, chosen: Mapping[str, Sequence[str]], language: str = "en"
) -> BoardData:
    """Query what the panels of a board show; ``chosen`` are the values of its variables, all where none are."""
    run = _BoardRun(engine, span, chosen, language)
    values = {variable.name: await run.values_of(variable) for variable in board.variables}
    panels = [await run.panel(panel) for panel in board.all_panels]
    return BoardData(run.times, panels, values, await run.alerts())


class _BoardRun:
    """The queries of one board in one range."""

    def __init__(
        self, engine: QueryEngine, span: TimeRange, chosen: Mapping[str, Sequence[str]], language: str
    ) -> None:
        self._engine = engine
        self._language = language
        self._step = span.step // timedelta(milliseconds=1)
        # On the grid of the step, so that points do not move when the range does.
        first, last = (milliseconds(it) // self._step * self._step for it in (span.begin, span.end))
        self.times = range(first, last + 1, self._step)
        self._now = milliseconds(span.end)
        self._values = {name: "|".join(map(_quoted, values)) for name, values in chosen.items() if values} | {
            "__interval": format_duration(span.step),
            "__rate_interval": format_duration(max(span.step + SCRAPE_INTERVAL, 4 * SCRAPE_INTERVAL)),
            "__range": format_duration(timedelta(seconds=math.ceil((span.end - span.begin).total_seconds()))),
        }
        self._results: dict[tuple[str, bool], QueryResult | QueryError | StoreError] = {}

    async def values_of(self, variable: Variable) -> Sequence[str]:
        """Return the values of a variable's label, within the range."""
        length = format_duration(timedelta(milliseconds=self.times[-1] - self.times[0] + self._step))
        query = f"group by ({variable.label}) (last_over_time({variable.metric}[{length}]))"
        result = await self._run(query, is_instant=True)
        if not isinstance(result, QueryResult):
            return ()
        return sorted({value for it in result.series if (value := it.labels.get(variable.label))})[:MAX_VALUES]

    async def alerts(self) -> list[Annotation]:
        """Return when alerts fired in the range; none where that can't be queried."""
        length = format_duration(timedelta(milliseconds=self._step))
        query = f'max by (alertname, severity) (last_over_time(ALERTS{{alertstate="firing"}}[{length}]))'
        result = await self._run(query, is_instant=False)
        if not isinstance(result, QueryResult):
            return []
        found = [
            Annotation(begin, end, it.labels.get("alertname", ""), it.labels.get("severity", ""))
            for it in result.series
            for begin, end in it.runs(self._step)
        ]
        return sorted(found, key=lambda it: (it.begin, it.title))[:MAX_ANNOTATIONS]

    async def panel(self, panel: Panel) -> PanelData:
        """Return what a panel shows."""
        title = panel.title_in(self._language)
        found: list[PanelSeries] = []
        warnings: dict[str, None] = {}
        is_instant = panel.type.is_instant
        expressions = [expanded(query.expr, self._values) for query in panel.queries]
        for place, expression in enumerate(expressions):
            result = await self._run(expression, is_instant=is_instant)
            if not isinstance(result, QueryResult):
                return PanelData(title, error=str(result), expressions=expressions)
            warnings |= dict.fromkeys(result.warnings)
            found += self._series(result, panel, place)
            await asyncio.sleep(0)
        hidden = max(0, len(found) - MAX_SERIES)
        if hidden:
            largest = sorted(range(len(found)), key=lambda place: -_largest(found[place]))[:MAX_SERIES]
            found = [found[place] for place in sorted(largest)]
        return PanelData(title, found, hidden, warnings=tuple(warnings), expressions=expressions)

    async def _run(self, query: str, *, is_instant: bool) -> QueryResult | QueryError | StoreError:
        """Run a query unless it was run for another panel."""
        key = query, is_instant
        if key not in self._results:
            try:
                self._results[key] = (
                    await self._engine.instant(query, self._now, time_limit=QUERY_TIMEOUT)
                    if is_instant
                    else await self._engine.range(
                        query, self.times[0], self.times[-1], self._step, time_limit=QUERY_TIMEOUT
                    )
                )
            except (QueryError, StoreError) as error:
                self._results[key] = error
        return self._results[key]

    def _series(self, result: QueryResult, panel: Panel, place: int) -> list[PanelSeries]:
        """Return the series of one of the panel's queries."""
        legend = panel.queries[place].legend_in(self._language)
        found = []
        for series in result.series:
            name = _legend(legend, series.labels)
            if panel.type.is_instant:
                values = [_finite(series.last)]
            else:
                by_time = dict(zip(series.times.tolist(), series.values.tolist(), strict=True))
                values = [_finite(by_time.get(at)) for at in self.times]
            found.append(PanelSeries(name, dict(series.labels), values, place))
        return found


def _largest(series: PanelSeries) -> float:
    return max((value for value in series.values if value is not None), default=-math.inf)


def _finite(value: float | None) -> float | None:
    """Return a value that JSON has; None for those of absent samples, too."""
    return value if value is not None and math.isfinite(value) else None


def _legend(legend: str, labels: Labels) -> str:
    if legend:
        return LEGEND_LABEL.sub(lambda found: labels.get(found[1], ""), legend).strip()
    rest = {name: value for name, value in labels.items() if name not in {NAME, "job", "instance"}}
    if rest:
        return ", ".join(f"{name}={value}" for name, value in rest.items())
    return labels.get("instance") or labels.get(NAME, "")


def _quoted(value: str) -> str:
    """Return a value as part of a regular expression in a PromQL string."""
    return quote(re2.escape(value))[1:-1]
