"""Queries of rules whose group says `engine: outside`."""

import time
from collections.abc import Sequence
from datetime import timedelta

from toban.core.errors import QueryError, StoreError
from toban.core.ports import QueryEngine
from toban.core.query_result import BatchResult, DataPresence, QueryResult
from toban.promql import parser
from toban.promql.data_presence import data_presence
from toban.promql.syntax_tree import Selector


class RemoteRuleEngine:
    """
    A ``RuleEngine`` that runs the queries of rules on the remote engine.

    ``lookback`` is the lookback delta of that engine. Raises ``QueryError`` or ``StoreError``.
    """

    def __init__(self, engine: QueryEngine, lookback: timedelta) -> None:
        self._engine = engine
        self._lookback = lookback // timedelta(milliseconds=1)

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        """Return the result of a query at one time (milliseconds)."""
        return await self._engine.instant(query, at, time_limit=time_limit)

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Run the first of these queries; the caller asks again for the others."""
        began = time.monotonic()
        presence = DataPresence.PRESENT
        outcome: QueryResult | QueryError | StoreError
        try:
            outcome = await self.instant(queries[0], at)
            if not outcome.series:
                presence = await self.presence(queries[0], at)
        except (QueryError, StoreError) as error:
            outcome = error
        return [BatchResult(outcome, presence, time.monotonic() - began)]

    async def presence(self, query: str, at: int) -> DataPresence:
        """Return how much of the data that a query reads is there: one query for each of its selectors."""
        root = parser.parse(query).root
        # Which selectors are read does not depend on what is there: the first pass collects them.
        read: dict[tuple[Selector, int], bool] = {}
        data_presence(root, lambda selector, span: read.setdefault((selector, span), True))
        has_data = {(selector, span): await self._has(selector, span, at) for selector, span in read}
        return data_presence(root, lambda selector, span: has_data[selector, span])

    async def _has(self, selector: Selector, span: int, at: int) -> bool:
        end = (selector.at if isinstance(selector.at, int) else at) - selector.offset
        matchers = ",".join(map(str, selector.matchers))
        query = f"count(last_over_time({{{matchers}}}[{span or self._lookback}ms]))"
        return bool((await self._engine.instant(query, end)).series)
