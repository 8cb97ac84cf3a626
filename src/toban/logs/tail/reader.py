"""Finds log files, and reads them in turn. Synchronous: it is called in a thread."""

import os
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import repeat
from pathlib import Path
from threading import Lock
from typing import Final

from toban.core.log_line import LogLevel, LogLine
from toban.logs.entries import Entry
from toban.logs.settings import LogFiles
from toban.logs.tail.copies import Copies, is_generation
from toban.logs.tail.found_files import (
    FolderListings,
    FoundFile,
    SkippedFiles,
    SkipReason,
    Source,
    find_files,
    opened,
    service_of,
)
from toban.logs.tail.position import PREFIX, Position
from toban.logs.tail.tailed_file import ChangedFileError, TailedFile

FIND_INTERVAL: Final = 5.0
"""Seconds between two searches for new files."""

BATCH_LINES: Final = 1_000
"""Lines after which a batch takes no further file."""
BATCH_BYTES: Final = 2**20
"""Bytes of files after which a batch takes no further one."""

MAX_OPEN: Final = 128
"""Files that are open at the same time."""

MAX_FILES: Final = 10_000
"""Files that are read."""

MAX_LOST: Final = 1_000
"""Positions in content that is gone, which are kept to recognise it elsewhere."""

FORGET_AFTER: Final = 7 * 86_400
"""Seconds after which the cursor of a file that is gone is deleted."""

LAST_LINE: Final = 65_536
"""Bytes at the end of a file in which its last line break is looked for."""

SEEN: Final = f"{PREFIX}pattern/"
"""What the names of cursors begin with that tell that a pattern was looked at before."""

SOURCE: Final = "files"
"""Begins the names of these sources of lines."""


@dataclass(slots=True)
class Batch:
    """
    Lines with the file of each, the cursors that are stored with them, and those to delete.

    ``has_more`` tells that there is more to read at once. ``counts`` has the number of lines that were cut, replaced
    or repeated, ``formats`` that of lines by format.
    """

    lines: list[LogLine] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    bytes: int = 0
    cursors: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    has_more: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)


class LogFileReader:
    """
    Reads the files of all patterns, from the positions that the cursors tell.

    A file is known by its device and inode, wherever it is moved to in its folder. ``skipped`` are the files that match
    and are not read.
    """

    def __init__(self, settings: Sequence[LogFiles], instance: str, cursors: Mapping[str, str]) -> None:
        self._sources = [Source(one, is_new=f"{SEEN}{one.path}" not in cursors) for one in settings]
        self._instance = instance
        self._files: OrderedDict[tuple[int, int], tuple[TailedFile, Source]] = OrderedDict()
        self._open: OrderedDict[tuple[int, int], TailedFile] = OrderedDict()
        self._lost: deque[Position] = deque(maxlen=MAX_LOST)
        self._gone: dict[str, float] = {}
        self._damaged = set[str]()
        self._changed: dict[tuple[int, int], tuple[Position, Source]] = {}
        self._edited: dict[tuple[int, int], int] = {}
        # Of each copy that waits: its original, and how far that was read when its content was lost.
        self._copies: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
        self._find_at = float("-inf")
        self._reading = Lock()
        self._is_closed = False
        self.skipped = SkippedFiles()
        self._load(cursors)

    @property
    def files(self) -> int:
        """How many files are read."""
        return len(self._files)

    @property
    def lag(self) -> int:
        """How many bytes are not read yet."""
        return sum(file.lag for file, _ in self._files.values())

    def read(self, now: float, clock: datetime) -> Batch:
        """Return the next lines of all files; ``now`` is on the monotonic clock."""
        try:
            with self._reading:
                return self._read(now, clock)
        finally:
            if self._is_closed:
                self.close()

    def close(self) -> None:
        """Close all files: at once, or as soon as the thread that reads them is done."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            for file in self._open.values():
                file.close()
            self._open.clear()
            self._reading.release()

    def _read(self, now: float, clock: datetime) -> Batch:
        batch = Batch()
        if now >= self._find_at:
            self._find(batch, now, clock)
            self._find_at = now + FIND_INTERVAL
        for key, (file, source) in list(self._files.items()):
            if len(batch.lines) >= BATCH_LINES or batch.bytes >= BATCH_BYTES:
                batch.has_more = True
                break
            if file.is_active:
                self._read_file(key, file, source, batch, now, clock)
            if file.is_finished(now):
                self._close(file)
        return batch

    def _close(self, file: TailedFile) -> None:
        self._open.pop(file.position.key, None)
        file.close()

    def _load(self, cursors: Mapping[str, str]) -> None:
        sources = {source.settings.path: source for source in self._sources}
        for name, value in cursors.items():
            if name.startswith(SEEN):
                continue
            position = Position.decoded(name, value)
            if not position:
                self._damaged.add(name)
                self._gone[name] = 0.0
            elif not (source := sources.get(position.pattern)) or source.paths.excludes(position.path):
                self._gone[name] = position.stored
            elif position.offset:
                self._files[position.key] = self._tailed(source, position), source
            else:
                self._changed[position.key] = position, source
                self._gone[name] = position.stored

    def _tailed(self, source: Source, position: Position) -> TailedFile:
        return TailedFile(position, source.formats, source.zone)

    def _read_file(
        self, key: tuple[int, int], file: TailedFile, source: Source, batch: Batch, now: float, clock: datetime
    ) -> None:
        before = file.position
        try:
            if not self._look(file, now):
                return
            found = file.read(now, clock)
        except ChangedFileError:
            self._restart(file, source, clock)
            self._find_at = now
            return
        except FileNotFoundError:
            self._find_at = now  # it was moved or removed
            return
        except OSError as error:
            self.skipped.add_unreadable(file.position.path, error)
            return
        batch.lines.extend(self._line(entry, source, before.path, found.read_at) for entry in found.entries)
        batch.sources.extend(repeat(f"{SOURCE}:{before.path}", len(found.entries)))
        batch.counts.update(found.counts)
        batch.formats.update(entry.format for entry in found.entries)
        batch.bytes += file.position.offset - before.offset
        if file.position != before:
            batch.cursors[before.cursor] = file.position.encoded(clock.timestamp())
        if found.has_more:
            batch.has_more = True
            self._files.move_to_end(key)

    def _line(self, entry: Entry, source: Source, path: str, read_at: datetime) -> LogLine:
        line, settings = entry.line, source.settings
        return LogLine(
            at=line.at or read_at,
            level=line.level or LogLevel.INFO,
            message=line.message,
            context=line.context,
            service=line.service or settings.service or service_of(path),
            environment=line.environment or settings.environment,
            instance=line.instance or settings.instance or self._instance,
            category=line.category,
            trace=line.trace,
            trace_id=line.trace_id,
            facts=line.facts,
            is_time_exact=line.is_time_exact,
        )

    def _find(self, batch: Batch, now: float, clock: datetime) -> None:
        """
        Find new files, and files that were moved, truncated or removed.

        What is known is looked at first: the content of a file that was truncated since is looked for in new ones.
        """
        self.skipped = SkippedFiles()
        files = list(self._files.items())
        missing = [key for key, (file, source) in files if not self._is_there(file, source, now, clock)]
        found, listings = find_files(self._sources, self.skipped), FolderListings(self.skipped)
        for key, one in found.items():
            if key in self._files:
                file, _ = self._files[key]
                file.position = replace(file.position, path=one.path)
        self._relocate(missing, found, listings, batch, now, clock)
        new = {key: one for key, one in found.items() if key not in self._files}
        new.update(self._unmatched(new, listings, batch, clock))
        copies = Copies(self._lost, [file.position for file, _ in self._files.values()])
        for one in sorted(new.values(), key=lambda one: one.found.st_mtime_ns):
            self._start(one, copies, batch, clock)
        self._edited.clear()
        self._copies = {key: original for key, original in self._copies.items() if key in new}
        self._changed = {key: one for key, one in self._changed.items() if key in self._copies}
        for source in self._sources:
            if source.is_new:
                source.is_new = False
                batch.cursors[f"{SEEN}{source.settings.path}"] = str(int(clock.timestamp()))
        self._forget(batch, clock)

    def _is_there(self, file: TailedFile, source: Source, now: float, clock: datetime) -> bool:
        """Return whether a file is where it was; a closed one that was changed is read next."""
        try:
            if file.file is None:
                found = Path(file.position.path).stat()
                if (found.st_dev, found.st_ino) != file.position.key:
                    return False
                file.is_pending |= (found.st_size, found.st_mtime_ns) != file.seen
            if file.is_active:
                self._look(file, now)
        except ChangedFileError:
            self._restart(file, source, clock)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.skipped.add_unreadable(file.position.path, error)
        return True

    def _relocate(
        self,
        missing: Sequence[tuple[int, int]],
        found: Mapping[tuple[int, int], FoundFile],
        listings: FolderListings,
        batch: Batch,
        now: float,
        clock: datetime,
    ) -> None:
        """Look for files under another name; those that are gone are not read any more."""
        for key in missing:
            file, source = self._files[key]
            if not file.position.offset:
                # Nothing in it tells whether what has its inode now is the same file.
                self._changed[key] = file.position, source
                self._lose(file, clock)
            elif one := found.get(key) or listings.find(file.position, source):
                file.position = replace(file.position, path=one.path)
                file.is_pending = True
                self._is_there(file, source, now, clock)
            else:
                self._lose(file, clock)
                self._note_gone(file.position, batch, clock)

    def _unmatched(
        self, new: Collection[tuple[int, int]], listings: FolderListings, batch: Batch, clock: datetime
    ) -> Iterator[tuple[tuple[int, int], FoundFile]]:
        """
        Yield the files that were truncated and then renamed so that no pattern matches any more.

        One whose name begins differently is another file, which got the same inode; so is one whose inode was free.
        """
        for key, (position, source) in list(self._changed.items()):
            if key in new:
                continue
            found = listings.find(position, source)
            if found and is_generation(found.path, position.path) and not position.is_gone:
                yield key, found
            else:
                del self._changed[key]
                self._note_gone(position, batch, clock)

    def _note_gone(self, position: Position, batch: Batch, clock: datetime) -> None:
        """Store that a file is gone: what gets its inode is not taken for it."""
        if not position.is_gone:
            batch.cursors[position.cursor] = replace(position, is_gone=True).encoded(clock.timestamp())

    def _restart(self, file: TailedFile, source: Source, clock: datetime) -> None:
        """
        Begin again with a file whose content is gone: it was truncated, or another file has its inode.

        It counts as a new one, because its old content may be in a copy, or it may be a copy itself.
        """
        try:
            if file.is_edited():
                self._edited[file.position.key] = file.position.offset
        except OSError as error:
            self.skipped.add_unreadable(file.position.path, error)
        self._changed[file.position.key] = file.position, source
        self._lose(file, clock)

    def _lose(self, file: TailedFile, clock: datetime) -> None:
        """Stop reading a file that is gone, or whose content is."""
        position = file.position
        self._close(file)
        del self._files[position.key]
        self._lost.append(position)
        for copy, (original, _) in self._copies.items():
            if original == position.key:
                self._copies[copy] = original, position.offset
        was_read = file.seen is not None
        self._gone[position.cursor] = clock.timestamp() if was_read else position.stored

    def _start(self, new: FoundFile, copies: Copies, batch: Batch, clock: datetime) -> None:
        """Read a new file from now on, from where it is to begin; leave it out if it is old or a copy."""
        if len(self._files) >= MAX_FILES:
            self.skipped.reasons[new.path] = SkipReason.TOO_MANY
            return
        try:
            with opened(new) as file:
                position = self._first_position(new, file, copies, clock)
        except FileNotFoundError:
            return
        except OSError as error:
            self.skipped.add_unreadable(new.path, error)
            return
        if not position:
            return
        tailed = self._tailed(new.source, position)
        tailed.repeated_until = self._edited.pop(position.key, 0)
        if position.cursor in self._damaged:
            self._damaged.discard(position.cursor)
            tailed.repeated_until = new.found.st_size
        self._files[position.key] = tailed, new.source
        self._gone.pop(position.cursor, None)
        # Also at the beginning: when the file is renamed before the next start, it is found by its inode.
        batch.cursors[position.cursor] = position.encoded(clock.timestamp())

    def _first_position(self, new: FoundFile, file: int, copies: Copies, clock: datetime) -> Position | None:
        position, size = new.position, os.fstat(file).st_size
        if adopted := copies.adopted(position, file, size):
            self._copies.pop(position.key, None)
            return adopted
        if original := copies.original(position, file, size):
            if size > original.offset == self._files[original.key][0].fresh_size():
                # It goes on where its original ends: somebody copied it, and writes to the copy.
                return original.moved_to(position)
            self._copies[position.key] = original.key, -1
            self.skipped.reasons[new.path] = SkipReason.COPY
            return None
        _, end = self._copies.pop(position.key, (None, -1))
        if end >= size:
            # Its original was read further than this copy goes.
            return position.at(file, size)
        age = clock.timestamp() - new.found.st_mtime
        if age > new.source.settings.ignore_older.total_seconds():
            self.skipped.reasons[new.path] = SkipReason.OLD
            return None
        if new.source.is_new and new.source.settings.read_from == "end":
            start = max(0, size - LAST_LINE)
            last = os.pread(file, size - start, start).rfind(b"\n") + 1
            return position.at(file, start + last if last else size)
        return position

    def _forget(self, batch: Batch, clock: datetime) -> None:
        now = clock.timestamp()
        batch.forgotten = [name for name, stored in self._gone.items() if now - stored > FORGET_AFTER]
        for name in batch.forgotten:
            del self._gone[name]

    def _look(self, file: TailedFile, now: float) -> bool:
        """Look at a file; the one that has been open longest without a change is closed where there are too many."""
        self._open.setdefault(file.position.key, file)
        has_more = file.look(now)
        if has_more:
            self._open.move_to_end(file.position.key)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return has_more
