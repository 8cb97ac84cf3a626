"""What a query reads, and the unit of its result, as far as its metrics declare one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from toban.core.labels import NAME
from toban.core.matchers import MatchOperator
from toban.core.number_format import Unit
from toban.core.samples import MetricFamily
from toban.promql.lexer import SET_OPERATORS
from toban.promql.parser import parse
from toban.promql.syntax_tree import (
    Aggregation,
    BinaryExpression,
    Call,
    Negation,
    Node,
    NumberLiteral,
    Range,
    Selector,
    Subquery,
    selectors,
)

HISTOGRAM_SUFFIXES: Final = ("_bucket", "_sum", "_count")
UNITS: Final = {"seconds": Unit.SECONDS, "bytes": Unit.BYTES}
SUFFIXES: Final = {"_seconds": Unit.SECONDS, "_bytes": Unit.BYTES, "_percent": Unit.PERCENT, "_ratio": Unit.SHARE}
"""The units of metrics that declare none, by the ends of their names."""

PER_SECOND: Final = {Unit.BYTES: Unit.BYTES_PER_SECOND, Unit.SHORT: Unit.PER_SECOND}
"""The units of rates; seconds in a second have none."""

RATES: Final = frozenset({"rate", "irate", "deriv"})
COUNTS: Final = frozenset({"count", "count_values", "group", "stdvar"})
"""Aggregations whose result has another unit than what they aggregate."""

SAME_UNIT: Final = frozenset(
    {"abs", "ceil", "clamp", "clamp_max", "clamp_min", "delta", "floor", "idelta", "increase", "label_join"}
    | {"label_replace", "predict_linear", "round", "sort", "sort_desc"}
    | {f"{name}_over_time" for name in ("avg", "first", "last", "max", "min", "quantile", "stddev", "sum")}
)
"""Functions whose result has the unit of their series."""

COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class QueryDescription:
    """The metrics that a query names, and the unit of its result."""

    metrics: tuple[str, ...]
    unit: Unit


def describe_query(text: str, families: Mapping[str, MetricFamily]) -> QueryDescription:
    """Describe a query. Raises ``ParseError``."""
    root = parse(text).root
    names = (metric_name(selector) for selector in selectors(root))
    return QueryDescription(tuple(dict.fromkeys(filter(None, names))), _unit(root, families))


def family_of(metric: str, families: Mapping[str, MetricFamily]) -> MetricFamily | None:
    """Return the family of a metric; a histogram's has series with names of their own."""
    return families.get(metric) or families.get(base_name(metric))


def base_name(metric: str) -> str:
    """Return the name of the histogram that a metric may be a part of."""
    suffix = next((it for it in HISTOGRAM_SUFFIXES if metric.endswith(it)), "")
    return metric.removesuffix(suffix)


def metric_name(selector: Selector) -> str:
    """Return the name of the metric that a selector chooses; empty where it chooses none by name."""
    return next((it.value for it in selector.matchers if it.name == NAME and it.operator is MatchOperator.EQUAL), "")


def _unit(node: Node, families: Mapping[str, MetricFamily]) -> Unit:
    match node:
        case Selector():
            return _declared(metric_name(node), families)
        case Range(selector=inner) | Subquery(inner=inner) | Negation(inner=inner):
            return _unit(inner, families)
        case Aggregation(operator=operator, inner=inner):
            return Unit.SHORT if operator in COUNTS else _unit(inner, families)
        case Call(name="histogram_quantile", arguments=(_, buckets)):
            return next((_of_family(metric_name(it), families) for it in selectors(buckets)), Unit.SHORT)
        case Call(name=name, arguments=arguments):
            series = next((it for it in arguments if any(selectors(it))), None)
            if series is None:
                return Unit.SHORT
            unit = _unit(series, families)
            if name in RATES:
                return PER_SECOND.get(unit, Unit.NONE)
            return unit if name in SAME_UNIT else Unit.SHORT
        case BinaryExpression():
            return _of_operator(node, families)
        case _:
            return Unit.SHORT


def _of_operator(node: BinaryExpression, families: Mapping[str, MetricFamily]) -> Unit:
    left, right = _unit(node.left, families), _unit(node.right, families)
    if node.operator in SET_OPERATORS or (node.operator in COMPARISONS and not node.bool):
        return right if isinstance(node.left, NumberLiteral) else left
    if node.operator in {"+", "-"} and (left is right or isinstance(node.right, NumberLiteral)):
        return left
    # A product or a quotient has a unit of its own, which is not known.
    return Unit.NONE


def _declared(metric: str, families: Mapping[str, MetricFamily]) -> Unit:
    """Return the unit of a metric's values; the buckets and counts of a histogram are numbers."""
    return Unit.SHORT if metric.endswith(("_bucket", "_count")) else _of_family(metric, families)


def _of_family(metric: str, families: Mapping[str, MetricFamily]) -> Unit:
    if metric.endswith("_timestamp_seconds"):
        return Unit.NONE
    family = family_of(metric, families)
    if family and family.unit:
        return UNITS.get(family.unit, Unit.NONE)
    name = base_name(metric).removesuffix("_total")
    return next((unit for suffix, unit in SUFFIXES.items() if name.endswith(suffix)), Unit.SHORT)
