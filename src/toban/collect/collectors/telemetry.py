"""What the shop itself tells."""

import os
from datetime import timedelta
from typing import Literal

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.paths import instance_name
from toban.core.samples import milliseconds


class Telemetry(Collector):
    """
    Hand on the numbers that were made of the shop's telemetry: OTLP at `/v1/traces`, `/v1/metrics` and `/v1/logs`.

    It looks at nothing: what is pushed is counted as it comes, and read here. A counter of requests is one for all
    processes of the shop; what a process tells of itself bears its own `job` and `instance`.
    """

    kind: Literal["telemetry"] = "telemetry"

    interval: Duration = timedelta(seconds=15)

    @property
    def default_instance(self) -> str:
        """The machine toban runs on: it is the one that counts."""
        return instance_name(os.environ)

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return where all numbers stand."""
        return ScrapeResult(batches=tools.pushed.read(milliseconds(tools.clock.now()), self.target))
