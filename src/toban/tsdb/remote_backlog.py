"""The backlog of remote write: rows that the head dropped before they were sent, in a file of their own."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from toban.core.errors import StoreError
from toban.core.samples import Batch, Layout, is_absent
from toban.tsdb.corruption import CorruptionError, log, quarantine
from toban.tsdb.head import HeadRow
from toban.tsdb.head_file import decode_layout, encode_layout, row_checksum
from toban.tsdb.series_index import series_key

CACHED_LAYOUTS: Final = 256
"""Layouts that are cached, decoded."""

SCHEMA: Final = """
pragma auto_vacuum = full;
pragma journal_mode = wal;
pragma synchronous = normal;
pragma cache_size = -512;
create table if not exists layouts (key blob primary key, series blob not null) without rowid;
create table if not exists rows (
  turn integer primary key, layout blob not null, number integer not null, at integer not null,
  checksum integer not null, numbers blob not null
);
create table if not exists passed (only integer primary key check (only = 1), turn integer not null);
"""
"""The stored format: ``turn`` is a row's sequence number, ``numbers`` are its values, ``passed`` is the commit."""


class RemoteBacklog:
    """
    A file of rows that wait to be sent, and the last sequence number that was committed.

    Safe to use from several threads. Its methods raise ``StoreError`` when the disk fails; a file that is no database
    any more is reported, quarantined and created again.
    """

    def __init__(self, path: Path, report: Callable[[CorruptionError], None]) -> None:
        self._path = path
        self._report = report
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._size = 0
        self._layouts: dict[bytes, Layout] = {}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()

    def committed_sequence(self) -> int:
        """Return the last sequence number that was committed, 0 at first."""
        with self._connected() as file:
            row = file.execute("select turn from passed").fetchone()
            return int(row[0]) if row else 0

    def highest_sequence(self) -> int:
        """Return the highest sequence number in the file, 0 without rows."""
        with self._connected() as file:
            return int(file.execute("select coalesce(max(turn), 0) from rows").fetchone()[0])

    def size(self) -> int:
        """Return how many bytes of values wait."""
        with self._connected():
            return self._size

    def commit(self, sequence: int) -> None:
        """Store that all rows up to a sequence number were sent, and remove them."""
        with self._connected() as file, _transaction(file):
            file.execute("insert or replace into passed values (1, ?)", (sequence,))
            if self._size:
                file.execute("delete from rows where turn <= ?", (sequence,))
                self._remove_unused_layouts(file)

    def append(self, rows: Iterable[HeadRow], layout: Callable[[int], Layout]) -> None:
        """Append rows, with the layouts that ``layout`` returns for their numbers; rows that are there already stay."""
        keys: dict[int, bytes] = {}
        with self._connected() as file, _transaction(file):
            for row in rows:
                if row.layout not in keys:
                    lines = [series_key(labels) for labels in layout(row.layout).series]
                    keys[row.layout] = key = blake2b(b"\n".join(lines), digest_size=16).digest()
                    file.execute("insert or ignore into layouts values (?, ?)", (key, encode_layout(lines)))
                file.execute(
                    "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
                    (row.sequence, keys[row.layout], row.layout, row.at, row_checksum(row), row.values),
                )
            self._measure(file)

    def batches_after(self, sequence: int, limit: int) -> list[tuple[int, Batch]]:
        """Return the first batches after a sequence number, with theirs; damaged rows are reported and left out."""
        batches = []
        with self._connected() as file:
            query = (
                "select turn, number, at, checksum, numbers, layout, series from rows"
                " left join layouts on key = layout where turn > ? order by turn limit ?"
            )
            for number, layout, at, checksum, values, key, series in file.execute(query, (sequence, limit)):
                if row_checksum(HeadRow(number, layout, at, values)) != checksum or series is None:
                    self._report(CorruptionError(f"tsdb: {self._path.name}: row {number} is damaged"))
                    continue
                if key not in self._layouts:
                    if len(self._layouts) >= CACHED_LAYOUTS:
                        self._layouts.clear()
                    self._layouts[key] = Layout(decode_layout(series))
                batches.append((number, Batch(self._layouts[key], at, np.frombuffer(values))))
        return batches

    def truncate(self, size: int, oldest: int) -> int:
        """Drop rows before a time (milliseconds), then the first ones until the rest fits; return how many samples."""
        dropped: list[tuple[int, bytes]] = []
        with self._connected() as file, _transaction(file):
            dropped += file.execute("select turn, numbers from rows where at < ?", (oldest,))
            rest = self._size - sum(len(values) for _, values in dropped)
            if rest > size:
                expired = {sequence for sequence, _ in dropped}
                for sequence, values in file.execute("select turn, numbers from rows order by turn"):
                    if rest <= size:
                        break
                    if sequence not in expired:
                        dropped.append((sequence, values))
                        rest -= len(values)
            if dropped:
                file.executemany("delete from rows where turn = ?", [(sequence,) for sequence, _ in dropped])
                self._remove_unused_layouts(file)
        return sum(int(np.count_nonzero(~is_absent(np.frombuffer(values)))) for _, values in dropped)

    def _remove_unused_layouts(self, file: sqlite3.Connection) -> None:
        file.execute("delete from layouts where key not in (select layout from rows)")
        self._measure(file)

    def _measure(self, file: sqlite3.Connection) -> None:
        self._size = file.execute("select coalesce(sum(length(numbers)), 0) from rows").fetchone()[0]

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                    self._connection.executescript(SCHEMA)
                    self._measure(self._connection)
                yield self._connection
            except sqlite3.OperationalError as error:
                self._disconnect()
                raise StoreError(f"tsdb: {self._path.name}: {error}") from error
            except sqlite3.DatabaseError as error:
                self._disconnect()
                with suppress(OSError):  # the next use retries, and reports again
                    log.warning("damaged backlog quarantined", file=str(quarantine(self._path)))
                self._report(CorruptionError(f"tsdb: {self._path.name}: {error}"))
                raise StoreError(f"tsdb: {self._path.name}: {error}") from error

    def _disconnect(self) -> None:
        if self._connection:
            with suppress(sqlite3.Error):  # the first error is the one that is raised
                self._connection.close()
            self._connection = None


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("begin immediate")
    try:
        yield
        file.execute("commit")
    finally:
        # A commit that fails leaves the transaction open.
        if file.in_transaction:
            file.execute("rollback")
