"""Answers whether the shop is well."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from toban.core.errors import TobanError
from toban.core.ports import Clock, QueryEngine
from toban.core.query_result import QueryResult
from toban.core.samples import milliseconds
from toban.core.single_flight import SingleFlight
from toban.health.checks import Endpoints, HealthCheck, UnavailableCheck, unreported
from toban.health.coverage import missing_coverage
from toban.health.key_figures import FigureValue, evaluate_figures
from toban.instruments.metric_sources import Coverage
from toban.promql.query_batch import BatchResult


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check came to: up, or down and why."""

    name: str
    up: bool
    message: str = ""


class HealthQueryEngine(QueryEngine, Protocol):
    """A ``QueryEngine`` that answers several questions in one go."""

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Answer the first of some queries at a time (milliseconds), and those after it as long as a moment lasts."""
        ...


class HealthService:
    """
    Asks the newest samples: it costs the shop nothing, and agrees with the alerts.

    Whoever asks at the same time gets the same answer: many who ask cost hardly more than one.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        unknown: Sequence[UnavailableCheck],
        engine: HealthQueryEngine,
        clock: Clock,
    ) -> None:
        self.checks = tuple(checks)
        self._unknown = tuple(unknown)
        self._engine = engine
        self._clock = clock
        self._found = SingleFlight(self._find_all)
        self._figures = SingleFlight(self._find_figures)
        self._missing = SingleFlight(self._find_missing)

    async def results(self, part: Endpoints) -> list[CheckResult]:
        """Return what the checks of one endpoint come to now; what nobody ever told is left out."""
        return [found for check, found in await self._found.get() if found and part in check.parts]

    async def unknown(self) -> list[UnavailableCheck]:
        """Return the checks that can't be made, and why."""
        return [*self._unknown, *unreported([check for check, found in await self._found.get() if found is None])]

    async def figures(self) -> list[FigureValue]:
        """Return the shop in a few figures; none while they can't be asked."""
        return await self._figures.get()

    async def missing(self) -> list[Coverage]:
        """Return what is not known of the shop, and what would add it; nothing while that can't be asked."""
        return await self._missing.get()

    async def _find_figures(self) -> list[FigureValue]:
        with contextlib.suppress(TobanError):  # the checks, asked beside them, tell of the trouble
            return await evaluate_figures(self._engine, self._clock)
        return []

    async def _find_missing(self) -> list[Coverage]:
        with contextlib.suppress(TobanError):  # the checks, asked beside them, tell of the trouble
            return await missing_coverage(self._engine, self._clock)
        return []

    async def _find_all(self) -> list[tuple[HealthCheck, CheckResult | None]]:
        at = milliseconds(self._clock.now())
        replies = await self._asked([check.query for check in self.checks], at)
        silent = [check for check, reply in zip(self.checks, replies, strict=True) if check.since and _is_empty(reply)]
        ever = dict(zip(silent, await self._asked([check.ever for check in silent], at), strict=True))
        return [
            (check, _finding(check, reply, ever.get(check))) for check, reply in zip(self.checks, replies, strict=True)
        ]

    async def _asked(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Ask several questions in as few goes as may be: each is on its way for longer than it takes."""
        replies: list[BatchResult] = []
        while len(replies) < len(queries):
            replies += await self._engine.run_batch(queries[len(replies) :], at)
        return replies


def _is_empty(reply: BatchResult) -> bool:
    return isinstance(reply.said, QueryResult) and not reply.said.series


def _finding(check: HealthCheck, reply: BatchResult, ever: BatchResult | None) -> CheckResult | None:
    """Return what a check came to; nothing where there ever was no answer either, if that was asked."""
    try:
        _, answer = (ever or reply).answer, reply.answer
    except TobanError as error:
        # Not knowing is never "well".
        return CheckResult(check.name, False, str(error))
    if ever and not ever.answer.series:
        return None
    if not answer.series:
        return CheckResult(check.name, False, f"no sample for {check.age.total_seconds():.0f} s")
    value = answer.series[0].last
    if math.isnan(value) or value > check.limit:
        return CheckResult(check.name, False, check.fault)
    return CheckResult(check.name, True)
