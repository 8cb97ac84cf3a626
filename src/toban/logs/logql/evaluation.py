"""Evaluates queries for series over the lines of a store. Synchronous: it runs in a thread."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np

from toban.core.errors import BadQueryError
from toban.core.labels import Labels
from toban.core.log_line import LogLevel, LogLine, LogStream
from toban.core.matchers import MatchOperator
from toban.logs.line_store import Direction, LineSelection, LineStore, StoredLine
from toban.logs.logql import vectors
from toban.logs.logql.plan import LinePipeline, Plan, plan
from toban.logs.logql.quantities import parse_quantity
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.records import ERROR, ERROR_DETAILS, STREAM_LABELS, Record, stream_labels
from toban.logs.logql.stages import RunStage, compile_stages, run_stages
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    Grouping,
    LabelSelection,
    MetricQuery,
    NumberLiteral,
    RangeAggregation,
    VectorAggregation,
    VectorLiteral,
)
from toban.logs.logql.vectors import Points, Vector, aggregate, combine, combine_number
from toban.logs.logql.windows import FUNCTIONS, LineCounts, Samples, Times, Windows, quantile
from toban.promql.query_limits import QueryBudget

T = TypeVar("T")

ALL: Final = 2**62
"""The limit of a search for all lines."""

CHECK_EVERY: Final = 256
"""Lines between two checks of the time limit."""

INTERMEDIATE_SERIES: Final = 20
"""How many times more series there may be before an aggregation than in a result."""

ADDITIVE: Final = frozenset({"count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time"})
"""Functions whose results for several series add up to that for all of their lines."""

_NO_LINE: Final = LogLine(datetime.fromtimestamp(0, UTC), LogLevel.INFO, "")
"""Stands for the lines of a stream, of which the store counted some."""


@contextmanager
def closed(slices: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close a search at the end."""
    try:
        yield slices
    finally:
        if isinstance(slices, Generator):
            slices.close()


class Evaluation:
    """
    One evaluation of a query, at some steps that are equally far apart.

    All methods raise ``QueryError`` or ``StoreError``.
    """

    def __init__(self, store: LineStore, times: Times, limits: LogqlLimits, budget: QueryBudget) -> None:
        self._store = store
        self._times = times
        self._limits = limits
        self._budget = budget

    def vector(self, query: MetricQuery) -> Vector:
        """Return the series of a query."""
        return self._vector(query, frozenset(), None)

    def _vector(self, query: MetricQuery, wanted: frozenset[str], additive: Grouping | None) -> Vector:
        """
        Return the series of a query.

        ``wanted`` are labels by which an aggregation groups: structured metadata makes no series otherwise. With
        ``additive`` the lines of a group are counted together, for their sum is all that is wanted.
        """
        match query:
            case NumberLiteral(value=value) | VectorLiteral(value=value):
                return {Labels(): self._constant(value)}
            case RangeAggregation():
                return self._range(query, wanted, additive)
            case VectorAggregation(operator=operator, inner=inner, grouping=grouping, parameter=parameter):
                if not grouping.without:
                    wanted |= frozenset(grouping.labels)
                is_additive = operator == "sum" and isinstance(inner, RangeAggregation) and inner.function in ADDITIVE
                vector = self._vector(inner, wanted, grouping if is_additive else None)
                return aggregate(vector, operator, grouping, parameter)
            case BinaryExpression():
                return self._binary(query, wanted)

    def _constant(self, value: float) -> Points:
        return Points(np.full(len(self._times), value), np.ones(len(self._times), np.bool_))

    def _binary(self, query: BinaryExpression, wanted: frozenset[str]) -> Vector:
        for number, other, is_left in ((query.left, query.right, True), (query.right, query.left, False)):
            if isinstance(number, NumberLiteral):
                return combine_number(
                    query.operator,
                    self._vector(other, wanted, None),
                    number.value,
                    is_left=is_left,
                    returns_bool=query.bool,
                )
        left, right = self._vector(query.left, wanted, None), self._vector(query.right, wanted, None)
        return combine(query.operator, left, right, returns_bool=query.bool)

    def _range(self, query: RangeAggregation, wanted: frozenset[str], additive: Grouping | None) -> Vector:
        ends = self._times - query.offset
        windows = Windows(ends - query.span, ends)
        if query.unwrap:
            return self._over_samples(query, windows, wanted, additive)
        if query.function == "absent_over_time":
            return self._absent(query, windows)
        vector: dict[Labels, Points] = {}
        for labels, counts in self._counts(query, windows, wanted, additive).items():
            lines, sizes = counts.totals(windows)
            values = sizes if query.function.startswith("bytes") else lines
            if query.function in {"rate", "bytes_rate"}:
                values = values / windows.seconds
            self._budget.spend(len(values))
            vector[labels] = Points(values, lines > 0)
        return vector

    def _absent(self, query: RangeAggregation, windows: Windows) -> Vector:
        """Return 1 where there is no line, with the labels that the selector demands."""
        counts = self._counts(query, windows, frozenset(), Grouping())
        lines = sum((it.totals(windows)[0] for it in counts.values()), np.zeros(len(self._times)))
        labels = Labels((it.name, it.value) for it in query.query.matchers if it.operator is MatchOperator.EQUAL)
        return {labels: Points(np.ones(len(lines)), lines == 0)}

    def _counts(
        self, query: RangeAggregation, windows: Windows, wanted: frozenset[str], additive: Grouping | None
    ) -> dict[Labels, LineCounts]:
        """Return how many lines each series has, in bins of time of which none crosses the end of a window."""
        found = plan(query.query)
        step, selection = self.step(query), _selection(found, windows)
        counted = self._counted(query, found, selection, step, wanted)
        series: dict[Labels, LineCounts] = {}
        first = selection.start
        for labels, at, lines, size in counted:
            key = labels if additive is None else vectors.group(labels, additive)
            counts = series.get(key)
            if counts is None:
                counts = series[key] = LineCounts()
                self._limits.check_series(len(series), factor=INTERMEDIATE_SERIES)
            if counts.add(max(at - at % step, first), lines, size):
                self._budget.spend(1)
        return series

    def _counted(
        self, query: RangeAggregation, found: Plan, selection: LineSelection, step: int, wanted: frozenset[str]
    ) -> Iterator[tuple[Labels, int, int, int]]:
        """Yield the labels of lines, their time, how many there are, and their bytes."""
        if needs_metadata(wanted) or not all(isinstance(it, LabelSelection) for it in found.stages):
            return self._lines_by_series(found, selection, wanted)
        return self._counts_by_stream(found, selection, step)

    def step(self, query: RangeAggregation) -> int:
        """Return the widest bin of time (milliseconds) that ends with every window."""
        if len(self._times) == 1:
            return query.span
        start, second = self._times[:2].tolist()
        return math.gcd(query.span, query.offset, second - start, start)

    def _counts_by_stream(
        self, found: Plan, selection: LineSelection, step: int
    ) -> Iterator[tuple[Labels, int, int, int]]:
        """Return counts that the store makes without reading lines."""
        stages = compile_stages(found.stages)
        with closed(self._store.count(selection, step)) as slices:
            for counts in slices:
                self._budget.check()
                for count in counts:
                    yield Labels(labels_of_stream(count.stream, stages)), count.at, count.lines, count.bytes

    def _lines_by_series(
        self, found: Plan, selection: LineSelection, wanted: frozenset[str]
    ) -> Iterator[tuple[Labels, int, int, int]]:
        for stored, record in self._records(found, selection):
            yield _series(record, wanted), stored.position.at, 1, len(record.text.encode(errors="replace"))

    def _over_samples(
        self, query: RangeAggregation, windows: Windows, wanted: frozenset[str], additive: Grouping | None
    ) -> Vector:
        """Return a function of the values that ``unwrap`` reads in each window."""
        grouping = query.grouping or additive
        if query.grouping and not query.grouping.without:
            wanted |= frozenset(query.grouping.labels)
        series: dict[Labels, Samples] = {}
        for at, labels, value in self._samples(query, windows, wanted):
            key = labels if grouping is None else vectors.group(labels, grouping)
            samples = series.get(key)
            if samples is None:
                samples = series[key] = Samples()
                self._limits.check_series(len(series), factor=INTERMEDIATE_SERIES)
            self._budget.spend(1)
            samples.add(at, value)
        vector = {}
        for labels, samples in series.items():
            self._budget.spend(len(self._times))
            values, present = samples.fold(windows, _function(query, windows))
            vector[labels] = Points(values, present)
        return vector

    def _samples(
        self, query: RangeAggregation, windows: Windows, wanted: frozenset[str]
    ) -> Iterator[tuple[int, Labels, float]]:
        unwrap, found = query.unwrap, plan(query.query)
        assert unwrap is not None  # noqa: S101  # for mypy
        filters = compile_stages(query.filters)
        for stored, record in self._records(found, _selection(found, windows)):
            if not record.has(unwrap.name):
                continue
            text = record.value(unwrap.name)
            value = parse_quantity(text, unwrap.unit)
            if value is None:
                record.fail("SampleExtractionErr", f"{unwrap.name}={text[:100]!r} is no {unwrap.unit.value}")
            record.drop(frozenset({unwrap.name}))
            if run_stages(filters, record):
                yield stored.position.at, _series(record, wanted), 0.0 if value is None else value

    def _records(self, found: Plan, selection: LineSelection) -> Iterator[tuple[StoredLine, Record]]:
        """Return the lines that a pipeline leaves, oldest first."""
        pipeline = LinePipeline(found.stages)
        with closed(self._store.search(selection, ALL, Direction.FORWARD)) as slices:
            for part in slices:
                self._budget.check()
                for place, stored in enumerate(part.lines):
                    if place % CHECK_EVERY == 0:
                        self._budget.check()
                    if record := pipeline.run(stored):
                        yield stored, record


def needs_metadata(wanted: frozenset[str]) -> bool:
    """Tell whether some of the labels by which lines are grouped are none of their streams."""
    return not wanted <= {*STREAM_LABELS, ERROR, ERROR_DETAILS}


def labels_of_stream(stream: LogStream, stages: Sequence[RunStage]) -> Mapping[str, str]:
    """Return the labels of a stream after stages that only select labels."""
    record = Record(_NO_LINE, "", stream_labels(stream), {})
    run_stages(stages, record)
    return record.stream


def _selection(found: Plan, windows: Windows) -> LineSelection:
    return found.selection(int(windows.starts[0]), int(windows.ends[-1]))


def _function(query: RangeAggregation, windows: Windows) -> Callable[[np.ndarray], float]:
    if query.function == "rate":
        return lambda values: float(values.sum()) / windows.seconds
    return quantile(query.parameter) if query.function == "quantile_over_time" else FUNCTIONS[query.function]


def _series(record: Record, wanted: frozenset[str]) -> Labels:
    """
    Return the labels of the series to which a line belongs: those of its stream, and what the pipeline parsed.

    Raises ``BadQueryError`` in Loki's words for a line for which a stage failed.
    """
    metadata = {name: value for name in wanted if (value := record.metadata.get(name))}
    labels = Labels({**record.stream, **metadata, **record.parsed})
    if error := labels.get(ERROR):
        raise BadQueryError(
            f"pipeline error: '{error}' for series: '{labels.drop(ERROR, ERROR_DETAILS)}'.\n"
            f'Use a label filter to intentionally skip this error. (e.g | {ERROR}!="{error}").\n'
            f'To skip all potential errors you can match empty errors.(e.g {ERROR}="")\n'
            f'The label filter can also be specified after unwrap. (e.g | unwrap latency | {ERROR}="" )\n'
        )
    return labels
