"""Prints the syntax tree of a query as text: what is parsed from that is the same tree."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import re2

from toban.core.labels import quote
from toban.core.matchers import Matcher
from toban.logs.line_store import TextFilter
from toban.logs.logql.pipeline_parser import LINE_FILTERS
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    BothConditions,
    Condition,
    Decolorize,
    EitherCondition,
    Grouping,
    JsonParser,
    LabelFilter,
    LabelFormat,
    LabelSelection,
    LineFilter,
    LineFormat,
    LogfmtParser,
    LogQuery,
    MetricQuery,
    NumberCondition,
    NumberLiteral,
    PatternParser,
    Query,
    RangeAggregation,
    RegexpParser,
    Stage,
    Template,
    TemplatePart,
    TextCondition,
    Unit,
    Unwrap,
    VectorAggregation,
    VectorLiteral,
)
from toban.logs.logql.templates import LINE

_OPERATORS: Final = {kinds: operator for operator, kinds in LINE_FILTERS.items()}
_SUFFIXES: Final = {Unit.NUMBER: "", Unit.DURATION: "s", Unit.BYTES: "B"}
_CONVERSIONS: Final = {Unit.DURATION: "duration", Unit.BYTES: "bytes"}
_SPANS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_KEY: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def print_query(query: Query) -> str:
    """
    Return a query as text.

    LogQL has no filter that ignores case: such a one becomes a regular expression that does.
    """
    if isinstance(query, LogQuery):
        return " ".join([print_selector(query.matchers), *(print_stage(stage) for stage in query.stages)])
    return _metric_query(query)


def print_selector(matchers: Iterable[Matcher]) -> str:
    """Return the selector of streams."""
    return f"{{{', '.join(str(it) for it in matchers)}}}"


def print_stage(stage: Stage) -> str:
    """Return a stage of a pipeline."""
    match stage:
        case LineFilter(filter=text_filter):
            return _line_filter(text_filter)
        case JsonParser(fields=fields):
            return _parser("json", [(name, _path(path)) for name, path in fields])
        case LogfmtParser(fields=fields):
            return _parser("logfmt", fields)
        case PatternParser(parts=parts):
            pattern = "".join(it.literal or f"<{it.name or '_'}>" for it in parts)
            return f"| pattern {quote(pattern)}"
        case RegexpParser(regex=regex):
            return f"| regexp {quote(regex.pattern)}"
        case LabelFilter(condition=condition):
            return f"| {print_condition(condition)}"
        case LabelSelection(names=names, matchers=matchers, is_kept=is_kept):
            return f"| {'keep' if is_kept else 'drop'} {', '.join([*names, *(str(it) for it in matchers)])}"
        case LabelFormat(labels=labels):
            pairs = (f"{name}={it if isinstance(it, str) else quote(_template(it))}" for name, it in labels)
            return f"| label_format {', '.join(pairs)}"
        case LineFormat(template=template):
            return f"| line_format {quote(_template(template))}"
        case Decolorize():
            return "| decolorize"


def print_condition(condition: Condition) -> str:
    """Return the condition of a label filter."""
    match condition:
        case TextCondition(matcher=matcher):
            return str(matcher)
        case NumberCondition(name=name, operator=operator, value=value, unit=unit):
            return f"{name} {operator} {_number(value)}{_SUFFIXES[unit]}"
        case BothConditions(left=left, right=right):
            first = _nested(left) if isinstance(left, EitherCondition) else print_condition(left)
            return f"{first} and {_nested(right)}"
        case EitherCondition(left=left, right=right):
            second = _nested(right) if isinstance(right, EitherCondition) else print_condition(right)
            return f"{print_condition(left)} or {second}"


def _nested(condition: Condition) -> str:
    text = print_condition(condition)
    return f"({text})" if isinstance(condition, BothConditions | EitherCondition) else text


def _line_filter(text_filter: TextFilter) -> str:
    texts, is_regex = text_filter.texts, text_filter.is_regex
    if text_filter.ignore_case:
        texts = tuple(f"(?i){text if is_regex else re2.escape(text)}" for text in texts)
        is_regex = True
    return f"{_OPERATORS[is_regex, text_filter.is_negated]} {' or '.join(quote(text) for text in texts)}"


def _parser(name: str, fields: Iterable[tuple[str, str]]) -> str:
    pairs = ", ".join(f"{label}={quote(expression)}" for label, expression in fields)
    return f"| {name} {pairs}" if pairs else f"| {name}"


def _path(path: Iterable[str | int]) -> str:
    """Return a path like ``request.headers["x-id"][0]``; what is between quotes is kept as it was written."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _KEY.fullmatch(key):
            text += f".{key}" if text else key
        else:
            text += f'["{key}"]'
    return text


def _template(template: Template) -> str:
    return "".join(it.text or f"{{{{{_value(it)}}}}}" for it in template)


def _value(part: TemplatePart) -> str:
    return " | ".join([part.name if part.name == LINE else f".{part.name}", *part.functions])


def _metric_query(query: MetricQuery) -> str:
    match query:
        case NumberLiteral(value=value) if math.isnan(value):
            return "(0 / 0)"
        case NumberLiteral(value=value) if math.isinf(value):
            return f"({'-' if value < 0 else ''}1 / 0)"
        case NumberLiteral(value=value):
            return f"({_number(value)})" if math.copysign(1, value) < 0 else _number(value)
        case VectorLiteral(value=value):
            return f"vector({_number(value)})"
        case RangeAggregation():
            return _range_aggregation(query)
        case VectorAggregation(operator=operator, inner=inner, grouping=grouping, parameter=parameter):
            by = f" {_grouping(grouping)} " if grouping != Grouping() else ""
            first = f"{parameter}, " if parameter else ""
            return f"{operator}{by}({first}{_metric_query(inner)})"
        case BinaryExpression(operator=operator, left=left, right=right):
            return f"{_operand(left)} {operator}{' bool' if query.bool else ''} {_operand(right)}"


def _operand(query: MetricQuery) -> str:
    text = _metric_query(query)
    return f"({text})" if isinstance(query, BinaryExpression) else text


def _range_aggregation(query: RangeAggregation) -> str:
    first = f"{_number(query.parameter)}, " if query.function == "quantile_over_time" else ""
    parts = [print_query(query.query), _unwrap(query.unwrap), *(print_stage(it) for it in query.filters)]
    offset = f" offset {'-' if query.offset < 0 else ''}{_span(abs(query.offset))}" if query.offset else ""
    by = f" {_grouping(query.grouping)}" if query.grouping is not None else ""
    pipeline = " ".join(part for part in parts if part)
    return f"{query.function}({first}{pipeline} [{_span(query.span)}]{offset}){by}"


def _unwrap(unwrap: Unwrap | None) -> str:
    if unwrap is None:
        return ""
    conversion = _CONVERSIONS.get(unwrap.unit)
    return f"| unwrap {f'{conversion}({unwrap.name})' if conversion else unwrap.name}"


def _grouping(grouping: Grouping) -> str:
    return f"{'without' if grouping.without else 'by'} ({', '.join(grouping.labels)})"


def _span(milliseconds: int) -> str:
    unit = next((unit for unit, length in _SPANS.items() if milliseconds % length == 0), "ms") if milliseconds else "s"
    return f"{milliseconds // _SPANS[unit]}{unit}"


def _number(value: float) -> str:
    """Return a number without an exponent, which a duration can't have."""
    if math.isinf(value):
        return "-1e999" if value < 0 else "1e999"
    text = f"{Decimal(repr(value)):f}"
    return text.removesuffix(".0")
