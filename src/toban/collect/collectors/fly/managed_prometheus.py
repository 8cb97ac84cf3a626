"""Queries to Fly's managed Prometheus, and the metrics of their results: https://fly.io/docs/monitoring/metrics/."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from toban.collect.system_metrics import (
    CPU,
    CPUS,
    DISK,
    DISK_AVAILABLE,
    DISK_SIZE,
    LOAD,
    MEMORY,
    MEMORY_SIZE,
    NETWORK_ERRORS,
    RECEIVED,
    SENT,
    SWAP,
    cpu_percent,
)
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry, plus
from toban.core.samples import Sample, counter, gauge, histogram

BURST: Final = gauge(
    "fly_machine_cpu_burst_seconds",
    "CPU time above its share that a machine may use.",
    "seconds",
    labels=("app", "region"),
)
VOLUME_USED: Final = gauge("fly_volume_used_ratio", "The used share of a volume.", labels=("app", "region", "volume"))
RESPONSE_LABELS: Final = ("app", "region", "status")
RESPONSES: Final = counter(
    "fly_edge_http_responses_count", "Responses of Fly's edge to visitors.", labels=RESPONSE_LABELS
)
LATENCY: Final = histogram(
    "fly_edge_http_response_time_seconds", "Response time of Fly's edge.", (), "seconds", labels=("app", "status")
)

CENTISECONDS: Final = 0.01
IDLE_MODES: Final = frozenset({"idle", "iowait"})
"""Modes of a CPU that count as idle: also waiting for a disk, as in `host`."""

MACHINE_METRICS: Final = (
    *("memory_mem_total", "memory_mem_available", "memory_mem_free", "memory_buffers", "memory_cached"),
    *("memory_swap_total", "memory_swap_free", "load_average", "cpu", "cpu_balance"),
    *("filesystem_blocks", "filesystem_block_size", "filesystem_blocks_free", "filesystem_blocks_avail"),
    *("net_recv_bytes", "net_sent_bytes", "net_recv_errs", "net_recv_drop", "net_sent_errs", "net_sent_drop"),
)
"""The metrics of machines, without their prefix."""

Series = Sequence[tuple[Mapping[str, str], float]]
"""An instant vector: labels, with the name, and values."""


def machines_query(apps: Sequence[str]) -> str:
    """Return one query for all metrics of machines and volumes."""
    names = "|".join([*(f"fly_instance_{name}" for name in MACHINE_METRICS), "fly_volume_used_pct"])
    return f'{{__name__=~"{names}",{_app_matcher(apps)}}}'


def edge_queries(apps: Sequence[str], seconds: int) -> dict[str, str]:
    """
    Return the queries for what the edge counted in so many seconds: responses, buckets, and sum.

    They ask for the increase rather than the counters: those of a proxy end when it restarts, and their sum over all
    proxies then falls.
    """

    def increase(name: str, by: str) -> str:
        return f"sum by ({by}) (increase({name}{{{_app_matcher(apps)}}}[{seconds}s]))"

    return {
        "responses": increase(RESPONSES.name, ", ".join(RESPONSE_LABELS)),
        "buckets": increase(f"{LATENCY.name}_bucket", "app, status, le"),
        "sum": increase(f"{LATENCY.name}_sum", "app, status"),
    }


def parse_vector(response: Any, context: str) -> Series:
    """Return a response's series. Raises ``CollectError`` when it is no instant vector."""
    try:
        if response["status"] != "success" or response["data"]["resultType"] != "vector":
            raise CollectError(f"{context}: {str(response.get('error', 'no vector'))[:200]}")
        found = [(dict(item["metric"]), float(item["value"][1])) for item in response["data"]["result"]]
        for labels, _ in found:
            _bound(labels)
        return found
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CollectError(f"{context}: the response is not one of Prometheus' API") from error


@dataclass(slots=True)
class MachineMetrics:
    """The metrics of machines, and their CPU times at the last collection."""

    cpu_times: dict[str, tuple[float, float]] = field(default_factory=dict)

    def samples(self, series: Series, running: frozenset[str]) -> Iterator[Sample]:
        """
        Yield the samples of the running machines, under the names that `host` uses.

        A stopped machine still has series in Fly's Prometheus for some minutes.
        """
        machines: dict[str, _Machine] = {}
        for labels, value in series:
            name = labels.get("__name__", "").removeprefix("fly_instance_")
            if name == "fly_volume_used_pct":
                yield VOLUME_USED.sample(value / 100, volume=labels.get("id", ""), **_app_and_region(labels))
            elif (instance := labels.get("instance", "")) in running:
                machine = machines.setdefault(instance, _Machine({"instance": instance, **_app_and_region(labels)}))
                machine.add(name, labels, value)
        for instance, machine in machines.items():
            yield from machine.samples()
            if machine.cpus:
                now = machine.cpu_time()
                before = self.cpu_times.get(instance)
                if before and now[1] > before[1]:
                    yield CPU.sample(cpu_percent(before, now), **machine.labels)
                self.cpu_times[instance] = now
        self.cpu_times = {instance: times for instance, times in self.cpu_times.items() if instance in machines}


@dataclass(slots=True)
class _Machine:
    """One machine's values."""

    labels: dict[str, str]
    values: dict[str, float] = field(default_factory=dict)
    by_label: dict[str, dict[str, float]] = field(default_factory=dict)
    cpus: set[str] = field(default_factory=set)

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a value."""
        key = next((labels[label] for label in ("mode", "mount", "device", "minutes") if label in labels), None)
        if name == "cpu":
            self.cpus.add(labels.get("cpu_id", ""))
        if key is None:
            self.values[name] = value
        else:
            values = self.by_label.setdefault(name, {})
            values[key] = values.get(key, 0.0) + value

    def cpu_time(self) -> tuple[float, float]:
        """Return the busy seconds of all CPUs, and all their seconds."""
        modes = self.by_label.get("cpu", {})
        whole = sum(modes.values())
        idle = sum(value for mode, value in modes.items() if mode in IDLE_MODES)
        return (whole - idle) * CENTISECONDS, whole * CENTISECONDS

    def samples(self) -> Iterator[Sample]:
        """Yield its samples; what Fly does not have is missing."""
        values = self.values
        if "memory_mem_total" in values:
            parts = ("memory_mem_free", "memory_buffers", "memory_cached")
            free = values.get("memory_mem_available", sum(values.get(part, 0.0) for part in parts))
            yield MEMORY.sample(values["memory_mem_total"] - free, **self.labels)
            yield MEMORY_SIZE.sample(values["memory_mem_total"], **self.labels)
        if "memory_swap_total" in values and "memory_swap_free" in values:
            yield SWAP.sample(values["memory_swap_total"] - values["memory_swap_free"], **self.labels)
        if "cpu_balance" in values:
            yield BURST.sample(values["cpu_balance"] * CENTISECONDS, **self.labels)
        if self.cpus:
            yield CPUS.sample(len(self.cpus), **self.labels)
        for minutes, load in self.by_label.get("load_average", {}).items():
            yield LOAD.sample(load, minutes=minutes, **self.labels)
        yield from self._disks()
        yield from self._network()

    def _disks(self) -> Iterator[Sample]:
        parts = ("filesystem_block_size", "filesystem_blocks", "filesystem_blocks_free", "filesystem_blocks_avail")
        by_part = [self.by_label.get(part, {}) for part in parts]
        for mount in set(by_part[0]).intersection(*by_part[1:]):
            size, blocks, free, available = (part[mount] for part in by_part)
            yield DISK.sample((blocks - free) * size, mount=mount, **self.labels)
            yield DISK_SIZE.sample(blocks * size, mount=mount, **self.labels)
            yield DISK_AVAILABLE.sample(available * size, mount=mount, **self.labels)

    def _network(self) -> Iterator[Sample]:
        for name, family in (("net_recv_bytes", RECEIVED), ("net_sent_bytes", SENT)):
            for device, value in self.by_label.get(name, {}).items():
                if device != "lo":
                    yield family.sample(value, device=device, **self.labels)
        errors: dict[str, float] = {}
        for name in ("net_recv_errs", "net_recv_drop", "net_sent_errs", "net_sent_drop"):
            for device, value in self.by_label.get(name, {}).items():
                errors[device] = errors.get(device, 0.0) + value
        for device, value in errors.items():
            if device != "lo":
                yield NETWORK_ERRORS.sample(value, device=device, **self.labels)


class EdgeCounters:
    """Counters of Fly's edge since the first collection: the sum of increases."""

    def __init__(self) -> None:
        self.until = 0
        """The end of the last window, in seconds since the epoch."""
        self.counters = MetricRegistry()

    def add(self, results: Mapping[str, Series]) -> None:
        """Add the increases of a window."""
        for labels, value in results["responses"]:
            by = {label: labels.get(label, "") for label in RESPONSE_LABELS}
            self.counters.add(RESPONSES, max(value, 0.0), **by)
        buckets: dict[tuple[str, str], dict[float, float]] = {}
        for labels, value in results["buckets"]:
            buckets.setdefault(_app_and_status(labels), {})[_bound(labels)] = max(value, 0.0)
        sums = {_app_and_status(labels): value for labels, value in results["sum"]}
        for key, cumulative in buckets.items():
            app, status = key
            bounds = sorted(cumulative)
            cell = self.counters.histogram(replace(LATENCY, buckets=tuple(bounds[:-1])), app=app, status=status)
            # Bounds that Fly adds later are counted in the buckets of the first window.
            before = 0.0
            for bound in bounds:
                index = bisect_left(cell.bounds, bound)
                cell.counts[index] = plus(cell.counts[index], max(cumulative[bound] - before, 0.0))
                before = max(cumulative[bound], before)
            cell.total = plus(cell.total, max(sums.get(key, 0.0), 0.0))
            cell.counted = True


def _bound(labels: Mapping[str, str]) -> float:
    """Return a bucket's bound. Raises ``ValueError`` when it is not a number."""
    bound = float(labels.get("le", "+Inf"))
    if math.isnan(bound):
        raise ValueError("a bucket without a bound")
    return bound


def _app_matcher(apps: Sequence[str]) -> str:
    return f'app=~"{"|".join(apps)}"'


def _app_and_region(labels: Mapping[str, str]) -> dict[str, str]:
    return {"app": labels.get("app", ""), "region": labels.get("region", "")}


def _app_and_status(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("app", ""), labels.get("status", "")
