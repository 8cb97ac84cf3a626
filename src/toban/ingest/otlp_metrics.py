"""Exposes OTLP metrics by process, under Prometheus' names."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from toban.core import input_limits
from toban.core.metric_registry import MetricRegistry, plus
from toban.core.ports import Clock
from toban.core.samples import ABSENT, Amount, MetricFamily, MetricType
from toban.ingest import metric_families as own_families
from toban.ingest.metric_families import POOL, PROCESS
from toban.ingest.otlp_model import (
    ACCEPTED,
    COLLISION,
    LIMIT,
    MALFORMED,
    NEGATIVE,
    MalformedError,
    Metric,
    MetricPoint,
    MetricShape,
    Outcome,
    Reporter,
    ReporterRole,
    ScopeGroup,
)
from toban.ingest.prometheus_names import current_convention, metric_name, point_labels, series_origin
from toban.ingest.span_metrics import BATCH, SpanMetrics
from toban.instruments import metric_families as shop_families

EXPIRY_SECONDS: Final = 300.0
"""Seconds without metrics after which a process has ended, and its series with it.

So long, no other series can have the labels of one.
"""

MAX_SERIES: Final = 5_000
"""Series of all processes together."""

MAX_PROCESSES: Final = 200
"""Processes that push metrics at the same time."""

MAX_BOUNDS: Final = 100
"""Bounds of a histogram."""

MAX_POOL_SERIES: Final = 100
"""Series of the connection pools of one process."""

POOL_COUNT, POOL_WAITING = "db.client.connection.count", "db.client.connection.pending_requests"
POOL_STATE: Final = "db_client_connection_state"

RESERVED_NAMES: Final = frozenset(
    value.name
    for module in (shop_families, own_families)
    for value in vars(module).values()
    if isinstance(value, MetricFamily)
)
"""Names of toban's own metric families."""

Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class ReportedSeries:
    """A series of a process: its family, what identifies it there (`series_origin`), and its last report."""

    family: MetricFamily
    origin: int
    last_report: float


@dataclass(slots=True)
class ReportingProcess:
    """A process that pushes metrics: its role, its last report, its series, and its connection pools."""

    role: ReporterRole
    last_report: float = 0
    series: dict[Series, ReportedSeries] = field(default_factory=dict)
    pool: dict[Series, float] = field(default_factory=dict)


class OtlpMetrics:
    """Keeps the metrics that processes push; their series end when the process does."""

    def __init__(
        self, meters: MetricRegistry, span_metrics: SpanMetrics, clock: Clock, max_series: int = MAX_SERIES
    ) -> None:
        self._meters = meters
        self._span_metrics = span_metrics
        self._clock = clock
        self._max_series = max_series
        self._processes: dict[tuple[str, str], ReportingProcess] = {}
        self._families: dict[str, MetricFamily] = {}

    def metrics(self, groups: Iterable[ScopeGroup[Metric]]) -> Iterator[Outcome]:
        """Record metrics, some at a time, and yield their outcome."""
        for group in groups:
            reporter = self._span_metrics.reporter_of(group.resource)
            self._span_metrics.record_alive(reporter)
            process = self._process(reporter)
            for raw in group.items:
                try:
                    metric = group.read(raw)
                except MalformedError:
                    yield Outcome({MALFORMED: 1})
                    continue
                yield Outcome(metric.rejected)
                points = iter(metric.points)
                while some := list(islice(points, BATCH)):
                    yield self._record_points(reporter, process, metric, some)
            self._update_pool()

    def expire(self) -> None:
        """End the series of processes that have stopped pushing."""
        earliest = self._clock.monotonic() - EXPIRY_SECONDS
        for key, process in list(self._processes.items()):
            if process.last_report <= earliest:
                for (_, pairs), series in process.series.items():
                    self._meters.remove(series.family, **dict(pairs))
                service, instance = key
                self._meters.remove(PROCESS, job=service, instance=instance, role=process.role.value)
                del self._processes[key]
                self._update_pool()

    def _process(self, reporter: Reporter) -> ReportingProcess | None:
        """Return the process that pushes, or None when there are too many."""
        key = reporter.service, reporter.instance
        if key not in self._processes and len(self._processes) >= MAX_PROCESSES:
            return None
        process = self._processes.setdefault(key, ReportingProcess(reporter.role))
        process.last_report = self._clock.monotonic()
        self._meters.set(PROCESS, 1, job=reporter.service, instance=reporter.instance, role=reporter.role.value)
        return process

    def _record_points(
        self, reporter: Reporter, process: ReportingProcess | None, metric: Metric, points: Sequence[MetricPoint | None]
    ) -> Outcome:
        if process is None:
            return Outcome({LIMIT: len(points)})
        outcome = Outcome()
        target = {"job": reporter.service, "instance": reporter.instance}
        family, reason = self._family(metric)
        for point in points:
            if family is None or point is None or not _is_valid(point):
                outcome[reason or MALFORMED] += 1
                continue
            labels = point_labels(point.attributes, metric)
            result = self._record(process, family, labels | target, metric, point)
            outcome[result] += 1
            if result == ACCEPTED and reporter.role is ReporterRole.SERVER:
                value = self._meters.value(family, **labels, **target) if point.recorded else None
                _record_pool(process, metric, labels, value)
        return outcome

    def _family(self, metric: Metric) -> tuple[MetricFamily | None, str]:
        """Return a metric's family, or None and the reason when its name is invalid or in use."""
        name = metric_name(metric)
        known = self._families.get(name)
        type_ = _type(metric)
        if known is not None:
            return (known, "") if known.type is type_ else (None, COLLISION)
        if not name or name.startswith("toban_"):
            return None, MALFORMED
        parts = {name + suffix for suffix in ("", "_bucket", "_sum", "_count")}
        stems = {name.removesuffix(suffix) for suffix in ("_bucket", "_sum", "_count")}
        if parts & (RESERVED_NAMES | self._families.keys()) or stems & self._families.keys():
            return None, COLLISION
        if len(self._families) >= self._max_series:
            return None, LIMIT
        unit = next((unit for unit in ("seconds", "bytes") if name.removesuffix("_total").endswith(unit)), "")
        self._families[name] = MetricFamily(name, type_, metric.description[:300], unit)
        return self._families[name], ""

    def _record(
        self,
        process: ReportingProcess,
        family: MetricFamily,
        labels: Mapping[str, str],
        metric: Metric,
        point: MetricPoint,
    ) -> str:
        """Record a point, and return its outcome."""
        if _is_invalid_delta(metric, point):
            return NEGATIVE
        if input_limits.SERIES.exceeded(labels):
            return LIMIT
        key, now = (family.name, tuple(sorted(labels.items()))), self._clock.monotonic()
        known, origin = process.series.get(key), series_origin(point.attributes, metric)
        if known and known.origin != origin and known.last_report > now - EXPIRY_SECONDS:
            return COLLISION
        _, scale = current_convention(metric)
        bounds = tuple(round(bound * scale, 9) if scale != 1 else bound for bound in point.bounds)
        replaced = known and (known.origin != origin or (point.recorded and known.family.buckets != bounds))
        if known and (replaced or not point.recorded):
            # It has ended, or its process restarted with other buckets, or another series has its labels now.
            self._meters.remove(known.family, **labels)
            del process.series[key]
            known = None
        if not point.recorded:
            return ACCEPTED
        if known is None:
            if sum(len(process.series) for process in self._processes.values()) >= self._max_series:
                return LIMIT
            known = process.series[key] = ReportedSeries(replace(family, buckets=bounds), origin, now)
        known.last_report = now
        self._set(known.family, labels, metric, point, scale)
        return ACCEPTED

    def _set(
        self, family: MetricFamily, labels: Mapping[str, str], metric: Metric, point: MetricPoint, scale: float
    ) -> None:
        if family.type is MetricType.HISTOGRAM:
            self._set_histogram(family, labels, metric, point, scale)
        elif point.value is not None and metric.delta:
            self._meters.add(family, point.value * scale, **labels)
        elif point.value is not None:
            self._meters.set(family, point.value * scale, **labels)

    def _set_histogram(
        self, family: MetricFamily, labels: Mapping[str, str], metric: Metric, point: MetricPoint, scale: float
    ) -> None:
        """Set a histogram. One that has no sum, or had none before, has none: its values have no mean."""
        cumulative, total_count = list[Amount](), 0.0
        for count in point.counts:
            total_count += count
            cumulative.append(total_count)
        total: Amount = ABSENT if point.value is None else point.value * scale
        values: list[Amount] = [*cumulative, total, total_count]
        if metric.delta:
            before = self._meters.histogram(family, **labels).values()
            values = [
                ABSENT if math.isnan(old) or math.isnan(new) else plus(old, new)
                for old, new in zip(before, values, strict=True)
            ]
        self._meters.restore(family, values, **labels)

    def _update_pool(self) -> None:
        """Sum the connection pools of the shop's servers."""
        states: dict[str, float] = {}
        for process in self._processes.values():
            for (name, pairs), value in process.pool.items():
                state = dict(pairs).get(POOL_STATE, "")
                names = ["waiting"] if name == POOL_WAITING else ["total", *(["idle"] if state == "idle" else [])]
                for pool_state in names:
                    states[pool_state] = states.get(pool_state, 0) + value
        for state in ("total", "idle", "waiting"):
            if state in states:
                self._meters.set(POOL, states[state], state=state)
            else:
                self._meters.remove(POOL, state=state)


def _record_pool(process: ReportingProcess, metric: Metric, labels: Mapping[str, str], value: float | None) -> None:
    name, _ = current_convention(metric)
    key = name, tuple(sorted(labels.items()))
    if value is None:
        process.pool.pop(key, None)
    elif name in {POOL_COUNT, POOL_WAITING} and len(process.pool) < MAX_POOL_SERIES:
        process.pool[key] = value


def _type(metric: Metric) -> MetricType:
    if metric.shape is MetricShape.HISTOGRAM:
        return MetricType.HISTOGRAM
    return MetricType.COUNTER if metric.shape is MetricShape.SUM and metric.monotonic else MetricType.GAUGE


def _is_invalid_delta(metric: Metric, point: MetricPoint) -> bool:
    """Return whether a delta would decrease a counter, or make a value infinite for good."""
    if not metric.delta or point.value is None:
        return False
    return math.isinf(point.value) or (metric.shape is MetricShape.SUM and metric.monotonic and point.value < 0)


def _is_valid(point: MetricPoint) -> bool:
    """Return whether a point can be a sample: one kind of NaN would mean the end of a series."""
    return (
        (point.value is None or not math.isnan(point.value))
        and len(point.bounds) <= MAX_BOUNDS
        and all(map(math.isfinite, point.bounds))
        and len(set(point.bounds)) == len(point.bounds)
    )
