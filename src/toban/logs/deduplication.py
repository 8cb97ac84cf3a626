"""Recognises lines that come by more than one way: from a file and from Fly's stream, from two files of one logger."""

from collections import deque
from typing import Final

from toban.core.log_line import OTLP, LogLine
from toban.core.samples import milliseconds

WINDOW: Final = 30_000
"""How many lines are remembered."""

OTLP_TOLERANCE: Final = 10
"""Milliseconds between the time that a logger writes in its line, and the one that its OpenTelemetry exporter takes."""


class Deduplicator:
    """
    Tells which lines are new.

    A source repeats no line: equal lines of one source are different ones. Of several sources as many equal lines are
    kept as the one has that brings most of them. Lines are equal by level, message and time.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        # How many lines of a key each source has brought; most keys have one line of one source.
        self._seen: dict[int, str | dict[str, int]] = {}
        self._order: deque[int] = deque()
        self._has_otlp = False

    def is_new(self, source: str, line: LogLine) -> bool:
        """Tell whether no other source has brought a line, and remember it."""
        self._has_otlp = self._has_otlp or source == OTLP
        at = milliseconds(line.at)
        tolerance = OTLP_TOLERANCE if self._has_otlp else 0
        for apart in range(tolerance + 1):
            for near in {at - apart, at + apart}:
                if self._pairs(source, hash((line.message, line.level, near)), is_exact=not apart):
                    return False
        self._remember(source, hash((line.message, line.level, at)))
        return True

    def _pairs(self, source: str, key: int, *, is_exact: bool) -> bool:
        """Pair a line with one that another source has brought and this one has not, if there is one."""
        seen = self._seen.get(key)
        if seen is None or seen == source:
            return False
        counts = {seen: 1} if isinstance(seen, str) else seen
        if not is_exact and source != OTLP and OTLP not in counts:
            return False
        own = counts.get(source, 0)
        if own >= max(counts.values()):
            return False
        counts[source] = own + 1
        self._seen[key] = counts
        return True

    def _remember(self, source: str, key: int) -> None:
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = source
            self._order.append(key)
            if len(self._order) > self._window:
                del self._seen[self._order.popleft()]
            return
        counts = {seen: 1} if isinstance(seen, str) else seen
        counts[source] = counts.get(source, 0) + 1
        self._seen[key] = counts
