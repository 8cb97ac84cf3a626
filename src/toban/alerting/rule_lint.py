"""What is allowed in a rule and probably not meant."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

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
    selectors,
    walk,
)

ALWAYS: Final = frozenset({"up", "ALERTS", "ALERTS_FOR_STATE"})
"""Metrics that are there wherever rules are judged."""

SEVERITIES: Final = ("critical", "warning", "info")
COMPARISONS: Final = frozenset({">", "<", ">=", "<=", "==", "!="})
MIRRORED: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
UNITLESS: Final = frozenset({"count", "group", "count_over_time", "resets", "changes", "absent", "absent_over_time"})
"""What comes to a number without the unit of what it is made of."""

OVER_TIME: Final = frozenset(f"{what}_over_time" for what in ("max", "min", "avg", "quantile", "last"))
"""What comes to numbers of the same unit."""

LONG: Final = 600.0
"""Seconds: no request or query is meant to take so long."""

Found = Callable[[str], Collection[Mapping[str, str]]]
"""Returns the labels of the series of a metric."""


@dataclass(frozen=True, slots=True)
class LintContext:
    """
    What rules may speak of: metrics, channels (nothing where nobody knows them), and the series that there are.

    ``transient`` are the metrics that come and go, and when they are there.
    """

    metrics: Collection[str]
    channels: Collection[str] | None = None
    series: Found | None = None
    transient: Mapping[str, str] = field(default_factory=dict)


def lint_rule(rule: Rule, known: LintContext) -> list[str]:
    """Return what is probably not meant in a rule."""
    found = [*_named(rule.query.root, known), *_gone(rule.query.root, known.transient), *_units(rule.query.root)]
    if isinstance(rule, AlertRule):
        found += [*_told(rule), *_channels(rule, known)]
    return list(dict.fromkeys(found))


def recorded_metrics(groups: Iterable[RuleGroup]) -> set[str]:
    """Return the metrics that rules themselves write."""
    return {rule.name for group in groups for rule in group.rules if not isinstance(rule, AlertRule)}


def _told(rule: AlertRule) -> Iterator[str]:
    if "severity" not in rule.labels:
        yield "it has no label `severity` and counts as a warning"
    elif rule.severity not in SEVERITIES and "{{" not in rule.severity:
        yield f"severity {rule.severity!r} counts as a warning: there are {', '.join(SEVERITIES)}"
    if "summary" not in rule.annotations:
        yield "it has no annotation `summary`: its name is all that people read"
    for name, label in rule.labels.items():
        if re.search(r"\$value\b|\.Value\b", label.source):
            yield f"label {name!r} follows the value: when it changes, the alert ends and another begins"


def _channels(rule: AlertRule, known: LintContext) -> Iterator[str]:
    said = rule.labels["channels"].source if "channels" in rule.labels else ""
    if known.channels is None or "{{" in said:
        return
    there = ", ".join(sorted(known.channels)) or "none is configured"
    for name in filter(None, map(str.strip, said.split(","))):
        if name not in known.channels:
            yield f"unknown channel {name!r}: configured are {there}"


def _named(root: Node, known: LintContext) -> Iterator[str]:
    """Say which metrics nobody knows, and which conditions no series meets."""
    for selector in selectors(root):
        name = metric_of(selector)
        if not name or name in ALWAYS:
            continue
        if name not in known.metrics:
            near = difflib.get_close_matches(name, sorted(known.metrics), 1, 0.8)
            yield f"nothing is called {name}" + (f": did you mean {near[0]}?" if near else "")
        elif known.series:
            there = known.series(name)
            yield from (_unmet(name, it, there) for it in selector.matchers if there and _is_unmet(it, there))


def _gone(root: Node, transient: Mapping[str, str]) -> Iterator[str]:
    """Say which metrics come and go where nothing says what they are while they are away."""
    for name in sorted(unguarded(root, transient)):
        yield (
            f"{name} is there {transient[name]} alone, and while it isn't the rule counts as one that can't be"
            f" evaluated: write `({name} or vector(0))` where that means 0"
        )


def unguarded(node: Node, transient: Collection[str]) -> set[str]:
    """
    Return the metrics that come and go and without which a query has nothing to tell (`promql.presence`).

    One that stands on one side of an ``or`` is guarded by the other, if that is always there.
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


def _is_unmet(matcher: Matcher, series: Collection[Mapping[str, str]]) -> bool:
    positive = matcher.operator in {MatchOperator.EQUAL, MatchOperator.REGEX} and not matcher.accepts("")
    return positive and matcher.name != NAME and not any(matcher.matches(labels) for labels in series)


def _unmet(name: str, matcher: Matcher, series: Collection[Mapping[str, str]]) -> str:
    values = sorted({labels[matcher.name] for labels in series if matcher.name in labels})
    shown = f"there are {', '.join(values[:8])}{' …' if len(values) > 8 else ''}" if values else "it has no such label"
    return f"so far no series of {name} has {matcher.name}{matcher.operator}{matcher.value!r}: {shown}"


def _units(root: Node) -> Iterator[str]:
    """Say which limits look as if they were meant in another unit."""
    for node in walk(root):
        if isinstance(node, BinaryExpression) and node.operator in COMPARISONS:
            left, right, operator = node.left, node.right, node.operator
            if isinstance(left, NumberLiteral):
                left, right, operator = right, left, MIRRORED.get(operator, operator)
            if isinstance(right, NumberLiteral) and (unit := unit_of(left)):
                yield from _unlikely(unit, operator, right.value)


def _unlikely(unit: str, operator: str, limit: float) -> Iterator[str]:
    if unit == "duration" and limit >= LONG:
        length = format_duration(timedelta(seconds=limit))
        yield f"the limit {limit:g} is in seconds, {length}: is it meant in milliseconds, {limit / 1000:g}?"
    if unit == "ratio" and operator in {">", ">="} and limit > 1:
        yield f"the limit {limit:g} is of a share from 0 to 1: it can't be reached; is {limit / 100:g} meant?"
    if unit == "percent" and 0 < limit < 1:
        yield f"the limit {limit:g} is in percent, from 0 to 100: is {limit * 100:g} meant?"


def unit_of(node: Node) -> str:
    """Return what an expression is in, by its metric's name: ``duration``, ``ratio``, ``percent``; or nothing."""
    if isinstance(node, Selector):
        name = metric_of(node)
        if re.search(r"(duration|latency|response_time|query)_seconds(_bucket)?$", name):
            return "duration"
        return next((unit for unit in ("ratio", "percent") if name.endswith(f"_{unit}")), "")
    if isinstance(node, Aggregation):
        return "" if node.operator in UNITLESS or node.operator == "sum" else unit_of(node.inner)
    if isinstance(node, Call):
        if node.name in UNITLESS or node.name in {"rate", "increase", "irate", "delta", "deriv"}:
            # Only a quantile leads from a histogram's rate back to its unit.
            return ""
        inner = [unit for unit in map(unit_of_inner, node.arguments) if unit]
        return inner[0] if node.name in {"histogram_quantile", *OVER_TIME} and inner else ""
    return ""


def unit_of_inner(node: Node) -> str:
    """Return the unit of the first metric in an expression, whatever is done to it."""
    return next((unit for selector in selectors(node) if (unit := unit_of(selector))), "")


def metric_of(selector: Selector) -> str:
    """Return a selector's metric, nothing where it names none."""
    return next((it.value for it in selector.matchers if it.name == NAME and it.operator is MatchOperator.EQUAL), "")


def metrics_read(root: Node) -> list[str]:
    """Return what an expression reads, by metric; whether something is up, by its job too."""
    found = []
    for selector in selectors(root):
        name = metric_of(selector)
        job = next(
            (it.value for it in selector.matchers if it.name == "job" and it.operator is MatchOperator.EQUAL), ""
        )
        found.append(f'{name}{{job="{job}"}}' if name == "up" and job else name)
    return sorted(set(found))
