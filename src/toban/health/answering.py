"""Answers whether the shop is well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toban.core.errors import TobanError
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds
from toban.health.checks import Check, Part, Unknown


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to: up, or down and why."""

    name: str
    up: bool
    message: str = ""


class Health:
    """Asks the newest samples: it costs the shop nothing, and agrees with the alerts."""

    def __init__(self, checks: Sequence[Check], unknown: Sequence[Unknown], engine: QueryEngine, clock: Clock) -> None:
        self.checks = tuple(checks)
        self.unknown = tuple(unknown)
        self._engine = engine
        self._clock = clock

    async def findings(self, part: Part) -> list[Finding]:
        """Return what the checks of one endpoint come to now."""
        return [await self._find(check) for check in self.checks if part in check.parts]

    async def _find(self, check: Check) -> Finding:
        try:
            answer = await self._engine.instant(check.query, milliseconds(self._clock.now()))
        except TobanError as error:
            # Not knowing is never "well".
            return Finding(check.name, False, str(error))
        if not answer.series:
            return Finding(check.name, False, f"no sample for {check.age.total_seconds():.0f} s")
        value = answer.series[0].last
        if math.isnan(value) or value > check.limit:
            return Finding(check.name, False, check.fault)
        return Finding(check.name, True)
