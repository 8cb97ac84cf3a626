"""How far back the selectors of a query read."""

from collections.abc import Iterator

from toban.promql.syntax_tree import Anchor, Node, Range, Selector, Subquery, children


def earliest_reads(node: Node, first: int, start: int, end: int, lookback: int) -> Iterator[tuple[Selector, int]]:
    """
    Return each selector of a query from ``start`` to ``end``, and the earliest time that it reads (milliseconds).

    ``first`` is the earliest time at which the node itself is evaluated.
    """
    match node:
        case Selector():
            yield node, _read_time(node, first, start, end) - lookback
        case Range(selector=selector, span=span):
            yield selector, _read_time(selector, first, start, end) - span
        case Subquery(inner=inner, span=span):
            yield from earliest_reads(inner, _read_time(node, first, start, end) - span, start, end, lookback)
        case _:
            for child in children(node):
                yield from earliest_reads(child, first, start, end, lookback)


def _read_time(node: Selector | Subquery, first: int, start: int, end: int) -> int:
    if node.at is None:
        return first - node.offset
    at = {Anchor.START: start, Anchor.END: end}[node.at] if isinstance(node.at, Anchor) else node.at
    return at - node.offset
