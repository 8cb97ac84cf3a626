"""Several queries at one time, evaluated in one run."""

import threading
from collections.abc import Sequence
from typing import Final

from toban.core.errors import QueryError, StoreError
from toban.core.query_result import BatchResult, DataPresence, QueryResult
from toban.promql.engine import PromqlEngine

BATCH_SECONDS: Final = 0.1
"""Seconds after which a batch begins no further query."""


def run_batch(
    engine: PromqlEngine, queries: Sequence[str], at: int, *, canceled: threading.Event | None = None
) -> list[BatchResult]:
    """Run the first queries at a time (milliseconds), as many as begin within `BATCH_SECONDS`; at least one."""
    results: list[BatchResult] = []
    end = engine.now() + BATCH_SECONDS
    for query in queries:
        began = engine.now()
        if results and began >= end:
            break
        presence = DataPresence.PRESENT
        outcome: QueryResult | QueryError | StoreError
        try:
            outcome = engine.instant(query, at, canceled=canceled)
            if not outcome.series:
                presence = engine.presence(query, at)
        except (QueryError, StoreError) as error:
            outcome = error
        results.append(BatchResult(outcome, presence, engine.now() - began))
    return results
