"""The collector `toban`: toban's own process and metrics."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, Literal, Protocol

import psutil

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import HasClock, HasMeters
from toban.core.config_types import Duration
from toban.core.paths import instance_name
from toban.core.samples import Sample, counter, gauge, milliseconds

CPU: Final = counter("process_cpu_seconds_total", "CPU time that toban has used.", "seconds")
RESIDENT: Final = gauge("process_resident_memory_bytes", "Resident memory of toban.", "bytes")
THREADS: Final = gauge("process_threads", "Threads of toban.")
OPEN: Final = gauge("process_open_fds", "Open file descriptors of toban.")
STARTED: Final = gauge("process_start_time_seconds", "Start time of toban, in seconds since the epoch.", "seconds")


class Tools(HasClock, HasMeters, Protocol):
    """What the collector uses."""


class Toban(Collector):
    """Read toban's own process and the metrics about itself."""

    kind: Literal["toban"] = "toban"

    interval: Duration = timedelta(seconds=15)

    @property
    def default_instance(self) -> str:
        """The machine it runs on."""
        return instance_name(os.environ)

    async def collect(self, tools: Tools) -> ScrapeResult:
        """Read the process and toban's own metrics."""
        return ScrapeResult(list(_process()), tools.meters.read(milliseconds(tools.clock.now()), self.target))


def _process() -> Iterator[Sample]:
    process = psutil.Process()
    with process.oneshot():
        used = process.cpu_times()
        yield from (
            CPU.sample(used.user + used.system),
            RESIDENT.sample(process.memory_info().rss),
            THREADS.sample(process.num_threads()),
            OPEN.sample(process.num_fds()),
            STARTED.sample(process.create_time()),
        )
