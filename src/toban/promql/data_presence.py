"""Whether the data that a query reads exists: tells an empty result from missing data."""

from collections.abc import Callable
from typing import Final

from toban.core.query_result import DataPresence
from toban.promql.syntax_tree import Aggregation, BinaryExpression, Call, Negation, Node, Range, Selector, Subquery

Has = Callable[[Selector, int], bool]
"""Returns whether a selector has samples within a range (milliseconds; 0 is the lookback delta)."""

ABSENCE: Final = frozenset({"absent", "absent_over_time"})


def data_presence(node: Node, has: Has) -> DataPresence:
    """
    Return how much of the data that a query reads exists.

    An operation needs both of its sides, ``or`` either, ``unless`` the left one; ``absent`` needs no data.
    """
    match node:
        case Selector():
            return DataPresence.PRESENT if has(node, 0) else DataPresence.MISSING
        case Range(selector, span):
            return DataPresence.PRESENT if has(selector, span) else DataPresence.NO_INCREASE
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
