"""The one thread that writes the head."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Final

from toban.core.errors import StoreError
from toban.core.samples import MetricFamily
from toban.tsdb.corruption import log_corruption, set_aside
from toban.tsdb.head import Head, HeadRow
from toban.tsdb.head_file import HeadFile, encode_layout
from toban.tsdb.series_index import SeriesIndex, series_key

WAITING: Final = 16 * 2**20
"""Bytes of rows that wait in memory for a disk in trouble; beyond that the oldest are let go."""

SLICE: Final = 64
"""Rows that are removed in one go, so that an append behind a removal does not feel it."""

PAUSE: Final = 1.0
"""Seconds between two looks at a file that nobody writes to, or that can't be written to."""


@dataclass(slots=True)
class _Waiting:
    """An append that waits for its commit."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]

    def settle(self, trouble: str) -> None:
        """Let the append go on, from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, trouble)

    def _settle(self, trouble: str) -> None:
        if self.future.done():
            return
        if trouble:
            self.future.set_exception(StoreError(trouble))
        else:
            self.future.set_result(None)


@dataclass(slots=True)
class _Removal:
    """Rows that are sealed and may go: those of some times up to a turn."""

    start: int
    end: int
    upto: int
    after: int = field(default=-1)

    def covers(self, row: HeadRow) -> bool:
        """Tell whether a row is one of them."""
        return row.turn <= self.upto and self.start <= row.at < self.end


class HeadWriter:
    """
    Writes rows in their turn, many appends in one commit, and removes rows that are sealed.

    While the file can't be written the rows wait in memory, `trouble` says why, and each second it is tried again.
    A file that is gone, or is no database any more, is made anew from what the head has in memory. ``bug`` is what
    ended the thread, if something did that should not be.
    """

    def __init__(
        self, path: Path, head: Head, index: SeriesIndex, families: dict[str, MetricFamily], *, full: bool
    ) -> None:
        self.trouble = ""
        self.bug: Exception | None = None
        self.lost = 0
        self._path = path
        self._head = head
        self._index = index
        self._families = families
        self._full = full
        self._file: HeadFile | None = None
        self._anew = False
        self._roomy = False
        self._wake = Condition()
        self._rows: deque[HeadRow] = deque()
        self._declared: dict[str, MetricFamily] = {}
        self._bytes = 0
        self._waiting: list[_Waiting] = []
        self._settling: list[_Waiting] = []
        self._removals: deque[_Removal] = deque()
        self._stopping = False
        self._thread = Thread(target=self._work, name="tsdb writer", daemon=True)

    @property
    def unsaved(self) -> int:
        """How many bytes of values are not on disk."""
        return self._bytes

    def start(self, file: HeadFile) -> None:
        """Begin to write to an open file."""
        self._file, self._anew = file, file.is_new
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Write what waits, close the file and end; a disk that hangs is waited for so many seconds and no longer."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(patience)
        if self._bytes:
            log_corruption("closed with numbers that are not on disk", bytes=self._bytes, trouble=self.trouble)

    async def write(self, rows: Sequence[HeadRow], families: Sequence[MetricFamily]) -> None:
        """Return when the rows are on disk. Raises ``StoreError`` when they can't be written now; they stay in wait."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop, loop.create_future())
        with self._wake:
            if self._stopping:
                raise StoreError(f"tsdb: {self._path.name}: closed")
            self._rows.extend(rows)
            self._bytes += sum(len(row.values) for row in rows)
            self._declared.update((family.name, family) for family in families)
            self._waiting.append(waiting)
            overdue = self._overdue()
            self._wake.notify()
        if overdue:
            self._head.forget(overdue)
        await waiting.future

    def remove(self, start: int, end: int, upto: int) -> None:
        """Remove the rows from ``start`` up to before ``end`` that came up to a turn, slice by slice, by and by."""
        removal = _Removal(start, end, upto)
        with self._wake:
            self._removals.append(removal)
            self._put_back(self._taken_out())
            self._wake.notify()

    def _work(self) -> None:
        try:
            self._write_on()
        except Exception as error:
            # A bug: who waits must not wait for ever, and the service ends loudly.
            self.bug = error
            with self._wake:
                self._stopping, waiting, self._waiting = True, [*self._waiting, *self._settling], []
            for one in waiting:
                one.settle(f"tsdb: the writer broke: {error!r}")
        finally:
            if self._file:
                self._file.close()

    def _write_on(self) -> None:
        while True:
            with self._wake:
                busy = self._waiting or self._stopping or ((self._removals or self._roomy) and not self.trouble)
                if not busy:
                    self._wake.wait(PAUSE)
                stopping, waiting, self._waiting = self._stopping, self._waiting, []
                rows, declared = self._taken_out(), self._declared
                self._declared = {}
            self._settling = waiting
            trouble = self._written(rows, declared)
            for one in waiting:
                one.settle(trouble)
            if stopping:
                return

    def _written(self, rows: Sequence[HeadRow], declared: dict[str, MetricFamily]) -> str:
        """Write rows and remove one slice of others; return what is wrong, or nothing."""
        trouble = ""
        try:
            file = self._opened()
            if rows or declared:
                file.write(rows, self._missing(file, rows), declared.values())
            with self._wake:
                self._bytes -= sum(len(row.values) for row in rows)
            rows, declared = (), {}
            self._remove_some(file)
        except (sqlite3.Error, OSError) as error:
            trouble = f"tsdb: writing {self._path.name}: {error}"
            self._give_up(error)
            with self._wake:
                self._put_back(rows)
                self._declared = {**declared, **self._declared}
        if trouble and trouble != self.trouble:
            log_corruption("numbers are in memory only", error=trouble)
        if self.trouble and not trouble:
            log_corruption("numbers are on disk again")
        self.trouble = trouble
        return trouble

    def _opened(self) -> HeadFile:
        """Return the file; one that is new gets everything the head has."""
        if self._file and self._file.is_moved():
            log_corruption("the head's file is gone; it is made anew from memory", file=str(self._path))
            self._file.close()
            self._file, self._anew = None, True
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)  # the whole folder may be gone
            self._file = HeadFile(self._path, full=self._full)
            self._anew = self._anew or self._file.is_new
        if self._anew:
            rows = list(self._head.rows())
            self._file.write(rows, self._missing(self._file, rows), list(self._families.values()))
            self._anew = False
        return self._file

    def _missing(self, file: HeadFile, rows: Iterable[HeadRow]) -> dict[int, bytes]:
        """Return the layouts that rows need and the file has not."""
        wanted = {row.layout for row in rows} - file.layouts
        found = {}
        for number in wanted:
            # A layout that the head has let go of, or even the index, was sealed with its rows.
            ids = self._head.ids(number)
            if ids is not None:
                with suppress(KeyError):
                    found[number] = encode_layout([series_key(self._index.labels(one)) for one in ids.tolist()])
        return found

    def _remove_some(self, file: HeadFile) -> None:
        if not self._removals:
            self._roomy = self._roomy and file.shrink()
            return
        removal = self._removals[0]
        last = file.remove(removal.start, removal.end, removal.upto, removal.after, SLICE)
        if last is None:
            self._removals.popleft()
            self._roomy = True
            if not self._removals:
                file.sweep()
        else:
            removal.after = last

    def _give_up(self, error: Exception) -> None:
        """Close the file, so that the next try opens it anew; what is no database any more is set aside."""
        if self._file:
            with suppress(sqlite3.Error):  # it is in trouble already, and that has been told
                self._file.close()
            self._file = None
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):  # tried again with the next write
                log_corruption("the head's file is damaged and was set aside", file=str(set_aside(self._path)))
                set_aside(self._path.with_name(f"{self._path.name}-wal"))

    def _taken_out(self) -> list[HeadRow]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def _put_back(self, rows: Sequence[HeadRow]) -> None:
        """Let rows wait again, but for those that were sealed meanwhile."""
        wait = [row for row in rows if not any(removal.covers(row) for removal in self._removals)]
        self._rows.extendleft(reversed(wait))
        self._bytes -= sum(len(row.values) for row in rows) - sum(len(row.values) for row in wait)

    def _overdue(self) -> list[HeadRow]:
        """Take out the oldest rows when too much waits: a quarter, so that it is seldom."""
        overdue: list[HeadRow] = []
        if self._bytes > WAITING:
            while self._rows and self._bytes > WAITING * 3 // 4:
                overdue.append(self._rows.popleft())
                self._bytes -= len(overdue[-1].values)
            self.lost += len(overdue)
        return overdue
