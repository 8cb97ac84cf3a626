"""The limits of a query, and its budget while it runs."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from toban.core.errors import QueryCanceledError, QueryTimeoutError, SampleLimitError


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """
    The limits of one query.

    ``samples`` counts samples that are read or made in memory, 8 bytes each; a long range query is evaluated in slices,
    each of which counts by itself in addition to the result so far. ``steps`` is the largest number of points of a
    range query.
    """

    samples: int = 20_000_000
    steps: int = 11_000
    time: timedelta = timedelta(seconds=30)


@dataclass(slots=True)
class QueryBudget:
    """
    The budget of a running query, and its warnings and infos.

    ``deadline`` is on the monotonic clock ``now``. The evaluator calls `check` often; any thread may set ``canceled``.
    """

    limits: QueryLimits
    deadline: float
    canceled: threading.Event = field(default_factory=threading.Event)
    now: Callable[[], float] = time.monotonic
    samples: int = 0
    held: int = 0
    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)

    def spend(self, samples: int) -> None:
        """
        Count samples before memory is allocated for them.

        Raises ``SampleLimitError`` when there are too many, or like ``check``.
        """
        self.samples += samples
        self.held += samples
        if self.held > self.limits.samples:
            raise SampleLimitError(self.limits.samples)
        self.check()

    @property
    def available(self) -> int:
        """How many more samples may be held."""
        return max(0, self.limits.samples - self.held)

    def release(self, kept: int) -> None:
        """Release the held samples, except those that the result keeps."""
        self.held = kept

    def check(self) -> None:
        """Raise ``QueryTimeoutError`` or ``QueryCanceledError`` when the query must end."""
        if self.canceled.is_set():
            raise QueryCanceledError("query was canceled in expression evaluation")
        if self.now() > self.deadline:
            raise QueryTimeoutError("query timed out in expression evaluation")

    def warn(self, text: str) -> None:
        """Add a warning to the result, once."""
        self.warnings[f"PromQL warning: {text}"] = None

    def inform(self, text: str) -> None:
        """Add an info to the result, once."""
        self.infos[f"PromQL info: {text}"] = None
