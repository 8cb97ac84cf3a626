"""Rules that the outside engine answers."""

import time
from collections.abc import Sequence
from datetime import timedelta

from toban.core.errors import QueryError, StoreError
from toban.core.ports import QueryEngine
from toban.core.query_result import QueryResult
from toban.promql import parser
from toban.promql.data_presence import DataPresence, data_presence
from toban.promql.query_batch import BatchResult
from toban.promql.syntax_tree import Selector


class RemoteRuleEngine:
    """
    Answers the questions of rules by an engine that is somewhere else.

    ``lookback`` is how old the newest sample of a series may be there. Raises ``QueryError`` or ``StoreError``.
    """

    def __init__(self, engine: QueryEngine, lookback: timedelta) -> None:
        self._engine = engine
        self._lookback = lookback // timedelta(milliseconds=1)

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """Return what the query comes to at one time (milliseconds)."""
        return await self._engine.instant(query, at, patience=patience)

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Answer the first of some queries."""
        began = time.monotonic()
        presence = DataPresence.PRESENT
        said: QueryResult | QueryError | StoreError
        try:
            said = await self.instant(queries[0], at)
            if not said.series:
                presence = await self.presence(queries[0], at)
        except (QueryError, StoreError) as error:
            said = error
        return [BatchResult(said, presence, time.monotonic() - began)]

    async def presence(self, query: str, at: int) -> DataPresence:
        """Tell how much of what a query reads is there: each of its selectors is asked for."""
        root = parser.parse(query).root
        # Which selectors are looked at does not depend on what is there: the first round collects them.
        wanted: dict[tuple[Selector, int], bool] = {}
        data_presence(root, lambda selector, span: wanted.setdefault((selector, span), True))
        there = {(selector, span): await self._has(selector, span, at) for selector, span in wanted}
        return data_presence(root, lambda selector, span: there[selector, span])

    async def _has(self, selector: Selector, span: int, at: int) -> bool:
        end = (selector.at if isinstance(selector.at, int) else at) - selector.offset
        conditions = ",".join(map(str, selector.matchers))
        query = f"count(last_over_time({{{conditions}}}[{span or self._lookback}ms]))"
        return bool((await self._engine.instant(query, end)).series)
