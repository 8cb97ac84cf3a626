"""The health service: checks, key figures and missing metrics of the shop."""

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
    """The result of a check: up, or down and why."""

    name: str
    up: bool
    message: str = ""


class HealthQueryEngine(QueryEngine, Protocol):
    """A ``QueryEngine`` that runs several queries together."""

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run the first queries at a time (milliseconds), as many as fit in a short time; at least one."""
        ...


class HealthService:
    """
    Queries the newest samples: that costs the shop nothing, and agrees with the alerts.

    Concurrent requests share one evaluation.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        unavailable: Sequence[UnavailableCheck],
        engine: HealthQueryEngine,
        clock: Clock,
    ) -> None:
        self.checks = tuple(checks)
        self._unavailable = tuple(unavailable)
        self._engine = engine
        self._clock = clock
        self._results = SingleFlight(self._run_checks)
        self._figures = SingleFlight(self._find_figures)
        self._missing = SingleFlight(self._find_missing)

    async def results(self, part: Endpoints) -> list[CheckResult]:
        """Return the results of the checks of an endpoint; those without any data yet are left out."""
        return [found for check, found in await self._results.get() if found and part in check.parts]

    async def unavailable(self) -> list[UnavailableCheck]:
        """Return the checks that can't be made, and why."""
        return [*self._unavailable, *unreported([check for check, found in await self._results.get() if found is None])]

    async def figures(self) -> list[FigureValue]:
        """Return the key figures; none while they can't be queried."""
        return await self._figures.get()

    async def missing(self) -> list[Coverage]:
        """Return the missing metrics, and what enables them; nothing while that can't be queried."""
        return await self._missing.get()

    async def _find_figures(self) -> list[FigureValue]:
        with contextlib.suppress(TobanError):  # the checks report the error
            return await evaluate_figures(self._engine, self._clock)
        return []

    async def _find_missing(self) -> list[Coverage]:
        with contextlib.suppress(TobanError):  # the checks report the error
            return await missing_coverage(self._engine, self._clock)
        return []

    async def _run_checks(self) -> list[tuple[HealthCheck, CheckResult | None]]:
        at = milliseconds(self._clock.now())
        replies = await self._run([check.query for check in self.checks], at)
        silent = [check for check, reply in zip(self.checks, replies, strict=True) if check.since and _is_empty(reply)]
        ever = dict(zip(silent, await self._run([check.ever for check in silent], at), strict=True))
        return [
            (check, _result(check, reply, ever.get(check))) for check, reply in zip(self.checks, replies, strict=True)
        ]

    async def _run(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run queries in as few batches as possible: the hand-over to the thread takes longer than a query."""
        replies: list[BatchResult] = []
        while len(replies) < len(queries):
            replies += await self._engine.run_batch(queries[len(replies) :], at)
        return replies


def _is_empty(reply: BatchResult) -> bool:
    return isinstance(reply.said, QueryResult) and not reply.said.series


def _result(check: HealthCheck, reply: BatchResult, ever: BatchResult | None) -> CheckResult | None:
    """Return the result of a check; nothing where there has never been data, if that was queried."""
    try:
        _, answer = (ever or reply).answer, reply.answer
    except TobanError as error:
        # Unknown is never healthy.
        return CheckResult(check.name, False, str(error))
    if ever and not ever.answer.series:
        return None
    if not answer.series:
        return CheckResult(check.name, False, f"no sample for {check.age.total_seconds():.0f} s")
    value = answer.series[0].last
    if math.isnan(value) or value > check.limit:
        return CheckResult(check.name, False, check.fault)
    return CheckResult(check.name, True)
