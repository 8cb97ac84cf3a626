"""Parses queries, with the errors of Loki."""

from datetime import timedelta
from typing import Final

from toban.core.config_types import parse_duration
from toban.core.matchers import Matcher
from toban.logs.logql.lexer import ParseError, Token, TokenKind
from toban.logs.logql.operators import COMPARISONS, PRECEDENCE, SET_OPERATORS, calculate
from toban.logs.logql.pipeline_parser import Pipeline, parse_pipeline, parse_selector
from toban.logs.logql.syntax_tree import (
    BinaryExpression,
    Grouping,
    LogQuery,
    MetricQuery,
    NumberLiteral,
    Query,
    RangeAggregation,
    VectorAggregation,
    VectorLiteral,
)
from toban.logs.logql.token_reader import TokenReader

OVER_LINES: Final = frozenset({"count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"})
"""Range aggregations that need no ``unwrap``."""

OVER_SAMPLES: Final = frozenset(
    {f"{it}_over_time" for it in ("sum", "avg", "min", "max", "stddev", "stdvar", "quantile", "first", "last")}
)
"""Range aggregations over what ``unwrap`` reads; also ``rate`` has one over such samples."""

AGGREGATIONS: Final = frozenset({"sum", "avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk"})
"""Aggregations of several series into one, or into the largest or smallest of them."""

UNSUPPORTED: Final = frozenset(
    {"rate_counter", "label_replace", "sort", "sort_desc", "approx_topk", "variants", "count_values"}
)
"""Functions of Loki that toban does not have."""

_MAX_SPAN: Final = timedelta(days=3650)


def parse(text: str) -> Query:
    """Parse a query. Raises ``ParseError``."""
    reader = TokenReader(text)
    query = _query(reader)
    if reader.next.kind is not TokenKind.END:
        raise reader.unexpected()
    return query


def parse_log_query(text: str) -> LogQuery:
    """Parse a query for lines. Raises ``ParseError``."""
    query = parse(text)
    if not isinstance(query, LogQuery):
        raise ParseError("only log selector is supported")
    return query


def parse_metric_query(text: str) -> MetricQuery:
    """Parse a query for series. Raises ``ParseError``."""
    query = parse(text)
    if isinstance(query, LogQuery):
        raise ParseError("only metric queries are supported here: write it like count_over_time({…}[5m])")
    return query


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Parse the selector of streams alone; an empty text, and ``{}``, select all. Raises ``ParseError``."""
    if not text.strip():
        return ()
    reader = TokenReader(text)
    matchers = parse_selector(reader, may_be_empty=True)
    if reader.next.kind is not TokenKind.END:
        raise ParseError("only label matchers are supported")
    return matchers


def _query(reader: TokenReader, precedence: int = 0) -> Query:
    with reader.nested():
        begin = reader.next.start
        left = _operand(reader)
        while (
            reader.next.kind in {TokenKind.OPERATOR, TokenKind.KEYWORD}
            and PRECEDENCE.get(reader.next.text.lower(), -1) >= precedence
        ):
            left = _binary(reader, left, begin)
        return left


def _binary(reader: TokenReader, left: Query, begin: int) -> Query:
    """Parse an operator and its right side; the left one begins at an offset."""
    token = reader.read()
    operator = token.text.lower()
    is_bool = reader.next.text.lower() == "bool"
    if is_bool and (operator not in COMPARISONS or not reader.accept("bool")):
        raise reader.unexpected()
    if reader.is_next("on", "ignoring", "group_left", "group_right"):
        raise reader.error(f"{reader.next} is not supported: series match by all their labels", reader.next)
    right_begin = reader.next.start
    # `^` associates to the right.
    right = _query(reader, PRECEDENCE[operator] + (operator != "^"))
    for side, leg in (("left", left), ("right", right)):
        if isinstance(leg, LogQuery):
            raise reader.error(f"unexpected type for {side} leg of binary operation ({operator}): a log query", token)
        if isinstance(leg, NumberLiteral) and operator in SET_OPERATORS:
            raise reader.error(
                f"unexpected literal for {side} leg of logical/set binary operation ({operator}): {leg.value:g}", token
            )
    assert not isinstance(left, LogQuery) and not isinstance(right, LogQuery)  # noqa: S101  # for mypy
    if isinstance(left, NumberLiteral) and isinstance(right, NumberLiteral):
        return NumberLiteral(calculate(operator, left.value, right.value))
    sides = (reader.source(begin, token.start), reader.source(right_begin, reader.next.start))
    return BinaryExpression(operator, left, right, is_bool, sides)


def _operand(reader: TokenReader) -> Query:
    token = reader.next
    if reader.is_next("{"):
        return _log_query(reader)
    if reader.accept("("):
        query = _query(reader)
        reader.expect(")")
        if isinstance(query, LogQuery):
            pipeline = Pipeline(list(query.stages))
            parse_pipeline(reader, pipeline)
            return LogQuery(query.matchers, tuple(pipeline.stages))
        return query
    if token.kind is TokenKind.NUMBER or reader.is_next("-", "+"):
        return NumberLiteral(_number(reader))
    if token.kind is TokenKind.IDENTIFIER and _is_call(reader):
        return _call(reader)
    raise reader.unexpected()


def _is_call(reader: TokenReader) -> bool:
    name, after = reader.next.text.lower(), reader.after_next.text.lower()
    return name in OVER_LINES | OVER_SAMPLES | AGGREGATIONS | UNSUPPORTED | {"vector"} and (
        after in {"(", "by", "without"}
    )


def _call(reader: TokenReader) -> MetricQuery:
    token = reader.read()
    name = token.text.lower()
    if name in UNSUPPORTED:
        raise reader.error(f"{name} is not supported", token)
    if name == "vector":
        reader.expect("(")
        literal = VectorLiteral(_number(reader))
        reader.expect(")")
        return literal
    if name in AGGREGATIONS:
        return _vector_aggregation(reader, token)
    return _range_aggregation(reader, token)


def _log_query(reader: TokenReader) -> LogQuery:
    matchers, pipeline = parse_selector(reader), Pipeline()
    parse_pipeline(reader, pipeline)
    return LogQuery(matchers, tuple(pipeline.stages))


def _vector_aggregation(reader: TokenReader, token: Token) -> VectorAggregation:
    operator = token.text.lower()
    has_parameter = operator in {"topk", "bottomk"}
    grouping = _grouping(reader)
    reader.expect("(")
    parameter = 0
    if has_parameter:
        number = reader.next
        if number.kind is not TokenKind.NUMBER:
            raise reader.error(f"parameter required for operation {operator}", number)
        reader.read()
        parameter = int(number.text) if number.text.isdecimal() and len(number.text) < 10 else 0
        if parameter <= 0:
            raise reader.error(f"invalid parameter {operator}({number.text},", number)
        reader.expect(",")
    first = reader.next
    inner = _query(reader)
    if isinstance(inner, LogQuery):
        raise reader.unexpected() if reader.next.kind is TokenKind.RANGE else reader.unexpected(first)
    reader.expect(")")
    if grouping is None:
        grouping = _grouping(reader)
    return VectorAggregation(operator, inner, grouping or Grouping(), parameter)


def _grouping(reader: TokenReader) -> Grouping | None:
    if not reader.is_next("by", "without"):
        return None
    without = reader.read().text.lower() == "without"
    reader.expect("(")
    labels = list[str]()
    while not reader.accept(")"):
        if labels:
            reader.expect(",", ") or ,")
        labels.append(reader.name())
    return Grouping(tuple(labels), without)


def _range_aggregation(reader: TokenReader, token: Token) -> RangeAggregation:
    function, parameter = token.text.lower(), 0.0
    grouping = _grouping(reader)
    reader.expect("(")
    if function == "quantile_over_time":
        if reader.next.kind is not TokenKind.NUMBER:
            raise reader.error(f"parameter required for operation {function}", reader.next)
        parameter = _number(reader)
        reader.expect(",")
    matchers, pipeline, span, offset, source = _log_range(reader)
    reader.expect(")")
    grouping = grouping or _grouping(reader)
    is_over_samples = function in OVER_SAMPLES
    if is_over_samples and pipeline.unwrap is None:
        raise ParseError(f"invalid aggregation {function} without unwrap")
    if pipeline.unwrap is not None and not is_over_samples and function not in {"rate", "absent_over_time"}:
        raise ParseError(f"invalid aggregation {function} with unwrap")
    if grouping is not None and (not is_over_samples or function == "sum_over_time"):
        raise ParseError(f"grouping not allowed for {function} aggregation")
    return RangeAggregation(
        function,
        LogQuery(matchers, tuple(pipeline.stages)),
        span,
        offset,
        pipeline.unwrap,
        tuple(pipeline.filters),
        parameter,
        grouping,
        source,
    )


def _log_range(reader: TokenReader) -> tuple[tuple[Matcher, ...], Pipeline, int, int, str]:
    """
    Parse a selector, a pipeline, and the range, which may stand before and behind the pipeline.

    Returned last is the query for lines as it is written.
    """
    pipeline = Pipeline()
    is_in_parentheses = reader.accept("(")
    begin = reader.next.start
    matchers = parse_selector(reader)
    parse_pipeline(reader, pipeline, may_unwrap=True)
    source = reader.source(begin, pipeline.end)
    if is_in_parentheses:
        reader.expect(")")
    token = reader.expect_kind(TokenKind.RANGE)
    span, offset = _milliseconds(reader, token, token.text), 0
    if reader.accept("offset"):
        sign = -1 if reader.accept("-") else 1
        token = reader.expect_kind(TokenKind.DURATION)
        offset = sign * _milliseconds(reader, token, token.text)
    begin = reader.next.start
    parse_pipeline(reader, pipeline, may_unwrap=True)
    return matchers, pipeline, span, offset, f"{source} {reader.source(begin, pipeline.end)}".strip()


def _milliseconds(reader: TokenReader, token: Token, text: str) -> int:
    try:
        span = parse_duration(text)
    except ValueError:
        raise reader.error(f'not a valid duration string: "{text}"', token) from None
    if span > _MAX_SPAN:
        raise reader.error(f"the duration {text} is too long", token)
    return span // timedelta(milliseconds=1)


def _number(reader: TokenReader) -> float:
    sign = 1
    while reader.is_next("-", "+"):
        sign = -sign if reader.read().text == "-" else sign
    return sign * float(reader.expect_kind(TokenKind.NUMBER).text)
