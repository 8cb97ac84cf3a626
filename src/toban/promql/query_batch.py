"""Several questions at one time, answered in one go."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from toban.core.errors import QueryError, StoreError
from toban.core.query_result import Answer
from toban.promql.data_presence import Presence
from toban.promql.engine import Engine

MOMENT: Final = 0.1
"""Seconds that several questions may take together before the rest has to be asked anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """
    What came of one question: its answer or the trouble with it, and how many seconds that took.

    Where the answer is empty, ``presence`` tells how much of what the question reads is there.
    """

    said: Answer | QueryError | StoreError
    presence: Presence = Presence.PRESENT
    seconds: float = 0.0

    @property
    def answer(self) -> Answer:
        """The answer. Raises the trouble instead if there was some."""
        if isinstance(self.said, Answer):
            return self.said
        raise self.said


def replies(engine: Engine, queries: Sequence[str], at: int, *, canceled: threading.Event | None = None) -> list[Reply]:
    """Answer the first of some queries at a time (milliseconds), and those after it as long as a moment lasts."""
    made: list[Reply] = []
    end = engine.now() + MOMENT
    for query in queries:
        began = engine.now()
        if made and began >= end:
            break
        presence = Presence.PRESENT
        said: Answer | QueryError | StoreError
        try:
            said = engine.instant(query, at, canceled=canceled)
            if not said.series:
                presence = engine.presence(query, at)
        except (QueryError, StoreError) as error:
            said = error
        made.append(Reply(said, presence, engine.now() - began))
    return made
