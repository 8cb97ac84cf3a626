"""The limits of queries over log lines."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from toban.core.errors import BadQueryError, QueryError

WAITING: Final = 64
"""How many queries may run and wait."""


@dataclass(frozen=True, slots=True)
class LogqlLimits:
    """
    The limits of one query.

    ``lines`` and ``bytes`` (of text) are those of a result; ``series`` of a result, ``samples`` of what a query for
    series holds in memory: lines counted by step, values of ``unwrap``, points of its result. ``time`` is that of its
    evaluation, without the time in which a client reads.
    """

    lines: int = 5_000
    bytes: int = 32 * 2**20
    series: int = 500
    steps: int = 11_000
    samples: int = 2_000_000
    time: timedelta = timedelta(seconds=60)

    def check_lines(self, limit: int) -> None:
        """Raise ``BadQueryError`` when more lines are requested than a query may return."""
        if limit > self.lines:
            raise BadQueryError(
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {self.lines})"
            )

    def check_range(self, start: int, end: int, step: int) -> None:
        """Raise ``BadQueryError`` for a range of times (milliseconds) that no query can be evaluated over."""
        if step <= 0:
            raise BadQueryError(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if end < start:
            raise BadQueryError("end timestamp must not be before start time")
        if (end - start) // step > self.steps:
            raise BadQueryError(
                f"exceeded maximum resolution of {self.steps:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )

    def check_series(self, count: int, *, factor: int = 1) -> None:
        """Raise ``BadQueryError`` when there are more series than a result may have, or so many times more."""
        if count > self.series * factor:
            raise BadQueryError(
                f"maximum number of series ({self.series * factor}) reached for a single query; consider reducing "
                "query cardinality by adding more specific stream selectors, reducing the time range, or aggregating "
                "results with functions like sum(), count() or topk()"
            )

    def check_bytes(self, size: int) -> None:
        """Raise ``QueryError`` when a result has more text than it may have."""
        if size > self.bytes:
            raise QueryError(f"the lines have more than {self.bytes} bytes: ask for fewer of them (limit)")
