"""Gathers the content of a report: each section by itself, so that one that can't be read costs no other."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog

from toban.core.deploys import Deploy
from toban.core.errors import TobanError
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import MetricFamily, milliseconds
from toban.health.capacity import Forecast, forecasts
from toban.health.counter_growth import Key, read_increase, rounded
from toban.health.sales import Day, SalesReport
from toban.incidents.duty_report import PersonDuty
from toban.incidents.incident import Incident
from toban.incidents.incident_report import time_to_acknowledge, time_to_resolve
from toban.instruments.metric_families import GRAPHQL_SECONDS, ORDERS_FAILED, PAYMENTS_FAILED
from toban.maintenance.run import DONE, MaintenanceRun, RunState
from toban.maintenance.task import Severity
from toban.maintenance.tasks.restore_drill import RPO, RTO
from toban.reports.period import Period, Span, midnight
from toban.reports.report import (
    Audience,
    Availability,
    BackupLine,
    Comparison,
    DeployLine,
    ForecastLine,
    IncidentLine,
    MaintenanceLine,
    PaymentLine,
    Report,
    SalesSection,
    ServiceLevelLine,
    Slot,
    SpeedLine,
)
from toban.review.error_budget import ErrorBudget

log = structlog.get_logger("toban.reports")
T = TypeVar("T")

DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
OPERATIONS: Final = 8
"""How many operations of the shop are listed, those with the most requests."""
DRILL: Final = "restore_drill"
DRILLS: Final = timedelta(days=62)
"""How long before the end of a span a drill counts: most shops run one a month."""
SPEED_LIMIT: Final = timedelta(seconds=20)
"""How long a query over the whole span may take."""

CHECK_FAILED: Final = 'sum_over_time((min(vendure_shop_check_up{{step!="cart"}}) < bool 1)[{minutes}m:1m])'
CHECK_SEEN: Final = 'count_over_time(min(vendure_shop_check_up{{step!="cart"}})[{minutes}m:1m])'
"""The shop's own check, minute by minute: search a product, price it."""

REQUESTS: Final = f"{GRAPHQL_SECONDS.name}_count"
QUANTILE: Final = (
    "histogram_quantile({quantile}, "
    "sum by (operation, le) (increase(vendure_graphql_duration_seconds_bucket[{minutes}m])))"
)


@dataclass(frozen=True, slots=True)
class ReportSources:
    """
    Where the content of reports comes from.

    ``incidents``, ``duty``, ``deploys`` and ``maintenance`` return what happened between two times.
    """

    engine: QueryEngine
    clock: Clock
    shop: str
    address: str
    incidents: Callable[[datetime, datetime], Awaitable[Sequence[Incident]]]
    duty: Callable[[datetime, datetime], Awaitable[Sequence[PersonDuty]]]
    deploys: Callable[[datetime, datetime], Awaitable[Sequence[Deploy]]]
    maintenance: Callable[[datetime, datetime], Awaitable[Sequence[MaintenanceRun]]]
    budgets: Callable[[], Awaitable[Sequence[ErrorBudget]]]
    """Returns the error budgets of the service levels as they are now."""


class ReportBuilder:
    """Builds the report of a span."""

    def __init__(self, sources: ReportSources) -> None:
        self._sources = sources
        self._engine = sources.engine

    async def build(self, span: Span, audience: Audience) -> Report:
        """Return the report; what can't be read is named in it."""
        sources, missing = self._sources, dict[str, str]()

        async def section(name: str, read: Awaitable[T]) -> T | None:
            try:
                return await read
            except TobanError as error:
                missing[name] = str(error)
                log.warning("section of a report missing", section=name, error=str(error))
                return None

        report = Report(sources.shop, span, audience, sources.clock.now(), sources.address)
        report = replace(
            report,
            availability=await section("availability", self._availability(span)),
            sales=await section("sales", self._sales(span)),
            incidents=await section("incidents", self._incidents(span)) or (),
            levels=await section("levels", self._levels()) or (),
            payments=await section("payments", self._payments(span)) or (),
            speed=await section("speed", self._speed(span)) or (),
            backup=await section("backup", self._backup(span)),
            maintenance=await section("maintenance", self._maintenance(span)) or (),
            deploys=await section("deploys", self._deploys(span)) or (),
            forecasts=await section("forecasts", self._forecasts()) or (),
            duty=await section("duty", sources.duty(span.begins, span.ends)) or (),
        )
        return replace(report, missing=missing)

    async def _availability(self, span: Span) -> Availability | None:
        """Count the minutes day by day, until now: a query over a month would read too many samples at once."""
        down = seen = total = 0.0
        for begin, end in self._days(span):
            minutes = (end - begin) // MINUTE
            if minutes:
                total += minutes
                down += await self._number(CHECK_FAILED.format(minutes=minutes), begin + minutes * MINUTE)
                seen += await self._number(CHECK_SEEN.format(minutes=minutes), begin + minutes * MINUTE)
        return Availability(down, seen, total) if seen else None

    async def _number(self, query: str, at: datetime) -> float:
        result = await self._engine.instant(query, milliseconds(at) - 1)
        return sum(it.last for it in result.series)

    async def _sales(self, span: Span) -> SalesSection | None:
        days = await self._sales_days(span)
        if not any("" in orders for _, orders, _ in days):
            return None
        spans = (span, span.before(), span.year_before())
        past = [_totals(days), *[_totals(await self._sales_days(it)) for it in spans[1:]]]
        failed = [await self._increases(ORDERS_FAILED.name, (), it) for it in spans]
        tried = await self._increases(PAYMENTS_FAILED.name, (), span)
        currencies = sorted({*past[0], *past[1]} - {""})
        return SalesSection(
            Comparison(*[it.get("") for it in past]),
            {currency: Comparison(*[it.get(currency) for it in past]) for currency in currencies},
            Comparison(
                *[
                    _conversion(totals.get(""), lost.get((), 0.0)) if tried or lost else None
                    for totals, lost in zip(past, failed, strict=True)
                ]
            ),
            _hours(days[0]) if span.period is Period.DAY else _slots(days),
        )

    def _days(self, span: Span) -> list[tuple[datetime, datetime]]:
        """Return when each day of a span that has begun begins and ends, today now."""
        now = self._sources.clock.now()
        days = [(midnight(day, span.zone), midnight(day + DAY, span.zone)) for day in span.days]
        return [(begin, min(end, now)) for begin, end in days if begin < now]

    async def _sales_days(self, span: Span) -> list[tuple[datetime, Mapping[str, Day], Mapping[str, Day]]]:
        sales = SalesReport(self._engine, self._sources.clock, span.zone)
        found = []
        for day in span.days:
            begin = midnight(day, span.zone)
            orders, revenue = await sales.of_day(begin, midnight(day + DAY, span.zone))
            found.append((begin, orders, revenue))
        return found

    async def _increases(self, counter: str, by: Sequence[str], span: Span) -> dict[Key, float]:
        """Return the exact increase of a counter in a span, by some labels: read day by day."""
        found: dict[Key, float] = {}
        for begin, end in self._days(span):
            grown = await read_increase(self._engine, counter, by, milliseconds(begin), milliseconds(end))
            for key, value in grown.items():
                found[key] = found.get(key, 0.0) + value
        return found

    async def _incidents(self, span: Span) -> list[IncidentLine]:
        found = await self._sources.incidents(span.begins, span.ends)
        return [
            IncidentLine(
                it.id,
                it.title,
                it.priority,
                it.starts,
                it.resolved,
                time_to_acknowledge(it),
                time_to_resolve(it),
                it.impact,
                sum(not item.done for item in it.action_items),
                it.summary,
            )
            for it in sorted(found, key=lambda it: it.starts)
        ]

    async def _levels(self) -> list[ServiceLevelLine]:
        return [
            ServiceLevelLine(
                it.level.name,
                1 - float(it.level.budget),
                None if it.ratio is None else 1 - it.ratio,
                None if it.outside_planned is None else 1 - it.outside_planned,
                it.left,
            )
            for it in await self._sources.budgets()
        ]

    async def _payments(self, span: Span) -> list[PaymentLine]:
        now, before = [await self._failed_payments(it) for it in (span, span.before())]
        lines = []
        for method, errors in now.items():
            if total := sum(errors.values()):
                past = sum(before[method].values()) if method in before else None
                lines.append(PaymentLine(method, total, max(errors, key=lambda error: errors[error]), past))
        return sorted(lines, key=lambda it: -it.failed)

    async def _failed_payments(self, span: Span) -> dict[str, dict[str, float]]:
        """Return the failed payments of a span by method and error."""
        found: dict[str, dict[str, float]] = {}
        for (method, error), value in (await self._increases(PAYMENTS_FAILED.name, ("method", "error"), span)).items():
            found.setdefault(method, {})[error] = value
        return found

    async def _speed(self, span: Span) -> list[SpeedLine]:
        requests = await self._increases(REQUESTS, ("operation",), span)
        counts = sorted(((count, name) for (name,), count in requests.items() if count), reverse=True)[:OPERATIONS]
        if not counts:
            return []
        medians, p95 = [
            await self._by_operation(QUANTILE.format(quantile=it, minutes=round(span.minutes)), span.ends)
            for it in (0.5, 0.95)
        ]
        past = span.before()
        before = await self._by_operation(QUANTILE.format(quantile=0.95, minutes=round(past.minutes)), past.ends)
        return [
            SpeedLine(name, count, medians.get(name, 0.0), p95.get(name, 0.0), before.get(name))
            for count, name in counts
        ]

    async def _by_operation(self, query: str, at: datetime) -> dict[str, float]:
        result = await self._engine.instant(query, milliseconds(at) - 1, time_limit=SPEED_LIMIT)
        return {it.labels.get("operation", ""): it.last for it in result.series if it.last == it.last}

    async def _maintenance(self, span: Span) -> list[MaintenanceLine]:
        runs: dict[str, list[MaintenanceRun]] = {}
        for run in await self._sources.maintenance(span.begins, span.ends):
            runs.setdefault(run.task, []).append(run)
        return [_maintenance_line(task, own) for task, own in sorted(runs.items())]

    async def _backup(self, span: Span) -> BackupLine | None:
        """Return the last restore drill before the end of a span; none where none was run lately."""
        runs = await self._sources.maintenance(span.ends - DRILLS, span.ends)
        drills = [it for it in runs if it.kind == DRILL and it.ended and not it.is_dry]
        if not drills:
            return None
        last = max(drills, key=lambda it: it.started)

        def measured(family: MetricFamily) -> timedelta | None:
            value = last.figures.get(family.name)
            return None if value is None else timedelta(seconds=value)

        return BackupLine(last.started, last.state is RunState.SUCCEEDED, last.text, measured(RPO), measured(RTO))

    async def _deploys(self, span: Span) -> list[DeployLine]:
        found = await self._sources.deploys(span.begins, span.ends)
        return [DeployLine(it.at, it.version, it.by) for it in sorted(found, key=lambda it: it.at)]

    async def _forecasts(self) -> list[ForecastLine]:
        found = await forecasts(self._engine, self._sources.clock)
        return [_forecast_line(it) for it in found]


def _totals(days: Sequence[tuple[datetime, Mapping[str, Day], Mapping[str, Day]]]) -> dict[str, float]:
    """Return the orders of some days together under ``""``, and their revenue by currency."""
    found: dict[str, float] = {}
    for _, orders, revenue in days:
        for of, day in [*orders.items(), *revenue.items()]:
            if (known := day.known) is not None:
                found[of] = found.get(of, 0.0) + known
    return {of: rounded(value) for of, value in found.items()}


def _conversion(orders: float | None, failed: float) -> float | None:
    """Return which share of those who tried to pay placed an order."""
    return None if orders is None or not orders + failed else orders / (orders + failed)


def _slots(days: Sequence[tuple[datetime, Mapping[str, Day], Mapping[str, Day]]]) -> list[Slot]:
    return [
        Slot(
            begin,
            orders[""].known if "" in orders else None,
            {of: known for of, day in revenue.items() if (known := day.known) is not None},
        )
        for begin, orders, revenue in days
    ]


def _hours(day: tuple[datetime, Mapping[str, Day], Mapping[str, Day]]) -> list[Slot]:
    begin, orders, revenue = day
    count = len(orders[""].at_hours) - 1
    return [
        Slot(
            begin + timedelta(hours=hour),
            orders[""].counted(hour),
            {of: value for of, it in revenue.items() if (value := it.counted(hour)) is not None},
        )
        for hour in range(count)
    ]


def _maintenance_line(task: str, runs: Sequence[MaintenanceRun]) -> MaintenanceLine:
    last = max(runs, key=lambda it: it.started)
    failed = sum(it.state not in DONE and it.state is not RunState.RUNNING for it in runs)
    findings = [it.text for it in last.findings if it.severity is not Severity.INFO]
    return MaintenanceLine(task, len(runs), failed, last.text, findings)


def _forecast_line(found: Forecast) -> ForecastLine:
    name = f"{found.key} {found.name}".strip()
    return ForecastLine(name, found.share, found.full, found.earliest, found.latest, found.season)
