"""Trying a target out, as `toban check` does."""

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
    """What one look at a target came to; ``notes`` are what can't be seen of it, and what would show it."""

    name: str
    kind: str
    instance: str
    samples: int
    error: str = ""
    notes: Sequence[str] = ()

    @property
    def up(self) -> bool:
        """Whether it could be looked at and is well."""
        return not self.error


async def probe(collector: Collector, tools: CollectorTools) -> ProbeResult:
    """Look once at a target, for no longer than its interval; trouble is part of what is found."""
    fence = PluginIsolation("collect", collector.name, tools.meters)
    instance = collector.instance or collector.address_in(tools.shop) or collector.default_instance
    many, notes = 0, tuple[str, ...]()
    with fence:
        try:
            async with asyncio.timeout(collector.interval.total_seconds()):
                look = await collector.check(tools)
        except TimeoutError as error:
            raise CollectError(f"no end of the look after {collector.interval.total_seconds():g} s") from error
        many = len(look.samples) + sum(int(np.count_nonzero(~np.isnan(batch.values))) for batch in look.batches)
        notes = tuple(look.notes)
        if look.error:
            raise CollectError(look.error)
    return ProbeResult(collector.name, collector.kind, instance, many, fence.error, notes)
