"""What processes tell of themselves: OpenTelemetry's metrics, by process, under Prometheus' names."""

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
    ReporterRole,
    ScopeGroup,
)
from toban.ingest.prometheus_names import current_convention, metric_name, point_labels, series_origin
from toban.ingest.span_metrics import SLICE, Reporter, SpanMetrics
from toban.instruments import metric_families as shop_families

SILENCE: Final = 300.0
"""Seconds after which a process that tells nothing any more has ended, and its series with it.

So long a series keeps its labels for itself, too.
"""

MOST: Final = 5_000
"""Series of all processes together."""

TELLERS: Final = 200
"""Processes that may tell of themselves at the same time."""

BUCKETS: Final = 100
"""Bounds that a histogram may have."""

COUNT, WAITING = "db.client.connection.count", "db.client.connection.pending_requests"
STATE: Final = "db_client_connection_state"

TAKEN: Final = frozenset(
    value.name
    for module in (shop_families, own_families)
    for value in vars(module).values()
    if isinstance(value, MetricFamily)
)
"""Names that mean something already."""

Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class ReportedSeries:
    """A series that a process tells: its family, where it comes from (`series_origin`), and when it last came."""

    family: MetricFamily
    origin: int
    last_report: float


@dataclass(slots=True)
class ReportingProcess:
    """A process that tells of itself: what it is to the shop, when it last did, its series, and its pool's numbers."""

    role: ReporterRole
    last_report: float = 0
    series: dict[Series, ReportedSeries] = field(default_factory=dict)
    pool: dict[Series, float] = field(default_factory=dict)


class OtlpMetrics:
    """Passes on the numbers that processes counted themselves; they end when the process does."""

    def __init__(self, meters: MetricRegistry, deriving: SpanMetrics, clock: Clock, most: int = MOST) -> None:
        self._meters = meters
        self._deriving = deriving
        self._clock = clock
        self._most = most
        self._tellers: dict[tuple[str, str], ReportingProcess] = {}
        self._families: dict[str, MetricFamily] = {}

    def metrics(self, groups: Iterable[ScopeGroup[Metric]]) -> Iterator[Outcome]:
        """Take in metrics, a slice at a time."""
        for group in groups:
            process = self._deriving.reporter_of(group.resource)
            self._deriving.record_alive(process)
            teller = self._teller(process)
            for raw in group.items:
                try:
                    metric = group.read(raw)
                except MalformedError:
                    yield Outcome({MALFORMED: 1})
                    continue
                yield Outcome(metric.rejected)
                points = iter(metric.points)
                while some := list(islice(points, SLICE)):
                    yield self._points(process, teller, metric, some)
            self._pool()

    def expire(self) -> None:
        """End the series of processes that are silent for long."""
        earliest = self._clock.monotonic() - SILENCE
        for key, teller in list(self._tellers.items()):
            if teller.last_report <= earliest:
                for (_, pairs), told in teller.series.items():
                    self._meters.remove(told.family, **dict(pairs))
                service, instance = key
                self._meters.remove(PROCESS, job=service, instance=instance, role=teller.role.value)
                del self._tellers[key]
                self._pool()

    def _teller(self, process: Reporter) -> ReportingProcess | None:
        """Return who tells; nobody, when there are too many already."""
        key = process.service, process.instance
        if key not in self._tellers and len(self._tellers) >= TELLERS:
            return None
        teller = self._tellers.setdefault(key, ReportingProcess(process.role))
        teller.last_report = self._clock.monotonic()
        self._meters.set(PROCESS, 1, job=process.service, instance=process.instance, role=process.role.value)
        return teller

    def _points(
        self, process: Reporter, teller: ReportingProcess | None, metric: Metric, points: Sequence[MetricPoint | None]
    ) -> Outcome:
        if teller is None:
            return Outcome({LIMIT: len(points)})
        outcome = Outcome()
        target = {"job": process.service, "instance": process.instance}
        family, why = self._family(metric)
        for point in points:
            if family is None or point is None or not _sound(point):
                outcome[why or MALFORMED] += 1
                continue
            found = point_labels(point.attributes, metric)
            became = self._take(teller, family, found | target, metric, point)
            outcome[became] += 1
            if became == ACCEPTED and process.role is ReporterRole.SERVER:
                stands = self._meters.value(family, **found, **target) if point.recorded else None
                _pooled(teller, metric, found, stands)
        return outcome

    def _family(self, metric: Metric) -> tuple[MetricFamily | None, str]:
        """Return what a metric is here; nothing but the reason when its name can't be, or means something else."""
        called = metric_name(metric)
        known = self._families.get(called)
        sort = _type(metric)
        if known is not None:
            return (known, "") if known.type is sort else (None, COLLISION)
        if not called or called.startswith("toban_"):
            return None, MALFORMED
        parts = {called + suffix for suffix in ("", "_bucket", "_sum", "_count")}
        stems = {called.removesuffix(suffix) for suffix in ("_bucket", "_sum", "_count")}
        if parts & (TAKEN | self._families.keys()) or stems & self._families.keys():
            return None, COLLISION
        if len(self._families) >= self._most:
            return None, LIMIT
        unit = next((unit for unit in ("seconds", "bytes") if called.removesuffix("_total").endswith(unit)), "")
        self._families[called] = MetricFamily(called, sort, metric.about[:300], unit)
        return self._families[called], ""

    def _take(
        self,
        teller: ReportingProcess,
        family: MetricFamily,
        found: Mapping[str, str],
        metric: Metric,
        point: MetricPoint,
    ) -> str:
        """Pass on a point, and say what became of it."""
        if _falls(metric, point):
            return NEGATIVE
        if input_limits.SERIES.exceeded(found):
            return LIMIT
        key, now = (family.name, tuple(sorted(found.items()))), self._clock.monotonic()
        known, comes_from = teller.series.get(key), series_origin(point.attributes, metric)
        if known and known.origin != comes_from and known.last_report > now - SILENCE:
            return COLLISION
        _, scale = current_convention(metric)
        steps = tuple(round(bound * scale, 9) if scale != 1 else bound for bound in point.bounds)
        anew = known and (known.origin != comes_from or (point.recorded and known.family.buckets != steps))
        if known and (anew or not point.recorded):
            # It has ended, or was started anew and counts in other steps, or is another one from now on.
            self._meters.remove(known.family, **found)
            del teller.series[key]
            known = None
        if not point.recorded:
            return ACCEPTED
        if known is None:
            if sum(len(teller.series) for teller in self._tellers.values()) >= self._most:
                return LIMIT
            known = teller.series[key] = ReportedSeries(replace(family, buckets=steps), comes_from, now)
        known.last_report = now
        self._put(known.family, found, metric, point, scale)
        return ACCEPTED

    def _put(
        self, family: MetricFamily, found: Mapping[str, str], metric: Metric, point: MetricPoint, scale: float
    ) -> None:
        if family.type is MetricType.HISTOGRAM:
            self._histogram(family, found, metric, point, scale)
        elif point.value is not None and metric.delta:
            self._meters.add(family, point.value * scale, **found)
        elif point.value is not None:
            self._meters.set(family, point.value * scale, **found)

    def _histogram(
        self, family: MetricFamily, found: Mapping[str, str], metric: Metric, point: MetricPoint, scale: float
    ) -> None:
        """Pass on a histogram. One that has no sum, or had none before, has none: its values have no mean."""
        below, many = list[Amount](), 0.0
        for count in point.counts:
            many += count
            below.append(many)
        total: Amount = ABSENT if point.value is None else point.value * scale
        values: list[Amount] = [*below, total, many]
        if metric.delta:
            before = self._meters.histogram(family, **found).values()
            values = [
                ABSENT if math.isnan(old) or math.isnan(new) else plus(old, new)
                for old, new in zip(before, values, strict=True)
            ]
        self._meters.restore(family, values, **found)

    def _pool(self) -> None:
        """Add up the pools of the shop's servers."""
        states: dict[str, float] = {}
        for teller in self._tellers.values():
            for (called, pairs), value in teller.pool.items():
                state = dict(pairs).get(STATE, "")
                names = ["waiting"] if called == WAITING else ["total", *(["idle"] if state == "idle" else [])]
                for one in names:
                    states[one] = states.get(one, 0) + value
        for state in ("total", "idle", "waiting"):
            if state in states:
                self._meters.set(POOL, states[state], state=state)
            else:
                self._meters.remove(POOL, state=state)


def _pooled(teller: ReportingProcess, metric: Metric, found: Mapping[str, str], value: float | None) -> None:
    called, _ = current_convention(metric)
    key = called, tuple(sorted(found.items()))
    if value is None:
        teller.pool.pop(key, None)
    elif called in {COUNT, WAITING} and len(teller.pool) < BUCKETS:
        teller.pool[key] = value


def _type(metric: Metric) -> MetricType:
    if metric.shape is MetricShape.HISTOGRAM:
        return MetricType.HISTOGRAM
    return MetricType.COUNTER if metric.shape is MetricShape.SUM and metric.monotonic else MetricType.GAUGE


def _falls(metric: Metric, point: MetricPoint) -> bool:
    """Tell whether a point would let fall what only grows, or make it endless for good."""
    if not metric.delta or point.value is None:
        return False
    return math.isinf(point.value) or (metric.shape is MetricShape.SUM and metric.monotonic and point.value < 0)


def _sound(point: MetricPoint) -> bool:
    """Tell whether a point can be a number of Prometheus': a NaN of a certain make means the end of a series."""
    return (
        (point.value is None or not math.isnan(point.value))
        and len(point.bounds) <= BUCKETS
        and all(map(math.isfinite, point.bounds))
        and len(set(point.bounds)) == len(point.bounds)
    )
