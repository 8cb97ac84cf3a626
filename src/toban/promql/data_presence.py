"""Whether a query has anything to judge: an empty answer can mean that all is well, or that nobody knows."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from toban.promql.syntax_tree import Aggregation, BinaryExpression, Call, Negation, Node, Range, Selector, Subquery

Has = Callable[[Selector, int], bool]
"""Tells whether any series of a selector has samples within a reach (milliseconds; 0 is the usual lookback)."""

ABSENCE: Final = frozenset({"absent", "absent_over_time"})


class DataPresence(IntEnum):
    """How much of what a query reads is there."""

    MISSING = 0
    """Something whose newest value it reads is not there: nobody knows."""
    QUIET = 1
    """Only what it counts over a time is not there: a counter that isn't there has counted nothing."""
    PRESENT = 2


def data_presence(node: Node, has: Has) -> DataPresence:
    """
    Return how much of what a query reads is there.

    Both sides of an operation are needed, either of ``or``; ``unless`` needs its left, and a question for absence is
    answered by absence.
    """
    match node:
        case Selector():
            return DataPresence.PRESENT if has(node, 0) else DataPresence.MISSING
        case Range(selector, span):
            return DataPresence.PRESENT if has(selector, span) else DataPresence.QUIET
        case Subquery(inner) | Negation(inner) | Aggregation(_, inner):
            return data_presence(inner, has)
        case BinaryExpression("or", left, right):
            return max(data_presence(left, has), data_presence(right, has))
        case BinaryExpression("unless", left, _):
            return data_presence(left, has)
        case BinaryExpression(_, left, right):
            return min(data_presence(left, has), data_presence(right, has))
        case Call(name, arguments) if name not in ABSENCE:
            return min((data_presence(argument, has) for argument in arguments), default=DataPresence.PRESENT)
        case _:
            return DataPresence.PRESENT
