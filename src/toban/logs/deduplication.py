"""Recognises lines that come by more than one way: from a file and from Fly's stream, from two files of one logger."""

from array import array
from collections.abc import Iterable
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
        self._lines = _RememberedLines(window)
        self._sources: dict[tuple[str, bool], tuple[int, int]] = {}
        """The bits of each source and of its way."""
        self._ways: dict[tuple[str, bool], int] = {}
        self._otlp_sources = self._otlp_ways = 0

    def is_new(self, source: str, line: LogLine) -> bool:
        """Tell whether no other source has brought a line, and remember it."""
        at, is_exact = milliseconds(line.at), line.is_time_exact
        bits = self._sources.get((source, is_exact)) or self._add_source(source, is_exact=is_exact)
        text = hash((line.message, line.level))
        by_time, by_service = hash((text, at)) if is_exact else 0, hash((text, line.service))
        found = self._at_time(bits[0], text, at) if is_exact else None
        if found is not None:
            self._lines.pair(found, *bits)
            return False
        if len(self._ways) > 1:
            found = self._nearest(self._lines.equal(by_service), bits[1], at, is_exact=is_exact)
        if found is None:
            self._lines.add(at, *bits, by_time, by_service, is_exact=is_exact)
            return True
        self._lines.pair(found, *bits)
        if is_exact:  # under its own time too: another file may have it as well
            self._lines.add(at, *bits, by_time, 0, is_exact=True, original=found)
        return False

    def remember(self, source: str, line: LogLine) -> None:
        """
        Remember a line with an exact time that was stored before a restart.

        Its copies are known by their time alone: which of them came before the restart is forgotten.
        """
        at = milliseconds(line.at)
        bits = self._sources.get((source, True)) or self._add_source(source, is_exact=True)
        self._lines.add(at, *bits, hash((hash((line.message, line.level)), at)), 0, is_exact=True)

    def _add_source(self, source: str, *, is_exact: bool) -> tuple[int, int]:
        """Return the bits of a source, and of its way: what is before the colon, and whether its times are exact."""
        if len(self._sources) >= MAX_SOURCES:
            self._sources.clear()
            self._otlp_sources = 0
            self._lines.forget_sources()
        way = self._ways.setdefault((source.partition(":")[0], is_exact), 1 << len(self._ways))
        bits = self._sources[source, is_exact] = 1 << len(self._sources), way
        if source == OTLP:
            self._otlp_sources, self._otlp_ways = self._otlp_sources | bits[0], self._otlp_ways | way
        return bits

    def _at_time(self, source: int, text: int, at: int) -> int | None:
        """Return a line that another source has brought and this one has not, if there is one."""
        lines = self._lines
        for one in lines.equal(hash((text, at))):
            if not lines.sources(one) & source:
                return one
        if self._otlp_sources:
            for apart in range(1, OTLP_TOLERANCE + 1):
                for near in (at - apart, at + apart):
                    for one in lines.equal(hash((text, near))):
                        known = lines.sources(one)
                        if not known & source and (known | source) & self._otlp_sources:
                            return one
        return None

    def _nearest(self, remembered: Iterable[int], way: int, at: int, *, is_exact: bool) -> int | None:
        """Return the line of the same service that is nearest in time, and has not come by this way."""
        nearest, least = None, INEXACT_TOLERANCE + 1
        for one in remembered:
            ways = self._lines.ways(one)
            if ways & way:
                continue
            if not (is_exact and self._lines.is_exact(one)):
                tolerance = INEXACT_TOLERANCE
            elif (ways | way) & self._otlp_ways:
                tolerance = SERVICE_TOLERANCE
            else:
                continue
            apart = abs(at - self._lines.at(one))
            if apart <= tolerance and apart < least:
                nearest, least = one, apart
        return nearest


class _RememberedLines:
    """
    The newest lines, in a ring; who has brought each is a bit for each source, and for each way.

    Numbers only: objects for each line would be searched by every collection of garbage.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._next = 0
        self._at = array("q", bytes(8 * window))
        self._exact = bytearray(window)
        self._by_time = array("q", bytes(8 * window))
        self._by_service = array("q", bytes(8 * window))
        self._original = array("q", bytes(8 * window))
        self._sources = [0] * window
        self._ways = [0] * window
        self._equal: dict[int, int | tuple[int, ...]] = {}
        """Numbers of lines, by level, message and time; and by level, message and service."""

    def add(
        self, at: int, source: int, way: int, by_time: int, by_service: int, *, is_exact: bool, original: int = -1
    ) -> None:
        """Remember a line under keys that are not 0; ``original`` is the same line, under another time."""
        number, place = self._next, self._next % self._window
        if number >= self._window:
            self._forget(self._by_time[place], number - self._window)
            self._forget(self._by_service[place], number - self._window)
        self._at[place], self._exact[place] = at, is_exact
        self._by_time[place], self._by_service[place], self._original[place] = by_time, by_service, original
        self._sources[place], self._ways[place] = source, way
        for key in (by_time, by_service):
            if key:
                known = self._equal.get(key)
                if known is None:
                    self._equal[key] = number
                else:
                    self._equal[key] = (*self.equal(key)[1 - MAX_EQUAL :], number)
        self._next += 1

    def equal(self, key: int) -> tuple[int, ...]:
        """Return the numbers of the lines that are remembered under a key."""
        found = self._equal.get(key, ())
        return (found,) if isinstance(found, int) else found

    def pair(self, number: int, source: int, way: int) -> None:
        """Remember that a line came from a further source."""
        place = number % self._window
        self._sources[place] |= source
        self._ways[place] |= way
        original = self._original[place]
        if original >= 0 and original > self._next - 1 - self._window:
            self.pair(original, source, way)

    def at(self, number: int) -> int:
        """Return a line's time, in milliseconds."""
        return self._at[number % self._window]

    def is_exact(self, number: int) -> bool:
        """Tell whether a line's time is exact."""
        return bool(self._exact[number % self._window])

    def sources(self, number: int) -> int:
        """Return the bits of the sources that have brought a line."""
        return self._sources[number % self._window]

    def ways(self, number: int) -> int:
        """Return the bits of the ways by which a line came."""
        return self._ways[number % self._window]

    def forget_sources(self) -> None:
        """Begin anew with the bits of sources; ways stay."""
        self._sources = [0] * self._window

    def _forget(self, key: int, oldest: int) -> None:
        known = self._equal.get(key)
        if known == oldest:
            del self._equal[key]
        elif isinstance(known, tuple):
            left = tuple(one for one in known if one != oldest)
            if left:
                self._equal[key] = left
            else:
                del self._equal[key]
