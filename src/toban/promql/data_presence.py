"""Whether a query has anything to judge: an empty answer can mean that all is well, or that nobody knows."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from toban.promql.syntax_tree import Aggregation, Binary, Call, Negation, Node, Range, Selector, Subquery

Has = Callable[[Selector, int], bool]
"""Tells whether any series of a selector has samples within a reach (milliseconds; 0 is the usual lookback)."""

ABSENCE: Final = frozenset({"absent", "absent_over_time"})


class Presence(IntEnum):
    """How much of what a query reads is there."""

    MISSING = 0
    """Something whose newest value it reads is not there: nobody knows."""
    QUIET = 1
    """Only what it counts over a time is not there: a counter that isn't there has counted nothing."""
    PRESENT = 2


def presence(node: Node, has: Has) -> Presence:
    """
    Return how much of what a query reads is there.

    Both sides of an operation are needed, either of ``or``; ``unless`` needs its left, and a question for absence is
    answered by absence.
    """
    match node:
        case Selector():
            return Presence.PRESENT if has(node, 0) else Presence.MISSING
        case Range(selector, span):
            return Presence.PRESENT if has(selector, span) else Presence.QUIET
        case Subquery(inner) | Negation(inner) | Aggregation(_, inner):
            return presence(inner, has)
        case Binary("or", left, right):
            return max(presence(left, has), presence(right, has))
        case Binary("unless", left, _):
            return presence(left, has)
        case Binary(_, left, right):
            return min(presence(left, has), presence(right, has))
        case Call(name, arguments) if name not in ABSENCE:
            return min((presence(argument, has) for argument in arguments), default=Presence.PRESENT)
        case _:
            return Presence.PRESENT
