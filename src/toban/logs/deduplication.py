"""Recognises lines that come by more than one way: from a file and from Fly's stream, from two files of one logger."""

from collections import deque
from typing import Final

from toban.core.log_line import OTLP, LogLine
from toban.core.samples import milliseconds

WINDOW: Final = 30_000
"""How many lines are remembered."""

OTLP_TOLERANCE: Final = 10
"""Milliseconds between the time that a logger writes in its line, and the one that its OpenTelemetry exporter takes."""

SERVICE_TOLERANCE: Final = 1_000
"""The same between lines of one service: its process may be stopped between the two."""

INEXACT_TOLERANCE: Final = 60_000
"""Milliseconds between the time of a line, and that of its copy without seconds, or without a time."""

MAX_SOURCES: Final = 1_000
"""Sources whose ways are remembered: each file is one."""

MAX_EQUAL: Final = 64
"""Lines of one text that are compared."""


class _Remembered:
    """A line that was stored, and who has brought it: sources for exact times, ways for all."""

    __slots__ = ("at", "is_exact", "sources", "ways")

    def __init__(self, at: int, source: str, way: str, is_exact: bool) -> None:  # called for each line
        self.at = at
        self.is_exact = is_exact
        self.sources: tuple[str, ...] = (source,)
        self.ways: tuple[str, ...] = (way,)

    def pair(self, source: str, way: str) -> None:
        """Remember that it came from a further source."""
        self.sources += (source,)
        if way not in self.ways:
            self.ways += (way,)


class Deduplicator:
    """
    Tells which lines are new.

    A source repeats no line: equal lines of one source are different ones. Of several sources as many equal lines are
    kept as the one has that brings most of them. Lines are equal by level, message and time.

    Where a time is not exact (a console that writes minutes, Fly's time of a line without one), lines of one service
    that are about as old are equal, if they came by different ways. Two files without exact times are never compared:
    their equal lines are those of two processes.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._equal: dict[int, tuple[_Remembered, ...]] = {}
        """By level, message and time; and by level, message and service."""
        self._order: deque[tuple[int, int, _Remembered]] = deque()
        self._has_otlp = self._has_ways = False
        self._ways: dict[tuple[str, bool], str] = {}

    def is_new(self, source: str, line: LogLine) -> bool:
        """Tell whether no other source has brought a line, and remember it."""
        at, is_exact = milliseconds(line.at), line.is_time_exact
        way = self._ways.get((source, is_exact)) or self._add_way(source, is_exact=is_exact)
        text = hash((line.message, line.level))
        by_service = hash((text, line.service))
        found = self._at_time(source, text, at) if is_exact else None
        if found:
            found.pair(source, way)
            return False
        if self._has_ways and (found := self._nearest(self._equal.get(by_service, ()), way, at, is_exact=is_exact)):
            found.pair(source, way)
            if is_exact:
                self._remember(hash((text, at)), 0, found)  # under its own time too: another file may have it as well
            return False
        self._remember(hash((text, at)) if is_exact else 0, by_service, _Remembered(at, source, way, is_exact))
        return True

    def _add_way(self, source: str, *, is_exact: bool) -> str:
        """Return the way of a source: what is before the colon, and whether its lines have exact times."""
        kind = source.partition(":")[0]
        way = kind if is_exact else f"{kind} inexact"
        if len(self._ways) >= MAX_SOURCES:
            self._ways.clear()
        self._has_ways = self._has_ways or any(other != way for other in self._ways.values())
        self._ways[source, is_exact] = way
        self._has_otlp = self._has_otlp or source == OTLP
        return way

    def _at_time(self, source: str, text: int, at: int) -> _Remembered | None:
        """Return a line that another source has brought and this one has not, if there is one."""
        for one in self._equal.get(hash((text, at)), ()):
            if source not in one.sources:
                return one
        if self._has_otlp:
            for apart in range(1, OTLP_TOLERANCE + 1):
                for near in (at - apart, at + apart):
                    for one in self._equal.get(hash((text, near)), ()):
                        if source not in one.sources and (source == OTLP or OTLP in one.sources):
                            return one
        return None

    def _nearest(self, remembered: tuple[_Remembered, ...], way: str, at: int, *, is_exact: bool) -> _Remembered | None:
        """Return the line of the same service that is nearest in time, and has not come by this way."""
        nearest, least = None, INEXACT_TOLERANCE + 1
        for one in remembered:
            if way in one.ways:
                continue
            if not (is_exact and one.is_exact):
                tolerance = INEXACT_TOLERANCE
            elif OTLP in (way, *one.ways):
                tolerance = SERVICE_TOLERANCE
            else:
                continue
            apart = abs(at - one.at)
            if apart <= tolerance and apart < least:
                nearest, least = one, apart
        return nearest

    def _remember(self, by_time: int, by_service: int, one: _Remembered) -> None:
        """Remember a line under keys that are not 0."""
        for key in (by_time, by_service):
            if key:
                known = self._equal.get(key)
                self._equal[key] = (*known[1 - MAX_EQUAL :], one) if known else (one,)
        self._order.append((by_time, by_service, one))
        if len(self._order) > self._window:
            self._forget(*self._order.popleft())

    def _forget(self, by_time: int, by_service: int, oldest: _Remembered) -> None:
        for key in (by_time, by_service):
            known = self._equal.get(key)
            if not known:
                continue
            if len(known) > 1:
                self._equal[key] = tuple(one for one in known if one is not oldest)
            elif known[0] is oldest:
                del self._equal[key]
