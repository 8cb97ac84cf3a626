"""Parses queries. The only module that uses ``promql_parser``."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, Protocol

import promql_parser as parser

from toban.core.errors import BadQueryError
from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.ports import Comparison
from toban.core.query_result import ResultType
from toban.promql import syntax_errors
from toban.promql.lexer import SET_OPERATORS, LexerError, line_and_column, parser_input, tokens
from toban.promql.syntax_tree import (
    Aggregation,
    Anchor,
    At,
    BinaryExpression,
    Call,
    Matching,
    Negation,
    Node,
    NumberLiteral,
    ParsedQuery,
    Range,
    Selector,
    StringLiteral,
    Subquery,
)

MAX_DEPTH: Final = 100
"""How deeply a query may be nested: the evaluator recurses."""

DEFAULT_STEP: Final = 60_000
"""The default step of a subquery in milliseconds: Prometheus' default evaluation interval."""

_MAX_DURATION: Final = 2**63 // 1_000_000
"""The longest duration in milliseconds: that of Go, which counts nanoseconds."""

_MAX_TIMESTAMP: Final = 2**62
"""The latest timestamp in milliseconds, with room to add durations."""

_SYSTEM_TIME = re.compile(r"SystemTime\s*\{\s*tv_sec:\s*(-?\d+),\s*tv_nsec:\s*(\d+)")
_NATIVE = frozenset({"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"})
_EXPERIMENTAL = frozenset({"limitk", "limit_ratio"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class ParseError(BadQueryError):
    """
    The text is not a valid query.

    Prometheus' API writes ``invalid parameter "query": `` before such a message.
    """


class UnsupportedError(ParseError):
    """The query uses a feature flag of Prometheus, or native histograms, which toban does not support."""


def parse(text: str) -> ParsedQuery:
    """Parse a query. Raises ``ParseError`` with the position of the error if it has one."""
    tree = _tree(text)
    try:
        return ParsedQuery(text, _node(tree, 0))
    except (ValueError, OverflowError) as error:
        raise ParseError(f"parse error: {error}") from error


def format_query(text: str) -> str:
    """Format a query as Prometheus does, on several lines if it is long. Raises ``ParseError``."""
    parse(text)
    return str(_tree(text).prettify())


def _tree(text: str) -> Any:
    """Return the parser's tree; the lexer's limits keep the parser from overflowing its stack."""
    try:
        found = tokens(text)
    except LexerError as error:
        position = "" if error.offset is None else f"{line_and_column(text, error.offset)}: "
        raise ParseError(f"{position}parse error: {error}") from error
    try:
        return _parsed(parser_input(found))
    except ParseError:
        raise
    except ValueError as error:
        offset, message = syntax_errors.locate_error(found, str(error), _error_of)
        raise ParseError(f"{line_and_column(text, offset)}: parse error: {message}") from error


def _parsed(text: str) -> Any:
    try:
        return parser.parse(text)
    except OverflowError as error:
        raise ParseError(f"parse error: {error}") from error
    except BaseException as error:
        # A panic of the Rust parser for a number that is no valid duration; the class can't be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise ParseError("parse error: duration out of range") from error


def _error_of(text: str) -> str:
    """Return the parser's error for a part of a query; an empty string if it is valid by itself."""
    try:
        _parsed(text)
    except (ParseError, ValueError) as error:
        return str(error)
    return ""


def comparisons(text: str) -> list[Comparison]:
    """Return the comparisons of a query that ``and``, ``or`` and ``unless`` combine."""
    return list(_comparisons(_tree(text)))


def _comparisons(tree: Any) -> Iterator[Comparison]:
    if isinstance(tree, parser.ParenExpr):
        yield from _comparisons(tree.expr)
    elif isinstance(tree, parser.BinaryExpr):
        operator = str(tree.op)
        if operator in _COMPARISONS:
            yield Comparison(_one_line(tree.lhs), operator, _one_line(tree.rhs))
        elif operator in SET_OPERATORS:
            yield from _comparisons(tree.lhs)
            yield from _comparisons(tree.rhs)


def selections(text: str) -> list[str]:
    """Return the selectors of a query as text, each once."""
    return list(dict.fromkeys(_selections(_tree(text))))


def _selections(tree: Any) -> Iterator[str]:
    if isinstance(tree, parser.VectorSelector):
        yield _one_line(tree)
    elif isinstance(tree, parser.MatrixSelector):
        yield from _selections(tree.vector_selector)
    elif isinstance(tree, parser.BinaryExpr):
        yield from _selections(tree.lhs)
        yield from _selections(tree.rhs)
    elif isinstance(tree, parser.Call):
        for argument in tree.args:
            yield from _selections(argument)
    elif hasattr(tree, "expr"):
        yield from _selections(tree.expr)


def _one_line(tree: Any) -> str:
    return " ".join(str(tree.prettify()).split())


def selector(text: str) -> tuple[Matcher, ...]:
    """Parse a series selector, like ``up{job="shop"}``. Raises ``ParseError`` for any other query."""
    root = parse(text).root
    if not isinstance(root, Selector) or root.offset or root.at is not None:
        raise ParseError(f"parse error: {text} is not a series selector")
    return root.matchers


def _node(tree: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ParseError(f"parse error: nested more than {MAX_DEPTH} deep")
    return _CONVERTERS[type(tree)](tree, depth + 1)


class _WithModifiers(Protocol):
    """A node that may have an offset and an ``@`` modifier."""

    offset: timedelta | None
    at: Any


def _milliseconds(length: timedelta) -> int:
    result = length // timedelta(milliseconds=1)
    if abs(result) > _MAX_DURATION:
        raise ParseError("parse error: duration out of range")
    return result


def _offset(tree: _WithModifiers) -> int:
    return _milliseconds(tree.offset) if tree.offset else 0


def _at(tree: _WithModifiers) -> At:
    if tree.at is None:
        return None
    if tree.at.type == parser.AtModifierType.Start:
        return Anchor.START
    if tree.at.type == parser.AtModifierType.End:
        return Anchor.END
    # `tree.at.at` panics for times before 1970; the tree's repr is right, and its own time is the last in it.
    seconds, nanoseconds = _SYSTEM_TIME.findall(repr(tree))[-1]
    at = int(seconds) * 1000 + int(nanoseconds) // 1_000_000
    if abs(at) > _MAX_TIMESTAMP:
        raise ParseError(f"parse error: timestamp out of bounds for @ modifier: {at / 1000:f}")
    return at


def _matcher(matcher: parser.Matcher) -> Matcher:
    for op, match in (
        (parser.MatchOp.Equal, MatchOperator.EQUAL),
        (parser.MatchOp.NotEqual, MatchOperator.NOT_EQUAL),
        (parser.MatchOp.Re, MatchOperator.REGEX),
    ):
        if matcher.op == op:
            return _checked_matcher(matcher, match)
    return _checked_matcher(matcher, MatchOperator.NOT_REGEX)


def _checked_matcher(matcher: parser.Matcher, match: MatchOperator) -> Matcher:
    try:
        return Matcher(matcher.name, match, matcher.value)
    except BadQueryError as error:
        raise ParseError(f"parse error: {error}") from error


def _number(tree: Any, _: int) -> Node:
    return NumberLiteral(tree.val)


def _text(tree: Any, _: int) -> Node:
    return StringLiteral(tree.val)


def _paren(tree: Any, depth: int) -> Node:
    return _node(tree.expr, depth)


def _selector(tree: Any, _: int) -> Selector:
    if tree.matchers.or_matchers:
        raise ParseError('parse error: unexpected "or" in label matching, expected "," or "}"')
    matchers = [_matcher(matcher) for matcher in tree.matchers.matchers]
    if tree.name:
        matchers.insert(0, Matcher(NAME, MatchOperator.EQUAL, tree.name))
    if all(matcher.accepts("") for matcher in matchers):
        raise ParseError("parse error: vector selector must contain at least one non-empty matcher")
    return Selector(tuple(matchers), _offset(tree), _at(tree))


def _range(tree: Any, depth: int) -> Node:
    return Range(_selector(tree.vector_selector, depth), _milliseconds(tree.range))


def _subquery(tree: Any, depth: int) -> Node:
    step = max(1, _milliseconds(tree.step)) if tree.step else DEFAULT_STEP
    return Subquery(_node(tree.expr, depth), _milliseconds(tree.range), step, _offset(tree), _at(tree))


def _negation(tree: Any, depth: int) -> Node:
    return Negation(_node(tree.expr, depth))


def _matching(modifier: parser.BinModifier | None) -> Matching:
    if modifier is None:
        return Matching()
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise UnsupportedError("parse error: fill modifiers are experimental and not enabled")
    many = ""
    if modifier.card == parser.VectorMatchCardinality.ManyToOne:
        many = "left"
    elif modifier.card == parser.VectorMatchCardinality.OneToMany:
        many = "right"
    on = modifier.matching is not None and modifier.matching.type == parser.LabelModifierType.Include
    labels = tuple(modifier.matching.labels) if modifier.matching is not None else ()
    return Matching(on, labels, many, tuple(modifier.group_labels or ()))


def _binary(tree: Any, depth: int) -> Node:
    operator = str(tree.op)
    returns_bool = operator in _COMPARISONS and tree.modifier is not None and tree.modifier.return_bool
    left, right = _node(tree.lhs, depth), _node(tree.rhs, depth)
    return BinaryExpression(operator, left, right, _matching(tree.modifier), returns_bool)


_RESULT_TYPES = ((parser.ValueType.Scalar, ResultType.SCALAR), (parser.ValueType.Vector, ResultType.VECTOR))


def _call(tree: Any, depth: int) -> Node:
    name = tree.func.name
    if tree.func.experimental:
        raise UnsupportedError(f'parse error: function "{name}" is experimental and not enabled')
    if name in _NATIVE:
        raise UnsupportedError(f'parse error: function "{name}" is for native histograms, which toban does not have')
    shape = next(shape for kind, shape in _RESULT_TYPES if kind == tree.func.return_type)
    return Call(name, tuple(_node(argument, depth) for argument in tree.args), shape)


def _aggregation(tree: Any, depth: int) -> Node:
    operator = str(tree.op)
    if operator in _EXPERIMENTAL:
        raise UnsupportedError(f"parse error: {operator} is experimental and not enabled")
    parameter = _node(tree.param, depth) if tree.param is not None else None
    labels = tuple(tree.modifier.labels) if tree.modifier else ()
    without = tree.modifier is not None and tree.modifier.type == parser.AggModifierType.Without
    return Aggregation(operator, _node(tree.expr, depth), parameter, labels, without)


_CONVERTERS: Final[dict[type, Callable[[Any, int], Node]]] = {
    parser.NumberLiteral: _number,
    parser.StringLiteral: _text,
    parser.ParenExpr: _paren,
    parser.VectorSelector: _selector,
    parser.MatrixSelector: _range,
    parser.SubqueryExpr: _subquery,
    parser.UnaryExpr: _negation,
    parser.BinaryExpr: _binary,
    parser.Call: _call,
    parser.AggregateExpr: _aggregation,
}
