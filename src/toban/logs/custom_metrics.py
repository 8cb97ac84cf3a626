"""Counts stored lines for the metrics of `logs.metrics`."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from toban.core.log_line import LogStream
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter
from toban.instruments.cardinality import OTHER, CardinalityLimits
from toban.logs.custom_metric_settings import LineMetricSettings
from toban.logs.filter_set import CompiledFilter, FilterSet
from toban.logs.line_store import StoredLine
from toban.logs.logql.plan import LinePipeline, plan
from toban.logs.logql.records import Record, record_of
from toban.logs.logql.simple_search import parse_search
from toban.logs.text_filter import searched_text

REJECTED: Final = counter(
    "toban_log_metric_values_rejected_total",
    "Log lines that a metric of logs.metrics found, but whose value is no number from 0 on.",
    labels=("metric",),
)

LABEL_VALUES: Final = 60
"""The most values of each label of a metric."""

MAX_SERIES: Final = 500
"""The most combinations of label values of a metric."""

MAX_STREAMS: Final = 4_096
"""Streams whose metrics are remembered."""


@dataclass(slots=True)
class Counted:
    """What one metric has counted in a batch of lines."""

    metric: "LineMetric"
    values: MetricRegistry = field(default_factory=MetricRegistry)
    amounts: dict[tuple[str, ...], float] = field(default_factory=dict)
    """What is added to a counter, by the values of its labels, before it is in `values`."""

    limited: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    """Values of labels, and what they are within the limits."""

    rejected: int = 0

    def add_amounts(self) -> None:
        """Add the amounts to the values."""
        names = self.metric.settings.labels
        for labels, amount in self.amounts.items():
            self.values.add(self.metric.family, amount, **dict(zip(names, labels, strict=True)))
        self.amounts.clear()


class _LineToCount:
    """What all metrics read of one line: it is made when the first of them needs it."""

    __slots__ = ("_filters", "_found", "_record", "stored")

    def __init__(self, stored: StoredLine, filters: FilterSet) -> None:
        self.stored = stored
        self._filters = filters
        self._found: set[int] | None = None
        self._record: Record | None = None

    def matches(self, filters: Sequence[CompiledFilter]) -> bool:
        """Tell whether all of some filters match the line."""
        if not filters:
            return True
        found = self._found
        if found is None:
            found = self._found = self._filters.found_in(searched_text(self.stored.line))
        for one in filters:  # noqa: SIM110  # a generator would take longer than the check
            if not one.matches(found):
                return False
        return True

    @property
    def record(self) -> Record:
        """The record of the line, which others share."""
        if self._record is None:
            self._record = record_of(self.stored.line)
        return self._record

    def own_record(self) -> Record:
        """Return a record that stages may change: they replace what it shares with others."""
        shared = self.record
        return Record(shared.line, shared.text, shared.stream, shared.metadata)


class LineMetric:
    """One metric: which lines it counts, and under which labels. Only the thread that stores lines counts with it."""

    def __init__(self, settings: LineMetricSettings, meters: MetricRegistry) -> None:
        """Raises ``ParseError`` for a query that the settings would have rejected."""
        self.settings = settings
        self.family = settings.family
        self.plan = plan(parse_search(settings.query))
        self._pipeline = LinePipeline(self.plan.stages)
        self._reads_record = bool(self.plan.stages or settings.labels or settings.value)
        self._limits = CardinalityLimits(meters, dict.fromkeys(settings.labels, LABEL_VALUES))
        self._series = set[tuple[str, ...]]()

    def count(self, line: _LineToCount, counted: Counted) -> None:
        """Count a line that the selector and the filters of the query find, if its stages find it too."""
        if self.plan.trace_id and line.stored.line.trace_id != self.plan.trace_id:
            return
        labels: tuple[str, ...] = ()
        amount = 1.0
        if self._reads_record:
            record = self._pipeline.changed(line.own_record()) if self.plan.stages else line.record
            if not record:
                return
            if self.settings.value:
                found = _number(record.value(self.settings.value))
                if found is None:
                    counted.rejected += 1
                    return
                amount = found
            labels = self._labels(record, counted)
        if self.settings.kind == "counter":
            counted.amounts[labels] = counted.amounts.get(labels, 0.0) + amount
        else:
            counted.values.observe(self.family, amount, **dict(zip(self.settings.labels, labels, strict=True)))

    def _labels(self, record: Record, counted: Counted) -> tuple[str, ...]:
        values = tuple(map(record.value, self.settings.labels))
        if known := counted.limited.get(values):
            return known
        found = tuple(map(self._limits.limited, self.settings.labels, values))
        if found not in self._series:
            if len(self._series) >= MAX_SERIES:
                return (OTHER,) * len(found)
            self._series.add(found)
        if OTHER not in found:  # each value over a limit is counted
            counted.limited[values] = found
        return found


class LineMetrics:
    """
    All metrics of `logs.metrics`.

    ``count`` runs in the thread that stores lines, everything else on the event loop.
    """

    def __init__(
        self, settings: Sequence[LineMetricSettings], registry: MetricRegistry, meters: MetricRegistry
    ) -> None:
        """The metrics are in ``registry``; ``meters`` are toban's own."""
        self._registry = registry
        self._meters = meters
        self._metrics: tuple[LineMetric, ...] = ()
        self._index = _Index(())
        self.configure(settings)

    def configure(self, settings: Sequence[LineMetricSettings]) -> None:
        """
        Count for these metrics from now on.

        Unchanged ones go on; the series of others end, and a changed metric starts again at 0.
        """
        before = {metric.settings.name: metric for metric in self._metrics if metric.settings in settings}
        for family, labels, _ in [*self._registry.series()]:
            if any(it.family == family and it.settings.name not in before for it in self._metrics):
                self._registry.remove(family, **labels)
        self._metrics = tuple(before.get(it.name) or LineMetric(it, self._meters) for it in settings)
        self._index = _Index(self._metrics)
        for metric in self._metrics:
            if metric.settings.labels:
                continue
            if metric.settings.kind == "counter":
                self._registry.scalar(metric.family)
            else:
                self._registry.histogram(metric.family)

    def count(self, lines: Sequence[StoredLine]) -> list[Counted]:
        """Return what each metric counts in lines that were just stored."""
        index = self._index
        counted = [Counted(metric) for metric in index.metrics]
        for stored in lines if counted else ():
            if numbers := index.of_stream(stored.line.stream):
                line = _LineToCount(stored, index.filters)
                for number in numbers:
                    if line.matches(index.filters_of[number]):
                        counted[number].metric.count(line, counted[number])
        for one in counted:
            one.add_amounts()
        return counted

    async def record(self, counted: Iterable[Counted]) -> None:
        """Add what was counted, metric by metric, except for those that were changed or removed in the meantime."""
        for one in counted:
            if one.metric in self._metrics:
                self._registry.merge(one.values)
                if one.rejected:
                    self._meters.add(REJECTED, one.rejected, metric=one.metric.settings.name)
                # A metric with all its series takes some milliseconds.
                await asyncio.sleep(0)


class _Index:
    """The metrics of a configuration by the stream that they select, and all of their filters in one set."""

    def __init__(self, metrics: Sequence[LineMetric]) -> None:
        self.metrics = metrics
        self.filters = FilterSet(it for metric in metrics for it in metric.plan.filters)
        self.filters_of = [[self.filters.compiled(it) for it in metric.plan.filters] for metric in metrics]
        self._by_stream: dict[LogStream, tuple[int, ...]] = {}

    def of_stream(self, stream: LogStream) -> tuple[int, ...]:
        """Return the numbers of the metrics that select a stream."""
        found = self._by_stream.get(stream)
        if found is None:
            if len(self._by_stream) >= MAX_STREAMS:
                self._by_stream.clear()
            found = tuple(number for number, it in enumerate(self.metrics) if it.plan.selects(stream))
            self._by_stream[stream] = found
        return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
