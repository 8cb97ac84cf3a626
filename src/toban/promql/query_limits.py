"""How much a query may cost, and what it has cost so far."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from toban.core.errors import QueryCanceledError, QueryTimeoutError, SampleLimitError


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """
    What one query may take.

    ``samples`` counts those read and those made on the way, 8 bytes each; a long range is taken in slices, of which
    each counts by itself on top of the answer so far. ``steps`` is the longest range, in points.
    """

    samples: int = 20_000_000
    steps: int = 11_000
    time: timedelta = timedelta(seconds=30)


@dataclass(slots=True)
class QueryBudget:
    """
    What one running query has left, and what it has to say besides its answer.

    ``deadline`` is on the monotonic clock ``now``. The evaluator asks often; ``canceled`` may be set by any thread.
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
        Count samples before memory is taken for them.

        Raises ``SampleLimitError`` when there are too many, or like ``check``.
        """
        self.samples += samples
        self.held += samples
        if self.held > self.limits.samples:
            raise SampleLimitError(self.limits.samples)
        self.check()

    @property
    def left(self) -> int:
        """How many samples may still be held."""
        return max(0, self.limits.samples - self.held)

    def release(self, kept: int) -> None:
        """Forget what was held, but for what an answer keeps."""
        self.held = kept

    def check(self) -> None:
        """Raise ``QueryTimeoutError`` or ``QueryCanceledError`` when there is no use in going on."""
        if self.canceled.is_set():
            raise QueryCanceledError("query was canceled in expression evaluation")
        if self.now() > self.deadline:
            raise QueryTimeoutError("query timed out in expression evaluation")

    def warn(self, text: str) -> None:
        """Note what may be wrong with the answer; once."""
        self.warnings[f"PromQL warning: {text}"] = None

    def inform(self, text: str) -> None:
        """Note what the asker may want to know; once."""
        self.infos[f"PromQL info: {text}"] = None
