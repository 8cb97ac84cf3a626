"""The collector `host`: the machine that toban runs on."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import psutil

from toban.collect.collector import Collector, Scraper
from toban.collect.system_metrics import (
    BOOTED,
    CPU,
    CPUS,
    DISK,
    DISK_AVAILABLE,
    DISK_SIZE,
    KILLED,
    LOAD,
    MEMORY,
    MEMORY_SIZE,
    NETWORK_ERRORS,
    RECEIVED,
    SENT,
    SWAP,
    cpu_percent,
)
from toban.collect.tools import HasClock
from toban.core.paths import instance_name
from toban.core.ports import Clock
from toban.core.samples import Sample
from toban.core.worker_thread import WorkerThread

READ_ONLY: Final = frozenset({"squashfs", "erofs", "iso9660"})
"""File systems that are always full."""

OOM_COUNTERS: Final = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")
"""Where the kernel counts what it killed because memory ran out: in this container, else on the machine."""

FIRST_SECONDS: Final = 0.5
"""Seconds over which the first collection measures the CPU usage: there is no earlier reading."""


class Host(Collector):
    """Read the CPUs, memory, disks and network of this machine."""

    kind: Literal["host"] = "host"

    @property
    def default_instance(self) -> str:
        """The machine it runs on."""
        return instance_name(os.environ)

    def open(self, tools: HasClock) -> Scraper:
        """Keep the last reading of the CPU time."""
        return HostScraper(tools.clock)


class HostScraper(Scraper):
    """Reads this machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thread = WorkerThread()
        self._cpu_time: tuple[float, float] | None = None

    async def collect(self) -> Iterable[Sample]:
        """Read the machine's usage."""
        before = self._cpu_time
        if before is None:
            before = _cpu_time()
            await self._clock.sleep(FIRST_SECONDS)
        now = self._cpu_time = _cpu_time()
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return [
            CPU.sample(cpu_percent(before, now)),
            CPUS.sample(psutil.cpu_count() or 1),
            *(
                LOAD.sample(load, minutes=minutes)
                for load, minutes in zip(psutil.getloadavg(), ["1", "5", "15"], strict=True)
            ),
            MEMORY.sample(memory.total - memory.available),
            MEMORY_SIZE.sample(memory.total),
            SWAP.sample(swap.used),
            *(KILLED.sample(count) for count in oom_kills(OOM_COUNTERS)),
            BOOTED.sample(psutil.boot_time()),
            *await self._thread.run(lambda: list(_disks())),
            *_network(),
        ]


def _cpu_time() -> tuple[float, float]:
    """Return the busy seconds of all CPUs, and all their seconds."""
    times = psutil.cpu_times()
    # On Linux guest time is part of user time, and iowait is idle time.
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole - times.idle - getattr(times, "iowait", 0.0), whole


def oom_kills(paths: Iterable[str]) -> Iterator[int]:
    """Yield the number of OOM kills by the first file that has it, if any."""
    for path in paths:
        try:
            found = dict(line.split() for line in Path(path).read_text("ascii").splitlines())
            yield int(found["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
        return


def mounts() -> list[str]:
    """Return the mount points, one for each disk, and `/` always: in a container it is on no disk of its own."""
    found: dict[str, str] = {}
    for part in psutil.disk_partitions():
        # A bind mount of one file, as containers have them, is no disk.
        if part.fstype not in READ_ONLY and Path(part.mountpoint).is_dir():
            shortest = found.setdefault(part.device, part.mountpoint)
            found[part.device] = min(shortest, part.mountpoint, key=len)
    return sorted({"/", *found.values()})


def _disks() -> Iterator[Sample]:
    for mount in mounts():
        try:
            disk = os.statvfs(mount)
        except OSError:
            continue  # unmounted just now, or not readable for this user: it has no samples
        yield DISK.sample((disk.f_blocks - disk.f_bfree) * disk.f_frsize, mount=mount)
        yield DISK_SIZE.sample(disk.f_blocks * disk.f_frsize, mount=mount)
        yield DISK_AVAILABLE.sample(disk.f_bavail * disk.f_frsize, mount=mount)


def _network() -> Iterator[Sample]:
    for device, counted in sorted(psutil.net_io_counters(pernic=True).items()):
        if device != "lo":
            yield RECEIVED.sample(counted.bytes_recv, device=device)
            yield SENT.sample(counted.bytes_sent, device=device)
            yield NETWORK_ERRORS.sample(
                counted.errin + counted.errout + counted.dropin + counted.dropout, device=device
            )
