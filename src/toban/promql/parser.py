"""Reading a query. The only module that knows ``promql_parser``."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

import promql_parser as parser

from toban.core.errors import BadQueryError
from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.query_result import ResultType
from toban.promql import syntax_errors
from toban.promql.lexer import SET_OPERATORS, LexerError, line_and_column, plain, tokens
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
"""How deep a query may be nested: the evaluator recurses."""

DEFAULT_STEP: Final = 60_000
"""The step of a subquery that names none, in milliseconds: Prometheus' default evaluation interval."""

_LONGEST: Final = 2**63 // 1_000_000
"""The longest duration in milliseconds: Go's, which counts nanoseconds."""

_LATEST: Final = 2**62
"""The latest time in milliseconds, with room to add durations."""

_SYSTEM_TIME = re.compile(r"SystemTime\s*\{\s*tv_sec:\s*(-?\d+),\s*tv_nsec:\s*(\d+)")
_NATIVE = frozenset({"histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"})
_EXPERIMENTAL = frozenset({"limitk", "limit_ratio"})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


class ParseError(BadQueryError):
    """
    The text is no query.

    Prometheus' API puts ``invalid parameter "query": `` before such a message.
    """


class UnsupportedError(ParseError):
    """Prometheus has it, behind a feature flag or for native histograms; toban has not."""


def parse(text: str) -> ParsedQuery:
    """Read a query. Raises ``ParseError``, which says where the mistake is where it has one place."""
    tree = _tree(text)
    try:
        return ParsedQuery(text, _node(tree, 0))
    except (ValueError, OverflowError) as error:
        raise ParseError(f"parse error: {error}") from error


def format_query(text: str) -> str:
    """Write a query as Prometheus formats it, on several lines where it is long. Raises ``ParseError``."""
    parse(text)
    return str(_tree(text).prettify())


def _tree(text: str) -> Any:
    """Return the parser's tree of a text that can't make it recurse beyond its stack."""
    try:
        found = tokens(text)
    except LexerError as error:
        where = "" if error.offset is None else f"{line_and_column(text, error.offset)}: "
        raise ParseError(f"{where}parse error: {error}") from error
    try:
        return _parsed(plain(found))
    except ParseError:
        raise
    except ValueError as error:
        offset, message = syntax_errors.locate_error(found, str(error), _refusal)
        raise ParseError(f"{line_and_column(text, offset)}: parse error: {message}") from error


def _parsed(text: str) -> Any:
    try:
        return parser.parse(text)
    except OverflowError as error:
        raise ParseError(f"parse error: {error}") from error
    except BaseException as error:
        # How Rust says that a number is no duration; the class can't be imported, and is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ParseError("parse error: duration out of range") from error


def _refusal(text: str) -> str:
    """Return what the parser says to a part of a query that it was given before; nothing when it takes it."""
    try:
        _parsed(text)
    except (ParseError, ValueError) as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides of a comparison, as text."""

    left: str
    operator: str
    right: str


def comparisons(text: str) -> list[Comparison]:
    """Return the comparisons that a query is made of, where ``and``, ``or`` and ``unless`` join them."""
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
    """Return the selectors of a query, as text, each once."""
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
    """Read a selector alone, like ``up{job="shop"}``. Raises ``ParseError`` for any other query."""
    root = parse(text).root
    if not isinstance(root, Selector) or root.offset or root.at is not None:
        raise ParseError(f"parse error: {text} is no plain selector of series")
    return root.matchers


def _node(tree: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ParseError(f"parse error: nested more than {MAX_DEPTH} deep")
    return _READERS[type(tree)](tree, depth + 1)


class _Placed(Protocol):
    """A part of the tree that may have an offset and an ``@``."""

    offset: timedelta | None
    at: Any


def _milliseconds(length: timedelta) -> int:
    result = length // timedelta(milliseconds=1)
    if abs(result) > _LONGEST:
        raise ParseError("parse error: duration out of range")
    return result


def _offset(tree: _Placed) -> int:
    return _milliseconds(tree.offset) if tree.offset else 0


def _at(tree: _Placed) -> At:
    if tree.at is None:
        return None
    if tree.at.type == parser.AtModifierType.Start:
        return Anchor.START
    if tree.at.type == parser.AtModifierType.End:
        return Anchor.END
    # `tree.at.at` panics for times before 1970; what the tree prints is right, and its own time comes last.
    seconds, nanoseconds = _SYSTEM_TIME.findall(repr(tree))[-1]
    at = int(seconds) * 1000 + int(nanoseconds) // 1_000_000
    if abs(at) > _LATEST:
        raise ParseError(f"parse error: timestamp out of bounds for @ modifier: {at / 1000:f}")
    return at


def _matcher(matcher: parser.Matcher) -> Matcher:
    for op, match in (
        (parser.MatchOp.Equal, MatchOperator.EQUAL),
        (parser.MatchOp.NotEqual, MatchOperator.NOT_EQUAL),
        (parser.MatchOp.Re, MatchOperator.REGEX),
    ):
        if matcher.op == op:
            return _made(matcher, match)
    return _made(matcher, MatchOperator.NOT_REGEX)


def _made(matcher: parser.Matcher, match: MatchOperator) -> Matcher:
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


_SHAPES = ((parser.ValueType.Scalar, ResultType.SCALAR), (parser.ValueType.Vector, ResultType.VECTOR))


def _call(tree: Any, depth: int) -> Node:
    name = tree.func.name
    if tree.func.experimental:
        raise UnsupportedError(f'parse error: function "{name}" is experimental and not enabled')
    if name in _NATIVE:
        raise UnsupportedError(f'parse error: function "{name}" is for native histograms, which toban does not have')
    shape = next(shape for kind, shape in _SHAPES if kind == tree.func.return_type)
    return Call(name, tuple(_node(argument, depth) for argument in tree.args), shape)


def _aggregation(tree: Any, depth: int) -> Node:
    operator = str(tree.op)
    if operator in _EXPERIMENTAL:
        raise UnsupportedError(f"parse error: {operator} is experimental and not enabled")
    parameter = _node(tree.param, depth) if tree.param is not None else None
    labels = tuple(tree.modifier.labels) if tree.modifier else ()
    without = tree.modifier is not None and tree.modifier.type == parser.AggModifierType.Without
    return Aggregation(operator, _node(tree.expr, depth), parameter, labels, without)


_READERS: Final[dict[type, Callable[[Any, int], Node]]] = {
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
