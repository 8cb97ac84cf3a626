"""The health service: checks, key figures and missing metrics of the shop."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from toban.core.errors import TobanError
from toban.core.ports import Clock, RuleEngine
from toban.core.query_result import BatchResult, QueryResult
from toban.core.samples import milliseconds
from toban.core.single_flight import SingleFlight
from toban.health.checks import Endpoints, HealthCheck, UnavailableCheck, unreported
from toban.health.coverage import missing_coverage
from toban.health.key_figures import FigureValue, evaluate_figures
from toban.instruments.metric_sources import Coverage


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check: up, or down and why."""

    name: str
    up: bool
    message: str = ""


class HealthService:
    """
    Queries the newest samples: that costs the shop nothing, and agrees with the alerts.

    Concurrent requests share one evaluation.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        unavailable: Sequence[UnavailableCheck],
        engine: RuleEngine,
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
        """Return the unavailable checks, and why."""
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
        found = await self._run([check.query for check in self.checks], at)
        silent = [
            check for check, queried in zip(self.checks, found, strict=True) if check.since and _is_empty(queried)
        ]
        ever = dict(zip(silent, await self._run([check.ever for check in silent], at), strict=True))
        return [
            (check, _result(check, queried, ever.get(check))) for check, queried in zip(self.checks, found, strict=True)
        ]

    async def _run(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run queries in as few batches as possible: the hand-over to the thread takes longer than a query."""
        results: list[BatchResult] = []
        while len(results) < len(queries):
            results += await self._engine.run_batch(queries[len(results) :], at)
        return results


def _is_empty(queried: BatchResult) -> bool:
    return isinstance(queried.outcome, QueryResult) and not queried.outcome.series


def _result(check: HealthCheck, queried: BatchResult, ever: BatchResult | None) -> CheckResult | None:
    """Return the result of a check; None where there has never been data, if that was queried."""
    try:
        _, result = (ever or queried).result, queried.result
    except TobanError as error:
        # Unknown is never healthy.
        return CheckResult(check.name, False, str(error))
    if ever and not ever.result.series:
        return None
    if not result.series:
        return CheckResult(check.name, False, f"no sample for {check.age.total_seconds():.0f} s")
    value = result.series[0].last
    if math.isnan(value) or value > check.limit:
        return CheckResult(check.name, False, check.fault)
    return CheckResult(check.name, True)
