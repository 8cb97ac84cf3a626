"""toban looks at itself."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, Literal

import psutil

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.paths import instance_name
from toban.core.samples import Sample, counter, gauge, milliseconds

CPU: Final = counter("process_cpu_seconds_total", "Processor time that toban has used.", "seconds")
RESIDENT: Final = gauge("process_resident_memory_bytes", "Memory that toban holds.", "bytes")
THREADS: Final = gauge("process_threads", "Threads that toban runs.")
OPEN: Final = gauge("process_open_fds", "Files and sockets that toban has open.")
STARTED: Final = gauge("process_start_time_seconds", "When toban was started, since the epoch.", "seconds")


class Toban(Collector):
    """Read toban's own process and everything it counts about itself."""

    kind: Literal["toban"] = "toban"

    interval: Duration = timedelta(seconds=15)

    @property
    def default_instance(self) -> str:
        """The machine it runs on."""
        return instance_name(os.environ)

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return the process's figures and toban's own counters."""
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
