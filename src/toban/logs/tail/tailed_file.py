"""One file that is read as it grows."""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final

from toban.logs.entries import MAX_ENTRY, Entry, read_entries
from toban.logs.line_parser import LineFormat, Reading
from toban.logs.tail.lines import MAX_LINE, split_lines
from toban.logs.tail.position import WINDOW, Position

CHUNK: Final = 131_072
"""Bytes that are read at a time."""

LARGE_CHUNK: Final = 4 * MAX_ENTRY + MAX_LINE + CHUNK
"""Bytes that hold the longest entry, and the line after it."""

HOLD: Final = 3.0
"""Seconds that the end of a file waits for the rest of its line, or for the next line of its stack trace."""

FINISHED: Final = 60.0
"""Seconds after which a file that was removed is closed when nothing is written to it."""


class ChangedFileError(Exception):
    """The content before the position is not what it was."""


@dataclass(slots=True)
class FileSlice:
    """
    Entries of a file, and how many lines were ``cut``, ``replaced`` or ``repeated``.

    ``read_at`` is the time of lines without one.
    """

    entries: list[Entry]
    read_at: datetime
    has_more: bool
    counts: Counter[str] = field(default_factory=Counter)


class TailedFile:
    """A file, its position, and what was last seen of it."""

    def __init__(self, position: Position, formats: LineFormat, zone: tzinfo | None) -> None:
        self.position = position
        self.changed_at = float("-inf")
        """When it was last seen to have changed, on the monotonic clock."""
        self.size = 0
        self.is_deleted = False
        self.repeated_until = 0
        """The offset up to which its lines may have been stored before."""
        self.is_pending = True
        """Whether it is to be looked at although it is closed."""
        self.file: int | None = None
        """The descriptor, while it is open."""
        self._formats = formats
        self._zone = zone
        self.seen: tuple[int, int] | None = None
        """Its size and its time of modification, in nanoseconds, when it was last looked at."""
        self._modified = 0.0
        self._has_more = False
        self._holds = False

    def open(self) -> int:
        """
        Return the descriptor of the file, which is opened if it is not open yet.

        Raises ``FileNotFoundError`` where there is none or another one, ``ChangedFileError`` when it has other content
        than before, and ``OSError``.
        """
        if self.file is not None:
            return self.file
        file = os.open(self.position.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != self.position.key or not stat.S_ISREG(found.st_mode):
            os.close(file)
            raise FileNotFoundError(self.position.path)
        self.file, self.size = file, found.st_size
        if not self.position.is_in(file):
            raise ChangedFileError
        return file

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def look(self, now: float) -> bool:
        """
        Look at the file; return whether there is something to read.

        Raises ``ChangedFileError`` when it has other content than before, and ``OSError``.
        """
        file = self.open()
        self.is_pending = False
        found = os.fstat(file)
        self.size, self._modified, self.is_deleted = found.st_size, found.st_mtime, not found.st_nlink
        seen = (found.st_size, found.st_mtime_ns)
        if seen != self.seen:
            self.seen, self.changed_at = seen, now
            if self.size < self.position.offset or (
                self.size == self.position.offset and not self.position.is_in(file)
            ):
                raise ChangedFileError
            self._has_more = self.size > self.position.offset
        return self._has_more or self._is_due(now)

    def read(self, now: float, clock: datetime) -> FileSlice:
        """
        Return the next entries, and move the position behind them.

        Raises ``ChangedFileError`` when the content before the position has changed, and ``OSError``.
        """
        final = self._is_due(now)
        reading = Reading(min(clock, datetime.fromtimestamp(self._modified, UTC)), self._zone)
        before = self.position
        for size in (CHUNK, LARGE_CHUNK):
            data = self._data(size)
            is_full = len(data) == before.window + size
            split = split_lines(
                data[before.window :], before.offset, in_cut_line=before.in_cut_line, final=final and not is_full
            )
            entries, done = read_entries(
                split.lines, self._formats, reading, final=split.in_cut_line or (final and not is_full)
            )
            all_done = not split.lines or done == split.lines[-1].end
            end = split.end if all_done else done or before.offset
            if end > before.offset or not is_full:
                break
        is_full |= split.has_more
        if end > before.offset:
            self.position = before.moved(end, data, in_cut_line=split.in_cut_line and all_done)
        self._has_more = is_full
        self._holds = not is_full and end < before.offset - before.window + len(data)
        counts = Counter(
            cut=sum(at <= end for at in split.cut),
            replaced=sum(at <= end for at in split.replaced),
            repeated=sum(entry.end <= self.repeated_until for entry in entries),
        )
        return FileSlice(entries, reading.at, is_full, counts)

    def is_edited(self) -> bool:
        """
        Return whether a file whose content has changed still has its head. Raises ``OSError``.

        Then it is not sure that it was truncated, and that its lines are new.
        """
        return self.size >= self.position.offset and self.position.has_head(self.open())

    @property
    def is_active(self) -> bool:
        """Whether it may have something to read."""
        return self.file is not None or self.is_pending or self._has_more or self._holds

    def fresh_size(self) -> int:
        """Return the size of the file now, or when it was last seen if it is not open. Raises ``OSError``."""
        return self.size if self.file is None else os.fstat(self.file).st_size

    def is_finished(self, now: float) -> bool:
        """Return whether it was removed and nothing is written to it any more; while it is open it takes up space."""
        is_read = not self._holds and not self._has_more
        return self.is_deleted and is_read and now - self.changed_at >= FINISHED

    @property
    def lag(self) -> int:
        """How many bytes there are behind the position."""
        return max(0, self.size - self.position.offset)

    def _is_due(self, now: float) -> bool:
        """Return whether what waits at the end of the file has waited long enough."""
        return self._holds and (self.is_deleted or now - self.changed_at >= HOLD)

    def _data(self, size: int) -> bytes:
        """Return bytes from before the position on. They are read at once, because it may be truncated between."""
        file, before = self.open(), self.position
        data = os.pread(file, before.window + size, before.offset - before.window)
        if not before.follows(data[: before.window]) or (before.offset > WINDOW and not before.has_head(file)):
            raise ChangedFileError
        return data
