"""Questions about samples, answered."""

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
from toban.core.ports import SeriesSource
from toban.core.query_result import QueryResult, ResultSeries, ResultType
from toban.promql import parser
from toban.promql.data_presence import DataPresence, data_presence
from toban.promql.evaluation import QueryEvaluation
from toban.promql.parser import ParseError
from toban.promql.query_limits import QueryBudget, QueryLimits
from toban.promql.syntax_tree import Node, ParsedQuery, Range, Selector, StringLiteral, Subquery, reach, result_type_of
from toban.promql.vectors import Floats, InstantVector, StepGrid, Times, constant, without_names

LOOKBACK: Final = timedelta(minutes=5)
"""How old the newest sample of a series may be and still count, as in Prometheus."""

_SLICE: Final = 6 * 3_600_000
"""How much time a slice of a long range covers, in milliseconds, unless the query reaches further back."""

_SLICE_STEPS: Final = 1_000
"""How many steps it has at most, likewise."""

_USUAL_LENGTH: Final = 4_000
"""How many characters a query has at most that is remembered when it was read."""

_WORDS: Final = {ResultType.MATRIX: "range vector", ResultType.STRING: "string"}


class PromqlEngine:
    """
    Answers PromQL over a source, as Prometheus 3 would; synchronous, and safe to use from several threads.

    Everything raises ``QueryError`` (its subclass ``ParseError`` when the text is no query) or ``StoreError``.
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
        self._remembered: Callable[[str], ParsedQuery] = lru_cache(maxsize=1024)(parser.parse)

    def parse(self, text: str) -> ParsedQuery:
        """Read a query; one of a usual length is remembered. Raises ``ParseError``."""
        return self._remembered(text) if len(text) <= _USUAL_LENGTH else parser.parse(text)

    def instant(
        self, text: str, at: int, *, deadline: float | None = None, canceled: threading.Event | None = None
    ) -> QueryResult:
        """
        Return what a query comes to at one time (milliseconds).

        ``deadline`` is on the monotonic clock and can only shorten the time limit; setting ``canceled`` ends the
        query within a moment. The samples of a range keep their own times.
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
            return _answer(shape, series, at, evaluation.budget)

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
        if shape in _WORDS:
            raise ParseError(
                f'invalid expression type "{_WORDS[shape]}" for range query, must be Scalar or instant Vector'
            )
        with self._evaluation(deadline, canceled) as evaluation:
            if shape is ResultType.SCALAR:
                series = _scalar(evaluation, root, grid)
            else:
                series = _sorted(_by_slices(evaluation, root, grid))
            return _answer(ResultType.MATRIX, series, end, evaluation.budget)

    def presence(self, text: str, at: int) -> DataPresence:
        """Tell how much of what a query reads is there at a time (milliseconds)."""
        lookback = self.lookback // timedelta(milliseconds=1)

        def has(selector: Selector, span: int) -> bool:
            end = (selector.at if isinstance(selector.at, int) else at) - selector.offset
            return bool(self.source.series(selector.matchers, end - (span or lookback) + 1, end))

        return data_presence(self.parse(text).root, has)

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
        # Division by nought and the like are answers here, not surprises.
        with np.errstate(all="ignore"):
            yield QueryEvaluation(self.source, self.lookback // timedelta(milliseconds=1), budget)


def _answer(shape: ResultType, series: tuple[ResultSeries, ...], at: int, budget: QueryBudget) -> QueryResult:
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


def _by_slices(evaluation: QueryEvaluation, root: Node, grid: StepGrid) -> Iterator[ResultSeries]:
    """Evaluate some steps after the others, so that a long range needs no more memory than a short one."""
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
    """Cut a grid where it pays: a slice reads again what its first step reaches back to."""
    if grid.steps < 2:
        yield grid.times
        return
    step = int(grid.times[1] - grid.times[0])
    height = max(min(_SLICE_STEPS, _SLICE // step), reached // step, 1)
    # Rather one slice half as large again than a tiny one after it.
    yield from np.array_split(grid.times, max(1, round(grid.steps / height)))


def _points(vector: InstantVector, grid: StepGrid) -> Iterator[ResultSeries]:
    for labels, values, present in zip(vector.series, vector.values, vector.present, strict=True):
        if present.all():
            yield ResultSeries(labels, grid.times, values)
        elif present.any():
            yield ResultSeries(labels, grid.times[present], values[present])


def _samples(evaluation: QueryEvaluation, root: Range | Subquery, grid: StepGrid) -> tuple[ResultSeries, ...]:
    """Return the samples of a range as they are."""
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
