"""What Fly's managed Prometheus knows of an organisation's machines: https://fly.io/docs/monitoring/metrics/."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from toban.collect.collectors.host import (
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
    share,
)
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry, plus
from toban.core.samples import MetricFamily, MetricType, Sample, gauge

BURST: Final = gauge(
    "fly_machine_cpu_burst_seconds", "Processor time above its share that a machine may take.", "seconds"
)
VOLUME_USED: Final = gauge("fly_volume_used_ratio", "The share of a volume that is in use.")
RESPONSES: Final = MetricFamily(
    "fly_edge_http_responses_count", MetricType.COUNTER, "Responses that visitors got from Fly's edge."
)
LATENCY: Final = MetricFamily(
    "fly_edge_http_response_time_seconds", MetricType.HISTOGRAM, "How long visitors waited at Fly's edge.", "seconds"
)

CENTISECONDS: Final = 0.01
IDLE: Final = frozenset({"idle", "iowait"})
"""What processors do when they have nothing to do: also waiting for a disk, as `host` has it."""

ASKED: Final = (
    *("memory_mem_total", "memory_mem_available", "memory_mem_free", "memory_buffers", "memory_cached"),
    *("memory_swap_total", "memory_swap_free", "load_average", "cpu", "cpu_balance"),
    *("filesystem_blocks", "filesystem_block_size", "filesystem_blocks_free", "filesystem_blocks_avail"),
    *("net_recv_bytes", "net_sent_bytes", "net_recv_errs", "net_recv_drop", "net_sent_errs", "net_sent_drop"),
)
"""What is asked for of each machine, in one question."""

Series = Sequence[tuple[Mapping[str, str], float]]
"""An instant vector: labels, with the name, and numbers."""


def machines_question(apps: Sequence[str]) -> str:
    """Return the one question for everything that each machine tells of itself, and each volume."""
    names = "|".join([*(f"fly_instance_{name}" for name in ASKED), "fly_volume_used_pct"])
    return f'{{__name__=~"{names}",{_of(apps)}}}'


def edge_questions(apps: Sequence[str], seconds: int) -> dict[str, str]:
    """
    Return the questions for what the edge has counted in so many seconds: responses, the buckets, and the sum.

    It is asked for what was added rather than for the counters: those of a proxy end when it starts anew, and their
    sum over all proxies then says less than before.
    """

    def added(name: str, by: str) -> str:
        return f"sum by ({by}) (increase({name}{{{_of(apps)}}}[{seconds}s]))"

    return {
        "responses": added(RESPONSES.name, "app, region, status"),
        "buckets": added(f"{LATENCY.name}_bucket", "app, status, le"),
        "sum": added(f"{LATENCY.name}_sum", "app, status"),
    }


def vector(told: Any, asked: str) -> Series:
    """Return an answer's series. Raises ``CollectError`` when it is no instant vector."""
    try:
        if told["status"] != "success" or told["data"]["resultType"] != "vector":
            raise CollectError(f"{asked}: {str(told.get('error', 'no vector'))[:200]}")
        found = [(dict(one["metric"]), float(one["value"][1])) for one in told["data"]["result"]]
        for labels, _ in found:
            _bound(labels)
        return found
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CollectError(f"{asked}: the answer is not what Prometheus' API says") from error


@dataclass(slots=True)
class Readings:
    """What machines tell of themselves, and their processors' times of the look before."""

    busy: dict[str, tuple[float, float]] = field(default_factory=dict)

    def samples(self, series: Series, running: frozenset[str]) -> Iterator[Sample]:
        """
        Return the numbers of the machines that run, under the names that `host` has for its own.

        A machine that has stopped still has its last numbers over there for some minutes.
        """
        machines: dict[str, _Reading] = {}
        for labels, value in series:
            name = labels.get("__name__", "").removeprefix("fly_instance_")
            if name == "fly_volume_used_pct":
                yield VOLUME_USED.sample(value / 100, volume=labels.get("id", ""), **_where(labels))
            elif (instance := labels.get("instance", "")) in running:
                reading = machines.setdefault(instance, _Reading({"instance": instance, **_where(labels)}))
                reading.note(name, labels, value)
        for instance, reading in machines.items():
            yield from reading.samples()
            if reading.cores:
                now = reading.processors()
                before = self.busy.get(instance)
                if before and now[1] > before[1]:
                    yield CPU.sample(share(before, now), **reading.labels)
                self.busy[instance] = now
        self.busy = {instance: times for instance, times in self.busy.items() if instance in machines}


@dataclass(slots=True)
class _Reading:
    """One machine's numbers, as they came."""

    labels: dict[str, str]
    plain: dict[str, float] = field(default_factory=dict)
    by: dict[str, dict[str, float]] = field(default_factory=dict)
    cores: set[str] = field(default_factory=set)

    def note(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Take a number."""
        told_by = next((labels[label] for label in ("mode", "mount", "device", "minutes") if label in labels), None)
        if name == "cpu":
            self.cores.add(labels.get("cpu_id", ""))
        if told_by is None:
            self.plain[name] = value
        else:
            one = self.by.setdefault(name, {})
            one[told_by] = one.get(told_by, 0.0) + value

    def processors(self) -> tuple[float, float]:
        """Return the seconds that its processors were busy, and all their seconds."""
        modes = self.by.get("cpu", {})
        whole = sum(modes.values())
        idle = sum(value for mode, value in modes.items() if mode in IDLE)
        return (whole - idle) * CENTISECONDS, whole * CENTISECONDS

    def samples(self) -> Iterator[Sample]:
        """Return its numbers; what is missing over there is missing here."""
        plain = self.plain
        if "memory_mem_total" in plain:
            parts = ("memory_mem_free", "memory_buffers", "memory_cached")
            free = plain.get("memory_mem_available", sum(plain.get(part, 0.0) for part in parts))
            yield MEMORY.sample(plain["memory_mem_total"] - free, **self.labels)
            yield MEMORY_SIZE.sample(plain["memory_mem_total"], **self.labels)
        if "memory_swap_total" in plain and "memory_swap_free" in plain:
            yield SWAP.sample(plain["memory_swap_total"] - plain["memory_swap_free"], **self.labels)
        if "cpu_balance" in plain:
            yield BURST.sample(plain["cpu_balance"] * CENTISECONDS, **self.labels)
        if self.cores:
            yield CPUS.sample(len(self.cores), **self.labels)
        for minutes, load in self.by.get("load_average", {}).items():
            yield LOAD.sample(load, minutes=minutes, **self.labels)
        yield from self._disks()
        yield from self._network()

    def _disks(self) -> Iterator[Sample]:
        parts = ("filesystem_block_size", "filesystem_blocks", "filesystem_blocks_free", "filesystem_blocks_avail")
        of = [self.by.get(part, {}) for part in parts]
        for mount in set(of[0]).intersection(*of[1:]):
            size, blocks, free, available = (part[mount] for part in of)
            yield DISK.sample((blocks - free) * size, mount=mount, **self.labels)
            yield DISK_SIZE.sample(blocks * size, mount=mount, **self.labels)
            yield DISK_AVAILABLE.sample(available * size, mount=mount, **self.labels)

    def _network(self) -> Iterator[Sample]:
        for name, family in (("net_recv_bytes", RECEIVED), ("net_sent_bytes", SENT)):
            for device, value in self.by.get(name, {}).items():
                if device != "lo":
                    yield family.sample(value, device=device, **self.labels)
        faults: dict[str, float] = {}
        for name in ("net_recv_errs", "net_recv_drop", "net_sent_errs", "net_sent_drop"):
            for device, value in self.by.get(name, {}).items():
                faults[device] = faults.get(device, 0.0) + value
        for device, value in faults.items():
            if device != "lo":
                yield NETWORK_ERRORS.sample(value, device=device, **self.labels)


class Edge:
    """What Fly's edge has counted since this began: increases, added up."""

    def __init__(self) -> None:
        self.until = 0
        """How far it was asked, in seconds since the epoch."""
        self.counted = MetricRegistry()

    def add(self, answers: Mapping[str, Series]) -> None:
        """Add what was counted in a window."""
        for labels, value in answers["responses"]:
            self.counted.add(RESPONSES, max(value, 0.0), **labels)
        buckets: dict[tuple[str, str], dict[float, float]] = {}
        for labels, value in answers["buckets"]:
            buckets.setdefault(_visit(labels), {})[_bound(labels)] = max(value, 0.0)
        sums = {_visit(labels): value for labels, value in answers["sum"]}
        for visit, below in buckets.items():
            app, status = visit
            bounds = sorted(below)
            cell = self.counted.histogram(replace(LATENCY, buckets=tuple(bounds[:-1])), app=app, status=status)
            # What Fly adds to its bounds later is counted up to those that it began with.
            before = 0.0
            for bound in bounds:
                place = bisect_left(cell.bounds, bound)
                cell.counts[place] = plus(cell.counts[place], max(below[bound] - before, 0.0))
                before = max(below[bound], before)
            cell.total = plus(cell.total, max(sums.get(visit, 0.0), 0.0))
            cell.counted = True


def _bound(labels: Mapping[str, str]) -> float:
    """Return a bucket's bound. Raises ``ValueError`` when it is no number."""
    bound = float(labels.get("le", "+Inf"))
    if math.isnan(bound):
        raise ValueError("a bucket without a bound")
    return bound


def _of(apps: Sequence[str]) -> str:
    return f'app=~"{"|".join(apps)}"'


def _where(labels: Mapping[str, str]) -> dict[str, str]:
    return {"app": labels.get("app", ""), "region": labels.get("region", "")}


def _visit(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("app", ""), labels.get("status", "")
