"""Answers whether the shop is well."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from toban.core.errors import TobanError
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds
from toban.health.checks import Check, Part, Unknown, untold
from toban.health.figures import Value, figures
from toban.health.knowing import unknowns
from toban.instruments.sources import Known


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
        self._unknown = tuple(unknown)
        self._engine = engine
        self._clock = clock

    async def findings(self, part: Part) -> list[Finding]:
        """Return what the checks of one endpoint come to now; what nobody ever told is left out."""
        asked = [(check, await self._find(check)) for check in self.checks if part in check.parts]
        return [finding for _, finding in asked if finding]

    async def unknown(self) -> list[Unknown]:
        """Return the checks that can't be made, and why."""
        return [*self._unknown, *untold([check for check in self.checks if await self._find(check) is None])]

    async def figures(self) -> list[Value]:
        """Return the shop in a few figures; none while they can't be asked."""
        with contextlib.suppress(TobanError):  # the checks, asked beside them, tell of the trouble
            return await figures(self._engine, self._clock)
        return []

    async def missing(self) -> list[Known]:
        """Return what is not known of the shop, and what would add it; nothing while that can't be asked."""
        with contextlib.suppress(TobanError):  # the checks, asked beside them, tell of the trouble
            return await unknowns(self._engine, self._clock)
        return []

    async def _find(self, check: Check) -> Finding | None:
        at = milliseconds(self._clock.now())
        try:
            answer = await self._engine.instant(check.query, at)
            if not answer.series and check.since and not (await self._engine.instant(check.ever, at)).series:
                return None
        except TobanError as error:
            # Not knowing is never "well".
            return Finding(check.name, False, str(error))
        if not answer.series:
            return Finding(check.name, False, f"no sample for {check.age.total_seconds():.0f} s")
        value = answer.series[0].last
        if math.isnan(value) or value > check.limit:
            return Finding(check.name, False, check.fault)
        return Finding(check.name, True)
