"""Why a rule fires or is quiet: what its expression comes to now, the limit, and whether its data is there."""

from typing import Any, Final

from toban.alerting.evaluation import RuleQueryEngine
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import GroupState, RuleState
from toban.core.config_types import format_duration
from toban.core.errors import QueryError, StoreError
from toban.promql import parser

SHOWN: Final = 5
"""How many series are shown of each side of a comparison."""


async def explain_rule(seat: RuleState, bench: GroupState, engine: RuleQueryEngine, at: int) -> dict[str, Any]:
    """Return what there is to know of a rule at a time (milliseconds), as plain data."""
    rule, text = seat.rule, seat.rule.query.text
    return {
        "rule": rule.name,
        "group": bench.group.name,
        "file": bench.group.file,
        "expr": text,
        "for": format_duration(rule.for_) if isinstance(rule, AlertRule) else "0s",
        "severity": rule.severity if isinstance(rule, AlertRule) else "",
        "limit": rule.annotations["limit"].source
        if isinstance(rule, AlertRule) and "limit" in rule.annotations
        else "",
        "health": seat.last.health.value,
        "error": seat.last.error,
        "evaluated": seat.last.at.isoformat() if seat.last.at else None,
        "comparisons": [
            {
                "left": one.left,
                "operator": one.operator,
                "right": one.right,
                "now": await _values(one.left, engine, at),
                "limit": await _values(one.right, engine, at),
            }
            for one in parser.comparisons(text)
        ],
        "reads": [{"selector": one, **await _there(one, engine, at)} for one in parser.selections(text)],
    }


async def _values(query: str, engine: RuleQueryEngine, at: int) -> dict[str, Any]:
    """Return the first series of an answer and how many there are, or why there is none."""
    try:
        answer = await engine.instant(query, at)
    except (QueryError, StoreError) as error:
        return {"series": [], "many": 0, "error": str(error)}
    series = [{"labels": dict(points.labels), "value": points.last} for points in answer.series[:SHOWN]]
    return {"series": series, "many": len(answer.series), "error": ""}


async def _there(selector: str, engine: RuleQueryEngine, at: int) -> dict[str, Any]:
    found = await _values(selector, engine, at)
    return {"series": found["many"], "error": found["error"]}
