"""Counts stored lines for the metrics of `logs.metrics`."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from toban.core.log_line import LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter
from toban.instruments.cardinality import OTHER, CardinalityLimits
from toban.logs.custom_metric_settings import LineMetricSettings
from toban.logs.line_store import StoredLine
from toban.logs.logql.plan import LinePipeline, line_matcher, plan
from toban.logs.logql.records import Record
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


@dataclass(slots=True)
class Counted:
    """What one metric has counted in a batch of lines."""

    metric: "LineMetric"
    values: MetricRegistry = field(default_factory=MetricRegistry)
    rejected: int = 0


class _LastText:
    """Keeps the text of the last line: all metrics search the same lines, one after the other."""

    def __init__(self) -> None:
        self._line: LogLine | None = None
        self._text = ""

    def __call__(self, line: LogLine) -> str:
        if self._line is not line:
            self._line, self._text = line, searched_text(line)
        return self._text


class LineMetric:
    """One metric: which lines it counts, and under which labels. Only the thread that stores lines counts with it."""

    def __init__(self, settings: LineMetricSettings, text_of: Callable[[LogLine], str], meters: MetricRegistry) -> None:
        """Raises ``ParseError`` for a query that the settings would have rejected."""
        self.settings = settings
        self.family = settings.family
        found = plan(parse_search(settings.query))
        self._matches = line_matcher(found, text_of)
        self._pipeline = LinePipeline(found.stages)
        self._limits = CardinalityLimits(meters, dict.fromkeys(settings.labels, LABEL_VALUES))
        self._series = set[tuple[str, ...]]()

    def count(self, stored: StoredLine, counted: Counted) -> None:
        """Count a line if the query finds it."""
        if not self._matches(stored) or not (record := self._pipeline.run(stored)):
            return
        amount = _number(record.value(self.settings.value)) if self.settings.value else 1.0
        if amount is None:
            counted.rejected += 1
        elif self.settings.kind == "counter":
            counted.values.add(self.family, amount, **self._labels(record))
        else:
            counted.values.observe(self.family, amount, **self._labels(record))

    def _labels(self, record: Record) -> dict[str, str]:
        names = self.settings.labels
        found = tuple(self._limits.limited(name, record.value(name)) for name in names)
        if found not in self._series:
            if len(self._series) >= MAX_SERIES:
                return dict.fromkeys(names, OTHER)
            self._series.add(found)
        return dict(zip(names, found, strict=True))


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
        self._text_of = _LastText()
        self._metrics: tuple[LineMetric, ...] = ()
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
        self._metrics = tuple(before.get(it.name) or LineMetric(it, self._text_of, self._meters) for it in settings)
        for metric in self._metrics:
            if metric.settings.labels:
                continue
            if metric.settings.kind == "counter":
                self._registry.scalar(metric.family)
            else:
                self._registry.histogram(metric.family)

    def count(self, lines: Sequence[StoredLine]) -> list[Counted]:
        """Return what each metric counts in lines that were just stored."""
        counted = [Counted(metric) for metric in self._metrics]
        for stored in lines if counted else ():
            for one in counted:
                one.metric.count(stored, one)
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


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
