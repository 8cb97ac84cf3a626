"""Why a rule fires or is inactive: the value of its expression now, the limit, and whether its data is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import GroupState, RuleHealth, RuleState
from toban.core.config_types import format_duration
from toban.core.errors import QueryError, StoreError
from toban.core.ports import InstantQueryEngine

MAX_SERIES: Final = 5
"""How many series of each side of a comparison are shown."""

TIME_LIMIT: Final = timedelta(seconds=10)
"""How long each query of an explanation may take: somebody waits for it."""


@dataclass(frozen=True, slots=True)
class SeriesValue:
    """A series and its value, written as Prometheus does: JSON has no NaN."""

    labels: Mapping[str, str]
    value: str


@dataclass(frozen=True, slots=True)
class ExpressionValue:
    """The first series of an expression's result and how many there are, or why it has none."""

    series: Sequence[SeriesValue] = ()
    total: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonValue:
    """A comparison in an expression, and the values of its sides."""

    left: str
    operator: str
    right: str
    value: ExpressionValue
    limit: ExpressionValue


@dataclass(frozen=True, slots=True)
class SelectorData:
    """A selector in an expression, and how many series it has."""

    selector: str
    series: int
    error: str


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """A rule, its last evaluation, and the value of its expression now."""

    rule: str
    group: str
    file: str
    engine: RuleEngineName
    expr: str
    duration: str
    """The rule's `for`."""
    severity: str
    limit: str
    health: RuleHealth
    error: str
    last_evaluation: datetime | None
    comparisons: Sequence[ComparisonValue]
    selectors: Sequence[SelectorData]
    window: float
    """Seconds of the shortest range that it reads."""
    log_queries: Sequence[str]
    """Queries for the log lines that it counts."""


async def explain_rule(state: RuleState, group: GroupState, engine: InstantQueryEngine, at: int) -> RuleExplanation:
    """Explain a rule at a time (milliseconds)."""
    rule, query = state.rule, state.rule.query
    alerting = rule if isinstance(rule, AlertRule) else None
    limit = alerting.annotations.get("limit") if alerting else None
    return RuleExplanation(
        rule=rule.name,
        group=group.group.name,
        file=group.group.file,
        engine=group.group.engine,
        expr=query.text,
        duration=format_duration(alerting.for_) if alerting else "0s",
        severity=alerting.severity if alerting else "",
        limit=limit.source if limit else "",
        health=state.last.health,
        error=state.last.error,
        last_evaluation=state.last.at,
        comparisons=[
            ComparisonValue(
                one.left,
                one.operator,
                one.right,
                await _value(one.left, engine, at),
                await _value(one.right, engine, at),
            )
            for one in query.comparisons()
        ],
        selectors=[await _data(selector, engine, at) for selector in query.selections()],
        window=query.window.total_seconds(),
        log_queries=query.log_queries(),
    )


async def _value(query: str, engine: InstantQueryEngine, at: int) -> ExpressionValue:
    try:
        result = await engine.instant(query, at, time_limit=TIME_LIMIT)
    except (QueryError, StoreError) as error:
        return ExpressionValue(error=str(error))
    series = [SeriesValue(dict(it.labels), repr(it.last)) for it in result.series[:MAX_SERIES]]
    return ExpressionValue(series, len(result.series))


async def _data(selector: str, engine: InstantQueryEngine, at: int) -> SelectorData:
    found = await _value(selector, engine, at)
    return SelectorData(selector, found.total, found.error)
