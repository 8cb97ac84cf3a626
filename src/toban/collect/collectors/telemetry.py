"""The collector `telemetry`: metrics derived from the shop's telemetry."""

import os
from datetime import timedelta
from typing import Literal, Protocol

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import HasClock, HasPushed
from toban.core.config_types import Duration
from toban.core.paths import instance_name
from toban.core.samples import milliseconds


class Tools(HasClock, HasPushed, Protocol):
    """What the collector uses."""


class Telemetry(Collector):
    """
    Expose the metrics that were derived from the shop's telemetry: OTLP at `/v1/traces`, `/v1/metrics`, `/v1/logs`.

    It reads nothing from outside: telemetry is counted when it is received, and sampled here. Counters of requests are
    shared by all processes of the shop; a process's own metrics carry its own `job` and `instance`.
    """

    kind: Literal["telemetry"] = "telemetry"

    interval: Duration = timedelta(seconds=15)

    @property
    def default_instance(self) -> str:
        """The machine toban runs on: it is the one that counts."""
        return instance_name(os.environ)

    async def collect(self, tools: Tools) -> ScrapeResult:
        """Sample all metrics."""
        return ScrapeResult(batches=tools.pushed.read(milliseconds(tools.clock.now()), self.target))
