"""Whether the lines that a query counts could be there: tells an empty result from missing data."""

from collections.abc import Callable

from toban.core.query_result import DataPresence
from toban.logs.line_store import LineSelection, LineStore
from toban.logs.logql.evaluation import closed
from toban.logs.logql.syntax_tree import BinaryExpression, MetricQuery, RangeAggregation, VectorAggregation


def data_presence(query: MetricQuery, has_lines: Callable[[RangeAggregation], bool]) -> DataPresence:
    """
    Return how much of the data that a query reads exists, as ``promql.data_presence`` does for a counter's increase.

    ``has_lines`` tells whether there are lines in the range of an aggregation.
    """
    match query:
        case RangeAggregation(function="absent_over_time"):
            return DataPresence.PRESENT
        case RangeAggregation():
            return DataPresence.PRESENT if has_lines(query) else DataPresence.NO_INCREASE
        case VectorAggregation(inner=inner):
            return data_presence(inner, has_lines)
        case BinaryExpression("or", left, right):
            return max(data_presence(left, has_lines), data_presence(right, has_lines))
        case BinaryExpression("unless", left, _):
            return data_presence(left, has_lines)
        case BinaryExpression(_, left, right):
            return min(data_presence(left, has_lines), data_presence(right, has_lines))
        case _:
            return DataPresence.PRESENT


def stored_presence(store: LineStore, query: MetricQuery, at: int, check: Callable[[], None]) -> DataPresence:
    """
    Return how much of the data that a query reads at a time (milliseconds) is in a store.

    A stream may be silent because all is well: `{level="error"}` is. So lines of any stream in its range tell that
    lines arrive, and that there was nothing to count. A store without any line means that none are collected.
    ``check`` is called often, and may raise. Raises ``StoreError``.
    """

    def has_lines(aggregation: RangeAggregation) -> bool:
        end = at - aggregation.offset
        with closed(store.count(LineSelection(end - aggregation.span, end), aggregation.span)) as slices:
            for counts in slices:
                check()
                if counts:
                    return True
        return False

    presence = data_presence(query, has_lines)
    if presence is DataPresence.NO_INCREASE and not store.report().lines:
        return DataPresence.MISSING
    return presence
