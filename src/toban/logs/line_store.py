"""What a store of log lines does, for those who write, search, follow and ship lines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from toban.core.log_line import LogLine, LogStream


class LinePosition(NamedTuple):
    """
    The place of a line in the order of lines: its time (milliseconds), and its number.

    The store numbers lines from 1 in the order in which it accepts them, without a gap, and never gives a number twice.
    """

    at: int
    number: int

    @property
    def nanoseconds(self) -> int:
        """The time for clients of Loki, which differs within a millisecond."""
        return self.at * 1_000_000 + self.number % 1_000_000


LAST_NUMBER: Final = 2**62
"""A number that no line reaches."""


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line, and its place."""

    position: LinePosition
    line: LogLine


class Direction(StrEnum):
    """The order of a search, in Loki's words."""

    BACKWARD = "backward"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class TextFilter:
    """
    A filter over the text of a line: its message, its stack trace and its facts.

    A line matches when it holds one of the texts, or matches one of the expressions (RE2) anywhere; ``is_negated``
    turns that round. An empty text matches every line.
    """

    texts: tuple[str, ...]
    is_regex: bool = False
    is_negated: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class LineSelection:
    """
    Which lines a search is about.

    ``start`` is inclusive, ``end`` exclusive (milliseconds). ``selects`` tells whether a stream may have such lines: it
    is asked once for each stream. All ``filters`` must match. ``before`` and ``after`` are positions that the lines
    come before or after, to go on where a search has stopped.
    """

    start: int
    end: int
    selects: Callable[[LogStream], bool] = lambda stream: True
    filters: tuple[TextFilter, ...] = ()
    trace_id: str = ""
    before: LinePosition | None = None
    after: LinePosition | None = None


@dataclass(frozen=True, slots=True)
class SearchSlice:
    """
    What a part of a search has found, in the order of the search.

    ``reached`` is the time (milliseconds) up to which all lines are found; the last slice has reached the end of the
    selection, or its limit of lines.
    """

    lines: Sequence[StoredLine]
    reached: int


@dataclass(frozen=True, slots=True)
class StreamCount:
    """How many lines a stream has in one step of time, and how many bytes of text; ``at`` is the step's begin."""

    stream: LogStream
    at: int
    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What the store holds: lines, bytes on disk, the oldest and the newest time (milliseconds), the next number."""

    lines: int
    bytes: int
    oldest: int | None
    newest: int | None
    next_number: int


class LineStore(Protocol):
    """
    Keeps lines, redacted, in the order of time.

    Synchronous: it is called off the event loop. One thread writes; several may search at once, also while it writes.
    All methods raise ``StoreError`` when the disk can't be read or written.
    """

    def append(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> int:
        """
        Store lines, and the cursors of those who wrote them, in one transaction; return the number of the first line.

        When it returns, both are durable: after a crash either all of it is there or nothing.
        """
        ...

    def cursor(self, name: str) -> str:
        """Return a cursor, empty where there is none."""
        ...

    def cursors(self, prefix: str) -> Mapping[str, str]:
        """Return all cursors whose names begin with a prefix."""
        ...

    def forget_cursors(self, names: Sequence[str]) -> None:
        """Delete cursors."""
        ...

    def numbered(self, first: int, limit: int) -> Sequence[StoredLine]:
        """
        Return up to ``limit`` lines by number, from ``first`` on; fewer than there are where older ones were deleted.

        For what ships lines: it keeps the number of the next one.
        """
        ...

    def search(
        self, selection: LineSelection, limit: int, direction: Direction = Direction.BACKWARD
    ) -> Iterator[SearchSlice]:
        """
        Find lines, newest first or oldest first, slice by slice: about every 100 ms one, also without lines.

        A caller that has enough closes the iterator.
        """
        ...

    def count(self, selection: LineSelection, step: int) -> Iterator[Sequence[StreamCount]]:
        """
        Count lines by stream and step of time (milliseconds; steps are multiples of it), slice by slice.

        A stream and step may come in several slices. Without filters no text is read.
        """
        ...

    def streams(self, start: int, end: int) -> Sequence[LogStream]:
        """Return the streams that may have lines in a range of time."""
        ...

    def report(self) -> StoreReport:
        """Return what the store holds."""
        ...

    def kept_since(self) -> int | None:
        """
        Return the time (milliseconds) from which on no line was deleted; None where no line was ever stored.

        Older lines may be here, those that came late, but not all.
        """
        ...

    def maintain(self, now: int) -> None:
        """Seal what is full, delete what is too old or too much; for the thread that writes."""
        ...
