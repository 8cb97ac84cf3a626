"""The thread that writes the head's file."""

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
from toban.core.failure_log import FailureLog
from toban.core.samples import MetricFamily
from toban.tsdb.corruption import log, quarantine
from toban.tsdb.head import Head, HeadRow
from toban.tsdb.head_file import HeadFile, encode_layout
from toban.tsdb.series_index import SeriesIndex, series_key

MAX_UNFLUSHED: Final = 16 * 2**20
"""Bytes of rows that are kept in memory while the disk fails; beyond that the oldest are dropped."""

REMOVE_ROWS: Final = 64
"""Rows that are removed in one transaction, so that an append behind it is hardly delayed."""

IDLE: Final = 1.0
"""Seconds between two checks of a file that is idle, or that can't be written."""


@dataclass(slots=True)
class _PendingAppend:
    """An append that waits for its commit."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]

    def resolve(self, error: str) -> None:
        """End the wait, from any thread: with ``StoreError``, or without error when the text is empty."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._resolve, error)

    def _resolve(self, error: str) -> None:
        if self.future.done():
            return
        if error:
            self.future.set_exception(StoreError(error))
        else:
            self.future.set_result(None)


@dataclass(slots=True)
class _Removal:
    """Rows to remove because a block holds them: ``start`` ≤ time < ``end``, up to a sequence number."""

    start: int
    end: int
    last_sequence: int
    after: int = field(default=-1)
    """The last sequence number that was removed."""

    def covers(self, row: HeadRow) -> bool:
        """Return whether a row is one of them."""
        return row.sequence <= self.last_sequence and self.start <= row.at < self.end


class HeadWriter:
    """
    Writes rows in order, many appends in one commit, and removes rows that a block holds.

    While the file can't be written, rows are kept in memory, ``error`` says why, and the write is retried every second.
    A file that was removed, or is no database any more, is rebuilt from memory. ``bug`` is the unexpected exception
    that ended the thread, if any.
    """

    def __init__(
        self, path: Path, head: Head, index: SeriesIndex, families: dict[str, MetricFamily], *, full: bool
    ) -> None:
        self.bug: Exception | None = None
        self.dropped_batches = 0
        self._path = path
        self._head = head
        self._index = index
        self._families = families
        self._full = full
        self._file: HeadFile | None = None
        self._rebuild = False
        self._has_free_pages = False
        self._wake = Condition()
        self._rows: deque[HeadRow] = deque()
        self._new_families: dict[str, MetricFamily] = {}
        self._bytes = 0
        self._pending: list[_PendingAppend] = []
        self._committing: list[_PendingAppend] = []
        self._removals: deque[_Removal] = deque()
        self._stopping = False
        self._failure = FailureLog(log, "head write failed, samples kept in memory", "head write recovered")
        self._thread = Thread(target=self._work, name="tsdb writer", daemon=True)

    @property
    def error(self) -> str:
        """Why the file can't be written, empty while it can."""
        return self._failure.error

    @property
    def unflushed_bytes(self) -> int:
        """How many bytes of values are in memory only."""
        return self._bytes

    def start(self, file: HeadFile) -> None:
        """Start the thread on an open file."""
        self._file, self._rebuild = file, file.is_new
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Flush, close the file and end the thread; wait no longer than ``timeout`` seconds for a disk that hangs."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        if self._bytes:
            log.warning("closed with unflushed samples", bytes=self._bytes, error=self.error)

    async def write(self, rows: Sequence[HeadRow], families: Sequence[MetricFamily]) -> None:
        """Return when the rows are durable. Raises ``StoreError`` when the write failed; it is retried all the same."""
        loop = asyncio.get_running_loop()
        pending = _PendingAppend(loop, loop.create_future())
        with self._wake:
            if self._stopping:
                raise StoreError(f"tsdb: {self._path.name}: closed")
            self._rows.extend(rows)
            self._bytes += sum(len(row.values) for row in rows)
            self._new_families.update((family.name, family) for family in families)
            self._pending.append(pending)
            dropped = self._drop_oldest()
            self._wake.notify()
        if dropped:
            self._head.drop_rows(dropped)
        await pending.future

    def remove(self, start: int, end: int, last_sequence: int) -> None:
        """Remove the rows of ``start`` ≤ time < ``end`` up to a sequence number, some at a time, in the background."""
        removal = _Removal(start, end, last_sequence)
        with self._wake:
            self._removals.append(removal)
            self._requeue(self._dequeue())
            self._wake.notify()

    def _work(self) -> None:
        try:
            self._write_until_stopped()
        except Exception as error:
            # A bug: no append may wait for ever, and the service ends with this exception.
            self.bug = error
            with self._wake:
                self._stopping, pending, self._pending = True, [*self._pending, *self._committing], []
            for append in pending:
                append.resolve(f"tsdb: the head writer ended: {error!r}")
        finally:
            if self._file:
                self._file.close()

    def _write_until_stopped(self) -> None:
        while True:
            with self._wake:
                busy = self._pending or self._stopping or ((self._removals or self._has_free_pages) and not self.error)
                if not busy:
                    self._wake.wait(IDLE)
                stopping, pending, self._pending = self._stopping, self._pending, []
                rows, families = self._dequeue(), self._new_families
                self._new_families = {}
            self._committing = pending
            error = self._write(rows, families)
            for append in pending:
                append.resolve(error)
            if stopping:
                return

    def _write(self, rows: Sequence[HeadRow], families: dict[str, MetricFamily]) -> str:
        """Write rows and remove some others; return the error, or an empty text."""
        try:
            file = self._open_file()
            if rows or families:
                file.write(rows, self._missing_layouts(file, rows), families.values())
            with self._wake:
                self._bytes -= sum(len(row.values) for row in rows)
            rows, families = (), {}
            self._remove_some(file)
        except (sqlite3.Error, OSError) as error:
            self._close_after(error)
            with self._wake:
                self._requeue(rows)
                self._new_families = {**families, **self._new_families}
            self._failure.failed(f"tsdb: writing {self._path.name}: {error}")
        else:
            self._failure.succeeded()
        return self.error

    def _open_file(self) -> HeadFile:
        """Return the file; a new one is filled from the head first."""
        if self._file and self._file.is_moved():
            log.warning("head file removed, rebuilding it from memory", file=str(self._path))
            self._file.close()
            self._file, self._rebuild = None, True
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)  # the whole folder may have been removed
            self._file = HeadFile(self._path, full=self._full)
            self._rebuild = self._rebuild or self._file.is_new
        if self._rebuild:
            rows = list(self._head.rows())
            self._file.write(rows, self._missing_layouts(self._file, rows), list(self._families.values()))
            self._rebuild = False
        return self._file

    def _missing_layouts(self, file: HeadFile, rows: Iterable[HeadRow]) -> dict[int, bytes]:
        """Return the stored form of the layouts that rows need and the file lacks."""
        missing = {row.layout for row in rows} - file.layouts
        found = {}
        for number in missing:
            # A layout that the head, or even the index, has dropped is in a block together with its rows.
            ids = self._head.ids(number)
            if ids is not None:
                with suppress(KeyError):
                    found[number] = encode_layout([series_key(self._index.labels(one)) for one in ids.tolist()])
        return found

    def _remove_some(self, file: HeadFile) -> None:
        if not self._removals:
            self._has_free_pages = self._has_free_pages and file.shrink()
            return
        removal = self._removals[0]
        last = file.remove(removal.start, removal.end, removal.last_sequence, removal.after, REMOVE_ROWS)
        if last is None:
            self._removals.popleft()
            self._has_free_pages = True
            if not self._removals:
                file.remove_unused_layouts()
        else:
            removal.after = last

    def _close_after(self, error: Exception) -> None:
        """Close the file, so that the next attempt opens it again; a file that is no database is quarantined."""
        if self._file:
            with suppress(sqlite3.Error):  # the first error is the one that is reported
                self._file.close()
            self._file = None
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):  # retried with the next write
                log.warning("damaged head file quarantined", file=str(quarantine(self._path)))
                quarantine(self._path.with_name(f"{self._path.name}-wal"))

    def _dequeue(self) -> list[HeadRow]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def _requeue(self, rows: Sequence[HeadRow]) -> None:
        """Put rows back at the front of the queue, except those that are in a block by now."""
        queued = [row for row in rows if not any(removal.covers(row) for removal in self._removals)]
        self._rows.extendleft(reversed(queued))
        self._bytes -= sum(len(row.values) for row in rows) - sum(len(row.values) for row in queued)

    def _drop_oldest(self) -> list[HeadRow]:
        """Drop the oldest rows when too many are queued: a quarter at once, so that it happens rarely."""
        dropped: list[HeadRow] = []
        if self._bytes > MAX_UNFLUSHED:
            while self._rows and self._bytes > MAX_UNFLUSHED * 3 // 4:
                dropped.append(self._rows.popleft())
                self._bytes -= len(dropped[-1].values)
            self.dropped_batches += len(dropped)
        return dropped
