"""Trying a target out, as `toban check` does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toban.collect.collector import Collector
from toban.collect.tools import Tools
from toban.core.errors import CollectError
from toban.core.plugin_isolation import Fence


@dataclass(frozen=True, slots=True)
class Tried:
    """What one look at a target came to; ``notes`` are what can't be seen of it, and what would show it."""

    name: str
    kind: str
    instance: str
    samples: int
    trouble: str = ""
    notes: Sequence[str] = ()

    @property
    def up(self) -> bool:
        """Whether it could be looked at and is well."""
        return not self.trouble


async def tried_out(collector: Collector, tools: Tools) -> Tried:
    """Look once at a target, for no longer than its interval; trouble is part of what is found."""
    fence = Fence("collect", collector.name, tools.meters)
    instance = collector.instance or collector.address_in(tools.shop) or collector.looks_at
    many, notes = 0, tuple[str, ...]()
    with fence:
        try:
            async with asyncio.timeout(collector.every.total_seconds()):
                look = await collector.check(tools)
        except TimeoutError as error:
            raise CollectError(f"no end of the look after {collector.every.total_seconds():g} s") from error
        many = len(look.samples) + sum(int(np.count_nonzero(~np.isnan(batch.values))) for batch in look.batches)
        notes = tuple(look.notes)
        if look.trouble:
            raise CollectError(look.trouble)
    return Tried(collector.name, collector.kind, instance, many, fence.trouble, notes)
