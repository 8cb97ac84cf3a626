"""Probes a target once, for `toban check`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toban.collect.collector import Collector
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError
from toban.core.plugin_isolation import PluginIsolation


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one probe; ``notes`` are what can't be read of the target, and what would allow it."""

    name: str
    kind: str
    instance: str
    samples: int
    error: str = ""
    notes: Sequence[str] = ()

    @property
    def up(self) -> bool:
        """Whether the target could be read and is healthy."""
        return not self.error


async def probe(collector: Collector, tools: CollectorTools) -> ProbeResult:
    """Probe a target, for no longer than its interval; an error is part of the result."""
    collector = collector.located(tools.shop)
    isolation = PluginIsolation("collect", collector.name, tools.meters)
    count, notes = 0, tuple[str, ...]()
    with isolation:
        try:
            async with asyncio.timeout(collector.interval.total_seconds()):
                found = await collector.open(tools).check()
        except TimeoutError as error:
            raise CollectError(f"collection timed out after {collector.interval.total_seconds():g} s") from error
        count = len(found.samples) + sum(int(np.count_nonzero(~np.isnan(batch.values))) for batch in found.batches)
        notes = tuple(found.notes)
        if found.error:
            raise CollectError(found.error)
    instance = collector.target["instance"]
    return ProbeResult(collector.name, collector.kind, instance, count, isolation.error, notes)
