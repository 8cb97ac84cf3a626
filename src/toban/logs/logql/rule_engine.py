"""Runs the queries of rules over log lines."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from toban.core.errors import QueryError, StoreError
from toban.core.labels import VALUE_LENGTH, Labels, bounded_value
from toban.core.query_result import BatchResult, DataPresence, QueryResult
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.query_limits import LogqlLimits

LIMITS: Final = LogqlLimits(time=timedelta(seconds=10))
"""The limits of a rule's query: rules wait for each other, so one must not take long."""


class LogRuleEngine:
    """
    A ``RuleEngine`` over log lines.

    Queries run one after the other; the time for which one waits does not count against its limit, so that a slow
    rule fails by itself. ``engine`` belongs to rules alone: no query of a client delays them. Values of labels are cut
    to the length that others from outside have: a fact of a line may be a long text.
    """

    def __init__(self, engine: LogqlEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Semaphore()

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """
        Return the result of a query at one time (milliseconds).

        ``time_limit`` can only shorten the engine's own. Raises ``QueryError`` or ``StoreError``.
        """
        async with self._turn:
            return _bounded(await self._engine.instant(query, at, time_limit=time_limit))

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run the first of these queries; the caller asks again for the others."""
        presence = DataPresence.PRESENT
        outcome: QueryResult | QueryError | StoreError
        async with self._turn:
            began = time.monotonic()
            try:
                outcome = _bounded(await self._engine.instant(queries[0], at))
                if not outcome.series:
                    presence = await self._engine.presence(queries[0], at)
            except (QueryError, StoreError) as error:
                outcome = error
            return [BatchResult(outcome, presence, time.monotonic() - began)]


def _bounded(result: QueryResult) -> QueryResult:
    """Return a result whose labels have no long values; such ones stay apart (``bounded_value``)."""
    if all(len(value) <= VALUE_LENGTH for it in result.series for value in it.labels.values()):
        return result
    series = (
        replace(it, labels=Labels((name, bounded_value(value)) for name, value in it.labels.items()))
        for it in result.series
    )
    return replace(result, series=tuple(series))
