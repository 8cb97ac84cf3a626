"""The syntax tree of a query."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.query_result import ResultType


class Anchor(StrEnum):
    """The ends of the whole query, for ``@ start()`` and ``@ end()``."""

    START = "start"
    END = "end"


At: TypeAlias = Anchor | int | None
"""The ``@`` modifier: an end of the query, milliseconds, or None."""


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number, or a duration in seconds."""

    value: float


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant vector selector: the newest sample of each series that matches; ``offset`` in milliseconds."""

    matchers: tuple[Matcher, ...]
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Range:
    """A range vector selector: the samples of the last ``span`` milliseconds of each series."""

    selector: Selector
    span: int


@dataclass(frozen=True, slots=True)
class Subquery:
    """A subquery: the results of an expression at each ``step`` within ``span`` (milliseconds)."""

    inner: "Node"
    span: int
    step: int
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Negation:
    """Unary minus."""

    inner: "Node"


@dataclass(frozen=True, slots=True)
class Matching:
    """
    Vector matching.

    ``labels`` are the only labels that are compared (``on``), or the only ones that are ignored. ``many`` is the side
    that may have several series for one of the other (``left``, ``right``, or empty); its series get the labels
    ``include`` of the other side.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    many: str = ""
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BinaryExpression:
    """A binary operator and its sides; with ``bool`` a comparison returns 0 or 1."""

    operator: str
    left: "Node"
    right: "Node"
    matching: Matching
    bool: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    name: str
    arguments: tuple["Node", ...]
    shape: ResultType


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregation by ``labels``, or by all others (``without``)."""

    operator: str
    inner: "Node"
    parameter: "Node | None" = None
    labels: tuple[str, ...] = ()
    without: bool = False


Node: TypeAlias = (
    NumberLiteral | StringLiteral | Selector | Range | Subquery | Negation | BinaryExpression | Call | Aggregation
)


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query as text and as a tree."""

    text: str
    root: Node


def result_type_of(node: Node) -> ResultType:
    """Return the type of a node's result."""
    match node:
        case NumberLiteral():
            return ResultType.SCALAR
        case StringLiteral():
            return ResultType.STRING
        case Range() | Subquery():
            return ResultType.MATRIX
        case Call(shape=shape):
            return shape
        case Negation(inner=inner):
            return result_type_of(inner)
        case BinaryExpression(left=left, right=right):
            return (
                ResultType.SCALAR
                if result_type_of(left) is result_type_of(right) is ResultType.SCALAR
                else ResultType.VECTOR
            )
        case _:
            return ResultType.VECTOR


def children(node: Node) -> tuple[Node, ...]:
    """Return the children of a node."""
    match node:
        case Range(selector=selector):
            return (selector,)
        case Subquery(inner=inner) | Negation(inner=inner):
            return (inner,)
        case BinaryExpression(left=left, right=right):
            return (left, right)
        case Call(arguments=arguments):
            return arguments
        case Aggregation(inner=inner, parameter=parameter):
            return (inner,) if parameter is None else (parameter, inner)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Return a node and all its descendants."""
    yield node
    for child in children(node):
        yield from walk(child)


def selectors(node: Node) -> Iterator[Selector]:
    """Return all selectors in a node."""
    return (it for it in walk(node) if isinstance(it, Selector))


def metric_of(selector: Selector) -> str:
    """Return a selector's metric name, or an empty string."""
    return next((it.value for it in selector.matchers if it.name == NAME and it.operator is MatchOperator.EQUAL), "")


def reach(node: Node, lookback: int) -> int:
    """Return how many milliseconds before a step a node reads, regardless of offsets and ``@``."""
    match node:
        case Selector():
            return lookback
        case Range(span=span):
            return span
        case Subquery(inner=inner, span=span):
            return span + reach(inner, lookback)
        case _:
            return max((reach(child, lookback) for child in children(node)), default=0)
