"""The machine that toban stands on."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import psutil
from pydantic import PrivateAttr

from toban.collect.collector import Collector
from toban.collect.tools import CollectorTools
from toban.collect.worker_thread import WorkerThread
from toban.core.paths import instance_name
from toban.core.samples import Sample, counter, gauge

CPU: Final = gauge("system_cpu_usage_percent", "Share of the processors' time since the last look that was not idle.")
MEMORY: Final = gauge("system_memory_usage_bytes", "Memory in use: total less what programs could still get.", "bytes")
MEMORY_SIZE: Final = gauge("system_memory_size_bytes", "Memory there is.", "bytes")
DISK: Final = gauge("system_disk_usage_bytes", "Space in use on a mounted file system.", "bytes")
DISK_SIZE: Final = gauge("system_disk_size_bytes", "Space there is on a mounted file system.", "bytes")
DISK_AVAILABLE: Final = gauge("system_disk_available_bytes", "Space that programs may still use.", "bytes")
LOAD: Final = gauge("system_load_average", "Processes that ran or wanted to, on average over some minutes.")
CPUS: Final = gauge("system_cpus", "Processors there are.")
SWAP: Final = gauge("system_swap_usage_bytes", "Memory that was moved to disk.", "bytes")
BOOTED: Final = gauge("system_boot_time_seconds", "When the machine was started, since the epoch.", "seconds")
KILLED: Final = counter("system_oom_kills_total", "Processes that the kernel ended because memory had run out.")
RECEIVED: Final = counter("system_network_receive_bytes_total", "What came in over the network.", "bytes")
SENT: Final = counter("system_network_transmit_bytes_total", "What went out over the network.", "bytes")
NETWORK_ERRORS: Final = counter("system_network_errors_total", "Packets that were lost or broken.")

FULL: Final = frozenset({"squashfs", "erofs", "iso9660"})
"""File systems that are made full and never change."""

OOM: Final = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")
"""Where the kernel counts what it ended for want of memory: for this container, else for the machine."""

FIRST: Final = 0.5
"""Seconds over which the first look measures the processors: there is no earlier look to compare with."""


class Host(Collector):
    """Read the processors, memory, disks and network of this machine."""

    kind: Literal["host"] = "host"

    _aside: WorkerThread = PrivateAttr(default_factory=WorkerThread)
    _busy: tuple[float, float] | None = PrivateAttr(default=None)

    @property
    def default_instance(self) -> str:
        """The machine it runs on."""
        return instance_name(os.environ)

    async def collect(self, tools: CollectorTools) -> Iterable[Sample]:
        """Return the machine's figures."""
        before = self._busy
        if before is None:
            before = _processor_time()
            await tools.clock.sleep(FIRST)
        now = self._busy = _processor_time()
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return [
            CPU.sample(share(before, now)),
            CPUS.sample(psutil.cpu_count() or 1),
            *(
                LOAD.sample(load, minutes=minutes)
                for load, minutes in zip(psutil.getloadavg(), ["1", "5", "15"], strict=True)
            ),
            MEMORY.sample(memory.total - memory.available),
            MEMORY_SIZE.sample(memory.total),
            SWAP.sample(swap.used),
            *(KILLED.sample(many) for many in oom_kills(OOM)),
            BOOTED.sample(psutil.boot_time()),
            *await self._aside.run(lambda: list(_disks())),
            *_network(),
        ]


def _processor_time() -> tuple[float, float]:
    """Return the seconds that the processors were busy, and all their seconds."""
    times = psutil.cpu_times()
    # On Linux the guests' time is part of the user's, and waiting for a disk is idling.
    whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return whole - times.idle - getattr(times, "iowait", 0.0), whole


def share(before: tuple[float, float], now: tuple[float, float]) -> float:
    """Return how busy the processors were between two readings, in percent."""
    busy, whole = now[0] - before[0], now[1] - before[1]
    return min(100.0, max(0.0, 100.0 * busy / whole)) if whole > 0 else 0.0


def oom_kills(places: Iterable[str]) -> Iterator[int]:
    """Return how many processes the kernel ended for want of memory, by the first place that tells; or nothing."""
    for place in places:
        try:
            found = dict(line.split() for line in Path(place).read_text("ascii").splitlines())
            yield int(found["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
        return


def mounts() -> list[str]:
    """Return where disks are mounted, each disk once, and `/` always: in a container it lies on none of its own."""
    found: dict[str, str] = {}
    for part in psutil.disk_partitions():
        # A bind mount of one file, as containers have them, is no disk.
        if part.fstype not in FULL and Path(part.mountpoint).is_dir():
            kept = found.setdefault(part.device, part.mountpoint)
            found[part.device] = min(kept, part.mountpoint, key=len)
    return sorted({"/", *found.values()})


def _disks() -> Iterator[Sample]:
    for mount in mounts():
        try:
            disk = os.statvfs(mount)
        except OSError:
            continue  # unmounted just now, or not ours to see: it has no numbers
        yield DISK.sample((disk.f_blocks - disk.f_bfree) * disk.f_frsize, mount=mount)
        yield DISK_SIZE.sample(disk.f_blocks * disk.f_frsize, mount=mount)
        yield DISK_AVAILABLE.sample(disk.f_bavail * disk.f_frsize, mount=mount)


def _network() -> Iterator[Sample]:
    for device, seen in sorted(psutil.net_io_counters(pernic=True).items()):
        if device != "lo":
            yield RECEIVED.sample(seen.bytes_recv, device=device)
            yield SENT.sample(seen.bytes_sent, device=device)
            yield NETWORK_ERRORS.sample(seen.errin + seen.errout + seen.dropin + seen.dropout, device=device)
