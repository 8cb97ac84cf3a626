"""Questions that reach further back than our own numbers."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from toban.core.errors import StoreError
from toban.core.matchers import Matcher
from toban.core.ports import QueryEngine
from toban.core.query_result import QueryResult
from toban.promql.executor import QueryExecutor
from toban.promql.syntax_tree import Anchor, Node, Range, Selector, Subquery, children

Oldest = Callable[[Sequence[Matcher]], int | None]
"""Tells the time of the oldest number of the series that meet conditions (milliseconds), nothing where none is."""

SLACK: Final = 5 * 60_000
"""Milliseconds that a question may reach further back than our numbers and still be ours: a lookback's length."""


class TieredEngine:
    """
    A ``QueryEngine`` of two: the embedded one for what it holds, the outside one for what reaches further back.

    A question goes to one of them as a whole. When the outside one can't be reached, the answer is what is known here,
    with a warning that says so.
    """

    def __init__(self, inside: QueryExecutor, outside: QueryEngine, oldest: Oldest) -> None:
        self._inside = inside
        self._outside = outside
        self._oldest = oldest

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """Return what the query comes to at one time (milliseconds). Raises ``QueryError`` or ``StoreError``."""
        if await asyncio.to_thread(self._is_ours, query, at, at):
            return await self._inside.instant(query, at, patience=patience)
        try:
            return await self._outside.instant(query, at, patience=patience)
        except StoreError as error:
            return _partial(await self._inside.instant(query, at, patience=patience), error)

    async def range(
        self, query: str, start: int, end: int, step: int, *, patience: timedelta | None = None
    ) -> QueryResult:
        """Return a matrix over start, start + step, … up to end (milliseconds). Raises like ``instant``."""
        if await asyncio.to_thread(self._is_ours, query, start, end):
            return await self._inside.range(query, start, end, step, patience=patience)
        try:
            return await self._outside.range(query, start, end, step, patience=patience)
        except StoreError as error:
            return _partial(await self._inside.range(query, start, end, step, patience=patience), error)

    def _is_ours(self, query: str, start: int, end: int) -> bool:
        engine = self._inside.engine
        lookback = engine.lookback // timedelta(milliseconds=1)
        for selector, since in oldest_read(engine.parse(query).root, start, start, end, lookback):
            oldest = self._oldest(selector.matchers)
            if oldest is None or since < oldest - SLACK:
                return False
        return True


def oldest_read(node: Node, first: int, start: int, end: int, lookback: int) -> Iterator[tuple[Selector, int]]:
    """
    Return each selector of a query from ``start`` to ``end``, and the earliest time that it looks at (milliseconds).

    ``first`` is the earliest time at which the node itself is looked at.
    """
    match node:
        case Selector():
            yield node, _placed(node, first, start, end) - lookback
        case Range(selector=selector, span=span):
            yield selector, _placed(selector, first, start, end) - span
        case Subquery(inner=inner, span=span):
            yield from oldest_read(inner, _placed(node, first, start, end) - span, start, end, lookback)
        case _:
            for child in children(node):
                yield from oldest_read(child, first, start, end, lookback)


def _placed(node: Selector | Subquery, first: int, start: int, end: int) -> int:
    if node.at is None:
        return first - node.offset
    at = {Anchor.START: start, Anchor.END: end}[node.at] if isinstance(node.at, Anchor) else node.at
    return at - node.offset


def _partial(answer: QueryResult, error: StoreError) -> QueryResult:
    said = f"{error}; what toban itself no longer holds is missing here"
    return QueryResult(
        answer.type,
        answer.series,
        answer.text,
        answer.at,
        (*answer.warnings, said),
        answer.infos,
        samples=answer.samples,
    )
