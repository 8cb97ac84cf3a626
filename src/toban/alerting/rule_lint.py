"""Warnings about rules that are valid and probably not what was meant."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from toban.alerting.promql_query import PromqlQuery
from toban.alerting.rule_file import AlertRule, Rule, RuleGroup
from toban.core.config_types import format_duration
from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.promql.data_presence import ABSENCE
from toban.promql.syntax_tree import (
    Aggregation,
    BinaryExpression,
    Call,
    Node,
    NumberLiteral,
    Range,
    Selector,
    children,
    metric_of,
    selectors,
    walk,
)

ALWAYS: Final = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})
"""Metrics that exist wherever rules are evaluated."""

SEVERITIES: Final = ("critical", "warning", "info")
COMPARISONS: Final = frozenset({">", "<", ">=", "<=", "==", "!="})
MIRRORED: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
UNITLESS: Final = frozenset({"count", "group", "count_over_time", "resets", "changes", "absent", "absent_over_time"})
"""Operators and functions whose result does not have the unit of their argument."""

OVER_TIME: Final = frozenset(f"{what}_over_time" for what in ("max", "min", "avg", "quantile", "last"))
"""Functions whose result has the unit of their argument."""

UNLIKELY_SECONDS: Final = 600.0
"""A limit on the duration of a request or query from which on milliseconds are probably meant."""

SeriesOf = Callable[[str], Collection[Mapping[str, str]]]
"""Returns the labels of the series of a metric."""


@dataclass(frozen=True, slots=True)
class LintContext:
    """
    What rules may refer to: metrics, channels (None where they are unknown), and existing series.

    ``transient`` are the metrics that exist only at times, with a text that says when.
    """

    metrics: Collection[str]
    channels: Collection[str] | None = None
    series: SeriesOf | None = None
    transient: Mapping[str, str] = field(default_factory=dict)


def lint_rule(rule: Rule, context: LintContext) -> list[str]:
    """Return the warnings about a rule."""
    warnings = list(rule.query.warnings())
    if isinstance(rule.query, PromqlQuery):
        root = rule.query.root
        warnings += [*_selectors(root, context), *_transient(root, context.transient), *_units(root)]
    if isinstance(rule, AlertRule):
        warnings += [*_labels(rule), *_channels(rule, context)]
    return list(dict.fromkeys(warnings))


def recorded_metrics(groups: Iterable[RuleGroup]) -> set[str]:
    """Return the metrics that rules themselves write."""
    return {rule.name for group in groups for rule in group.rules if not isinstance(rule, AlertRule)}


def _labels(rule: AlertRule) -> Iterator[str]:
    if "severity" not in rule.labels:
        yield "it has no label `severity` and counts as a warning"
    elif rule.severity not in SEVERITIES and "{{" not in rule.severity:
        yield f"unknown severity {rule.severity!r} counts as a warning: use {', '.join(SEVERITIES)}"
    if "summary" not in rule.annotations:
        yield "it has no annotation `summary`: notifications show only its name"
    for name, label in rule.labels.items():
        if re.search(r"\$value\b|\.Value\b", label.source):
            yield f"label {name!r} depends on the value: each time it changes, the alert resolves and another fires"


def _channels(rule: AlertRule, context: LintContext) -> Iterator[str]:
    label = rule.labels["channels"].source if "channels" in rule.labels else ""
    if context.channels is None or "{{" in label:
        return
    configured = ", ".join(sorted(context.channels)) or "none"
    for name in filter(None, map(str.strip, label.split(","))):
        if name not in context.channels:
            yield f"unknown channel {name!r}: configured are {configured}"


def _selectors(root: Node, context: LintContext) -> Iterator[str]:
    """Warn of unknown metrics, and of matchers that match no series."""
    for selector in selectors(root):
        name = metric_of(selector)
        if not name or name in ALWAYS:
            continue
        if name not in context.metrics:
            near = difflib.get_close_matches(name, sorted(context.metrics), 1, 0.8)
            yield f"unknown metric {name}" + (f": did you mean {near[0]}?" if near else "")
        elif context.series:
            series = context.series(name)
            yield from (_no_match(name, it, series) for it in selector.matchers if series and _has_none(it, series))


def _transient(root: Node, transient: Mapping[str, str]) -> Iterator[str]:
    """Warn of metrics that exist only at times, where the query has no default for them."""
    for name in sorted(unguarded(root, transient)):
        yield (
            f"{name} exists only {transient[name]}; otherwise the rule has no data and counts as failing: write"
            f" `({name} or vector(0))` where that means 0"
        )


def unguarded(node: Node, transient: Collection[str]) -> set[str]:
    """
    Return the transient metrics without which a query has no data (`promql.data_presence`).

    A metric on one side of an ``or`` is guarded if the other side always has data.
    """
    match node:
        case Selector():
            return {metric_of(node)} & set(transient)
        case Range():
            return set()
        case Call(name) if name in ABSENCE:
            return set()
        case BinaryExpression("or", left, right):
            one, other = unguarded(left, transient), unguarded(right, transient)
            return one | other if one and other else set()
        case BinaryExpression("unless", left, _):
            return unguarded(left, transient)
        case _:
            return {name for child in children(node) for name in unguarded(child, transient)}


def _has_none(matcher: Matcher, series: Collection[Mapping[str, str]]) -> bool:
    positive = matcher.operator in {MatchOperator.EQUAL, MatchOperator.REGEX} and not matcher.accepts("")
    return positive and matcher.name != NAME and not any(matcher.matches(labels) for labels in series)


def _no_match(name: str, matcher: Matcher, series: Collection[Mapping[str, str]]) -> str:
    values = sorted({labels[matcher.name] for labels in series if matcher.name in labels})
    existing = f"its values are {', '.join(values[:8])}{' …' if len(values) > 8 else ''}" if values else "no such label"
    return f"so far no series of {name} matches {matcher.name}{matcher.operator}{matcher.value!r}: {existing}"


def _units(root: Node) -> Iterator[str]:
    """Warn of limits that are probably meant in another unit."""
    for node in walk(root):
        if isinstance(node, BinaryExpression) and node.operator in COMPARISONS:
            left, right, operator = node.left, node.right, node.operator
            if isinstance(left, NumberLiteral):
                left, right, operator = right, left, MIRRORED.get(operator, operator)
            if isinstance(right, NumberLiteral) and (unit := unit_of(left)):
                yield from _unlikely(unit, operator, right.value)


def _unlikely(unit: str, operator: str, limit: float) -> Iterator[str]:
    if unit == "duration" and limit >= UNLIKELY_SECONDS:
        length = format_duration(timedelta(seconds=limit))
        yield f"the limit {limit:g} is in seconds, {length}: is it meant in milliseconds, {limit / 1000:g}?"
    if unit == "ratio" and operator in {">", ">="} and limit > 1:
        yield f"the limit {limit:g} is of a ratio from 0 to 1: it can't be reached; is {limit / 100:g} meant?"
    if unit == "percent" and 0 < limit < 1:
        yield f"the limit {limit:g} is in percent, from 0 to 100: is {limit * 100:g} meant?"


def unit_of(node: Node) -> str:
    """Return an expression's unit, by its metric's name: ``duration``, ``ratio``, ``percent``; or an empty string."""
    if isinstance(node, Selector):
        name = metric_of(node)
        if re.search(r"(duration|latency|response_time|query)_seconds(_bucket)?$", name):
            return "duration"
        return next((unit for unit in ("ratio", "percent") if name.endswith(f"_{unit}")), "")
    if isinstance(node, Aggregation):
        return "" if node.operator in UNITLESS or node.operator == "sum" else unit_of(node.inner)
    if isinstance(node, Call):
        if node.name in UNITLESS or node.name in {"rate", "increase", "irate", "delta", "deriv"}:
            # Of these only a quantile of a histogram's rate has the unit of the histogram.
            return ""
        inner = [unit for unit in map(unit_of_inner, node.arguments) if unit]
        return inner[0] if node.name in {"histogram_quantile", *OVER_TIME} and inner else ""
    return ""


def unit_of_inner(node: Node) -> str:
    """Return the unit of the first metric in an expression that has one."""
    return next((unit for selector in selectors(node) if (unit := unit_of(selector))), "")
