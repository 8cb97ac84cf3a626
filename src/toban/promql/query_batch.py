"""Several questions at one time, answered in one go."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toban.core.errors import QueryError, StoreError
from toban.core.query_result import QueryResult
from toban.promql.data_presence import DataPresence
from toban.promql.engine import PromqlEngine

MOMENT: Final = 0.1
"""Seconds that several questions may take together before the rest has to be asked anew."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """
    What came of one question: its answer or the trouble with it, and how many seconds that took.

    Where the answer is empty, ``presence`` tells how much of what the question reads is there.
    """

    said: QueryResult | QueryError | StoreError
    presence: DataPresence = DataPresence.PRESENT
    seconds: float = 0.0

    @property
    def answer(self) -> QueryResult:
        """The answer. Raises the trouble instead if there was some."""
        if isinstance(self.said, QueryResult):
            return self.said
        raise self.said


def run_batch(
    engine: PromqlEngine, queries: Sequence[str], at: int, *, canceled: threading.Event | None = None
) -> list[BatchResult]:
    """Answer the first of some queries at a time (milliseconds), and those after it as long as a moment lasts."""
    made: list[BatchResult] = []
    end = engine.now() + MOMENT
    for query in queries:
        began = engine.now()
        if made and began >= end:
            break
        presence = DataPresence.PRESENT
        said: QueryResult | QueryError | StoreError
        try:
            said = engine.instant(query, at, canceled=canceled)
            if not said.series:
                presence = engine.presence(query, at)
        except (QueryError, StoreError) as error:
            said = error
        made.append(BatchResult(said, presence, engine.now() - began))
    return made
