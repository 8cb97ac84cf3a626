"""A query as a tree."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from toban.core.matchers import Matcher
from toban.core.query_result import ResultType


class Anchor(StrEnum):
    """The ends of the whole query, for ``@ start()`` and ``@ end()``."""

    START = "start"
    END = "end"


At: TypeAlias = Anchor | int | None
"""What ``@`` says: an end of the query, milliseconds, or nothing."""


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
    """The newest sample of each series that meets the conditions; ``offset`` in milliseconds."""

    matchers: tuple[Matcher, ...]
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Range:
    """The samples of the last ``span`` milliseconds of each series."""

    selector: Selector
    span: int


@dataclass(frozen=True, slots=True)
class Subquery:
    """A range made by asking again and again; milliseconds. Without ``step``, Prometheus' default of a minute."""

    inner: "Node"
    span: int
    step: int
    offset: int = 0
    at: At = None


@dataclass(frozen=True, slots=True)
class Negation:
    """Minus something."""

    inner: "Node"


@dataclass(frozen=True, slots=True)
class Matching:
    """
    How the series of two vectors find each other.

    ``on`` says whether ``labels`` are the only ones that count or the only ones that don't. ``many`` names the side
    that may have several series to one of the other (``left``, ``right``, or neither); it gets the labels ``include``
    of the other side.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    many: str = ""
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BinaryExpression:
    """Two sides and an operator; ``bool`` makes a comparison answer 0 or 1."""

    operator: str
    left: "Node"
    right: "Node"
    matching: Matching
    bool: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function and what it is given."""

    name: str
    arguments: tuple["Node", ...]
    shape: ResultType


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Many series made few: grouped by ``labels``, or by all but these (``without``)."""

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
    """What was asked, as text and as a tree."""

    text: str
    root: Node


def result_type_of(node: Node) -> ResultType:
    """Return the shape of what a node comes to."""
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
    """Return what a node is made of."""
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
    """Return a node and all that it is made of."""
    yield node
    for child in children(node):
        yield from walk(child)


def selectors(node: Node) -> Iterator[Selector]:
    """Return all selectors in a node."""
    return (it for it in walk(node) if isinstance(it, Selector))


def reach(node: Node, lookback: int) -> int:
    """Return how much time before a step counts for it, in milliseconds, wherever offsets and ``@`` put that time."""
    match node:
        case Selector():
            return lookback
        case Range(span=span):
            return span
        case Subquery(inner=inner, span=span):
            return span + reach(inner, lookback)
        case _:
            return max((reach(child, lookback) for child in children(node)), default=0)
