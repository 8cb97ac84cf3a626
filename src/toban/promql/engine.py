"""The query engine: parses a query, evaluates it within its limits, and returns the result."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Final

import numpy as np

from toban.core.errors import BadQueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher
from toban.core.ports import SeriesSource
from toban.core.query_result import DataPresence, QueryResult, ResultSeries, ResultType
from toban.promql import parser
from toban.promql.data_presence import data_presence
from toban.promql.earliest_reads import earliest_reads
from toban.promql.evaluation import QueryEvaluation
from toban.promql.parser import ParseError
from toban.promql.query_limits import QueryBudget, QueryLimits
from toban.promql.syntax_tree import Node, ParsedQuery, Range, Selector, StringLiteral, Subquery, reach, result_type_of
from toban.promql.vectors import Floats, InstantVector, StepGrid, Times, constant, without_names

LOOKBACK: Final = timedelta(minutes=5)
"""The default lookback delta: how old the newest sample of a series may be, as in Prometheus."""

_SLICE: Final = 6 * 3_600_000
"""The length of a slice of a long range query in milliseconds, unless the query reads further back."""

_SLICE_STEPS: Final = 1_000
"""The largest number of steps of a slice, unless the query reads further back."""

_MAX_CACHED_LENGTH: Final = 4_000
"""How many characters a query may have to be cached after parsing."""

_TYPE_NAMES: Final = {ResultType.MATRIX: "range vector", ResultType.STRING: "string"}


class PromqlEngine:
    """
    Evaluates PromQL over a source of series; synchronous, and safe to use from several threads.

    All methods raise ``QueryError`` (its subclass ``ParseError`` for invalid queries) or ``StoreError``.
    """

    def __init__(
        self,
        source: SeriesSource,
        limits: QueryLimits | None = None,
        *,
        lookback: timedelta = LOOKBACK,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.limits = limits or QueryLimits()
        self.lookback = lookback
        self.now = now
        self._cached_parse: Callable[[str], ParsedQuery] = lru_cache(maxsize=1024)(parser.parse)

    def parse(self, text: str) -> ParsedQuery:
        """Parse a query; the result is cached unless the query is very long. Raises ``ParseError``."""
        return self._cached_parse(text) if len(text) <= _MAX_CACHED_LENGTH else parser.parse(text)

    def instant(
        self, text: str, at: int, *, deadline: float | None = None, canceled: threading.Event | None = None
    ) -> QueryResult:
        """
        Return the result of a query at one time (milliseconds).

        ``deadline`` is on the monotonic clock and can only shorten the time limit; setting ``canceled`` cancels the
        query. The samples of a range selector keep their own times.
        """
        root = self.parse(text).root
        if isinstance(root, StringLiteral):
            return QueryResult(ResultType.STRING, text=root.value, at=at)
        with self._evaluation(deadline, canceled) as evaluation:
            grid = StepGrid(np.array([at], np.int64), at, at)
            shape = result_type_of(root)
            if isinstance(root, Range | Subquery):
                series = _samples(evaluation, root, grid)
            elif shape is ResultType.SCALAR:
                series = _scalar(evaluation, root, grid)
            else:
                vector = without_names(evaluation.vector(root, grid))
                series = tuple(_points(vector, grid))
                if not vector.ordered:
                    series = _sorted(series)
            return _result(shape, series, at, evaluation.budget)

    def range(
        self,
        text: str,
        start: int,
        end: int,
        step: int,
        *,
        deadline: float | None = None,
        canceled: threading.Event | None = None,
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Otherwise like ``instant``."""
        grid = self._grid(start, end, step)
        root = self.parse(text).root
        shape = result_type_of(root)
        if shape in _TYPE_NAMES:
            raise ParseError(
                f'invalid expression type "{_TYPE_NAMES[shape]}" for range query, must be Scalar or instant Vector'
            )
        with self._evaluation(deadline, canceled) as evaluation:
            if shape is ResultType.SCALAR:
                series = _scalar(evaluation, root, grid)
            else:
                series = _sorted(_in_slices(evaluation, root, grid))
            return _result(ResultType.MATRIX, series, end, evaluation.budget)

    def presence(self, text: str, at: int) -> DataPresence:
        """Return how much of the data that a query reads exists at a time (milliseconds)."""
        lookback = self.lookback // timedelta(milliseconds=1)

        def has(selector: Selector, span: int) -> bool:
            end = (selector.at if isinstance(selector.at, int) else at) - selector.offset
            return bool(self.source.series(selector.matchers, end - (span or lookback) + 1, end))

        return data_presence(self.parse(text).root, has)

    def earliest_reads(self, text: str, start: int, end: int) -> list[tuple[tuple[Matcher, ...], int]]:
        """Return the matchers of each selector of a query, and the earliest time that it reads (milliseconds)."""
        lookback = self.lookback // timedelta(milliseconds=1)
        reads = earliest_reads(self.parse(text).root, start, start, end, lookback)
        return [(selector.matchers, earliest) for selector, earliest in reads]

    def _grid(self, start: int, end: int, step: int) -> StepGrid:
        if step <= 0:
            raise BadQueryError(
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
                "Try a positive integer"
            )
        if end < start:
            raise BadQueryError('invalid parameter "end": end timestamp must not be before start time')
        if (end - start) // step > self.limits.steps:
            raise BadQueryError(
                f"exceeded maximum resolution of {self.limits.steps:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        return StepGrid(np.arange(start, end + 1, step, dtype=np.int64), start, end)

    @contextmanager
    def _evaluation(self, deadline: float | None, canceled: threading.Event | None) -> Iterator[QueryEvaluation]:
        latest = self.now() + self.limits.time.total_seconds()
        budget = QueryBudget(
            self.limits,
            latest if deadline is None else min(deadline, latest),
            canceled or threading.Event(),
            self.now,
        )
        budget.check()
        # Division by zero and the like have results in PromQL.
        with np.errstate(all="ignore"):
            yield QueryEvaluation(self.source, self.lookback // timedelta(milliseconds=1), budget)


def _result(shape: ResultType, series: tuple[ResultSeries, ...], at: int, budget: QueryBudget) -> QueryResult:
    return QueryResult(
        shape,
        series,
        at=at,
        warnings=tuple(budget.warnings),
        infos=tuple(budget.infos),
        samples=budget.samples,
    )


def _scalar(evaluation: QueryEvaluation, root: Node, grid: StepGrid) -> tuple[ResultSeries, ...]:
    values: Floats = evaluation.scalars(root, grid)
    return tuple(_points(constant(values), grid))


def _in_slices(evaluation: QueryEvaluation, root: Node, grid: StepGrid) -> Iterator[ResultSeries]:
    """Evaluate slice by slice, so that a long range needs no more memory than a short one."""
    found: dict[Labels, list[ResultSeries]] = {}
    kept = 0
    for times in _slices(grid, reach(root, evaluation.lookback)):
        piece = grid.at(times)
        for points in _points(without_names(evaluation.vector(root, piece)), piece):
            found.setdefault(points.labels, []).append(points)
            kept += len(points.times)
        evaluation.budget.release(kept)
    for labels, parts in found.items():
        if len(parts) == 1:
            yield parts[0]
        else:
            times = np.concatenate([part.times for part in parts])
            yield ResultSeries(labels, times, np.concatenate([part.values for part in parts]))


def _slices(grid: StepGrid, reached: int) -> Iterator[Times]:
    """Split a grid into slices that are long compared with ``reached``, which each slice reads again."""
    if grid.steps < 2:
        yield grid.times
        return
    step = int(grid.times[1] - grid.times[0])
    height = max(min(_SLICE_STEPS, _SLICE // step), reached // step, 1)
    # One slice that is half as large again is better than a tiny one after it.
    yield from np.array_split(grid.times, max(1, round(grid.steps / height)))


def _points(vector: InstantVector, grid: StepGrid) -> Iterator[ResultSeries]:
    for labels, values, present in zip(vector.series, vector.values, vector.present, strict=True):
        if present.all():
            yield ResultSeries(labels, grid.times, values)
        elif present.any():
            yield ResultSeries(labels, grid.times[present], values[present])


def _samples(evaluation: QueryEvaluation, root: Range | Subquery, grid: StepGrid) -> tuple[ResultSeries, ...]:
    """Return the samples of a range selector or subquery."""
    found = []
    for windows, nameless in evaluation.windows(root, grid):
        for _, window in windows.each():
            for row, named in enumerate(windows.series):
                labels = named.drop(NAME) if nameless else named
                inside = slice(None) if window.inside is None else window.inside[row]
                times, values = window.times[row % len(window.times), inside], window.values[row, inside]
                if len(times):
                    found.append(ResultSeries(labels, times, values))
    return _sorted(found)


def _sorted(series: Iterator[ResultSeries] | list[ResultSeries] | tuple[ResultSeries, ...]) -> tuple[ResultSeries, ...]:
    return tuple(sorted(series, key=lambda points: tuple(points.labels.items())))
