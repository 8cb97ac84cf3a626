"""
The head on disk: what is not in a block, the cursors, and the next number, in SQLite.

Appended lines are rows of ``batches`` until a chunk is complete: then they are a row of ``chunks`` and its columns.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple
from zlib import crc32

import cramjam
import orjson

from toban.core.log_line import LogStream
from toban.logs.store.block_writer import PackedChunk
from toban.logs.store.chunk import ChunkInfo, Column
from toban.tsdb.head_file import FREE_BYTES, LOCK_TIMEOUT, PAGE, VACUUM_BYTES, Transaction

NEXT_NUMBER, DAY = "next", "day"
"""Names of the numbers that are kept: of the next line, and of the day (since the epoch) that is not sealed."""

SCHEMA: Final = """
create table if not exists batches (first integer primary key, checksum integer not null, data blob not null);
create table if not exists chunks (
  first integer primary key, checksum integer not null, info blob not null, signature blob not null
);
create table if not exists columns (place integer primary key, checksum integer not null, data blob not null);
create table if not exists cursors (name text primary key, checksum integer not null, value text not null);
create table if not exists numbers (name text primary key, checksum integer not null, value integer not null);
"""
"""The stored format: the ``place`` of a column is the number of its chunk's first line times 8, and its own."""

_INSERT: Final = {
    "batches": "insert or ignore into batches values (?, ?, ?)",
    "chunks": "insert or ignore into chunks values (?, ?, ?, ?)",
    "columns": "insert or ignore into columns values (?, ?, ?)",
    "cursors": "insert or ignore into cursors values (?, ?, ?)",
    "numbers": "insert or ignore into numbers values (?, ?, ?)",
}
_PLACES: Final = 8
_VERSIONS: Final = (b"\1\1", b"\2\2")
"""Write and read version in the file's header, without and with a write-ahead log."""


EncodedLine = tuple[int, int, str, str]
"""A line of a batch: its time (milliseconds), its stream's place among those of the batch, its trace id, its row."""


class LineBatch(NamedTuple):
    """Lines that were appended together, from a number on."""

    first: int
    streams: list[LogStream]
    lines: list[EncodedLine]


class HeadFile:
    """
    The head's file, open. One thread writes; columns and cursors may be read by any.

    Its methods raise ``sqlite3.Error``.
    """

    def __init__(self, path: Path, *, full: bool) -> None:
        self._path = path
        self._connection = _connect(path)
        try:
            self._connection.execute(f"pragma page_size = {PAGE}")
            if not self._connection.execute("pragma page_count").fetchone()[0]:
                self._connection.execute("pragma auto_vacuum = incremental")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if full else 'normal'}")
            self._connection.execute("pragma cache_size = -1024")
            self._connection.execute("pragma journal_size_limit = 8000000")
            self._connection.executescript(SCHEMA)
            self._reader = _connect(path)
            self._reader.execute("pragma cache_size = -512")
            self._reading = Lock()
        except BaseException:
            self._connection.close()
            raise

    def check(self) -> str:
        """Return an error when pages of the file are damaged, else an empty text."""
        try:
            (result,) = self._connection.execute("pragma quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return str(error)
        with self._path.open("rb") as file:
            versions = file.read(20)[18:]
        # SQLite opens a file with an unknown write version, but only for reading.
        return str(result) if result != "ok" else "" if versions in _VERSIONS else "unknown version of the file format"

    def recovered_frames(self) -> int:
        """Return how many frames of the write-ahead log SQLite recovered when it opened the file."""
        _, frames, _ = self._connection.execute("pragma wal_checkpoint(passive)").fetchone()
        return int(frames)

    def write(
        self, chunks: Sequence[PackedChunk], batch: LineBatch, cursors: Mapping[str, str], next_number: int
    ) -> None:
        """
        Store complete chunks, a batch, cursors and the next number in one transaction.

        Batches before ``batch`` are deleted when there are chunks: these hold them.
        """
        with Transaction(self._connection):
            if chunks:
                self._put_chunks(chunks)
                self._connection.execute("delete from batches where first < ?", (batch.first,))
            if batch.lines:
                self._put("batches", batch.first, _encode_batch(batch))
            for name, value in cursors.items():
                self._put("cursors", name, value)
            self._put("numbers", NEXT_NUMBER, next_number)

    def set_number(self, name: str, value: int) -> None:
        """Keep a number."""
        self._put("numbers", name, value)

    def number(self, name: str) -> int | None:
        """Return a number that is kept; None when there is none, or it is damaged."""
        value: int | None = self._get("numbers", name)
        return value

    def cursor(self, name: str) -> str | None:
        """Return a cursor, None when there is none or it is damaged."""
        value: str | None = self._get("cursors", name)
        return value

    def cursors(self) -> dict[str, str]:
        """Return all cursors; damaged ones are left out."""
        with self._reading:
            rows = self._reader.execute("select name, checksum, value from cursors order by name").fetchall()
        return {name: value for name, checksum, value in rows if _checksum(name, value) == checksum}

    def damaged_cursors(self) -> list[str]:
        """Return the names of cursors whose values are damaged."""
        rows = self._connection.execute("select name, checksum, value from cursors").fetchall()
        return [name for name, checksum, value in rows if _checksum(name, value) != checksum]

    def forget_cursors(self, names: Iterable[str]) -> None:
        """Delete cursors."""
        with Transaction(self._connection):
            self._connection.executemany("delete from cursors where name = ?", [(name,) for name in names])

    def read_batches(self) -> Iterator[tuple[int, LineBatch | None]]:
        """Yield the number of each batch's first line, and the batch, None when it is damaged."""
        for first, checksum, data in self._connection.execute("select * from batches order by first"):
            yield first, _decode_batch(first, data) if _checksum(first, data) == checksum else None

    def read_chunks(self) -> Iterator[tuple[int, ChunkInfo | None, bytes]]:
        """Yield each chunk's first number, what is known of it (None when it is damaged), and its signature."""
        for first, checksum, info, signature in self._connection.execute("select * from chunks order by first"):
            intact = _checksum(first, _joined(info, signature)) == checksum
            yield first, _decode_info(first, info) if intact else None, signature

    def column(self, first: int, column: Column) -> tuple[bytes, bool] | None:
        """Return a column of the chunk with a first number, and whether it is intact; None when it is not there."""
        place = first * _PLACES + column
        with self._reading:
            row = self._reader.execute("select checksum, data from columns where place = ?", (place,)).fetchone()
        return row and (row[1], _checksum(place, row[1]) == row[0])

    def remove(self, first: int, last: int) -> None:
        """Remove the lines of a range of numbers, both included: they are in a block, or damaged."""
        with Transaction(self._connection):
            self._connection.execute("delete from batches where first between ? and ?", (first, last))
            self._connection.execute("delete from chunks where first between ? and ?", (first, last))
            places = (first * _PLACES, last * _PLACES + _PLACES - 1)
            self._connection.execute("delete from columns where place between ? and ?", places)

    def shrink(self) -> None:
        """Return free pages to the disk, but those that the file keeps for later rows."""
        while self._connection.execute("pragma freelist_count").fetchone()[0] > FREE_BYTES // PAGE:
            self._connection.execute(f"pragma incremental_vacuum({VACUUM_BYTES // PAGE})").fetchall()

    def salvage(self, damaged: Path) -> None:
        """Copy what can be read of a damaged file, from both ends of each table; checksums tell what is intact."""
        source = _connect(damaged)
        try:
            with Transaction(self._connection):
                for table, insert in _INSERT.items():
                    for order in ("asc", "desc"):
                        with suppress(sqlite3.DatabaseError):
                            for row in source.execute(f"select * from {table} order by 1 {order}"):  # noqa: S608  # constants
                                self._connection.execute(insert, row)
        finally:
            source.close()

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._reader.close()
        self._connection.close()

    def _put_chunks(self, chunks: Sequence[PackedChunk]) -> None:
        for info, columns, signature in chunks:
            encoded = _encode_info(info)
            checksum = _checksum(info.first, _joined(encoded, signature))
            self._connection.execute(
                "insert or replace into chunks values (?, ?, ?, ?)", (info.first, checksum, encoded, signature)
            )
            for column, data in zip(Column, columns, strict=True):
                self._put("columns", info.first * _PLACES + column, data)

    def _put(self, table: str, key: int | str, value: Any) -> None:
        self._connection.execute(
            f"insert or replace into {table} values (?, ?, ?)",  # noqa: S608  # a constant
            (key, _checksum(key, value), value),
        )

    def _get(self, table: str, name: str) -> Any:
        with self._reading:
            row = self._reader.execute(f"select checksum, value from {table} where name = ?", (name,)).fetchone()  # noqa: S608  # a constant
        return row[1] if row and _checksum(name, row[1]) == row[0] else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)


def _checksum(key: object, value: object) -> int:
    data = value if isinstance(value, bytes) else str(value).encode(errors="replace")
    return crc32(data, crc32(str(key).encode()))


def _joined(info: object, signature: object) -> bytes:
    return b"".join(part for part in (info, signature) if isinstance(part, bytes))


def _encode_batch(batch: LineBatch) -> bytes:
    return bytes(cramjam.zstd.compress(orjson.dumps([list(map(tuple, batch.streams)), batch.lines]), level=1))


def _decode_batch(first: int, data: bytes) -> LineBatch:
    streams, lines = orjson.loads(bytes(cramjam.zstd.decompress(data)))
    return LineBatch(first, [LogStream(*stream) for stream in streams], [tuple(line) for line in lines])


def _encode_info(info: ChunkInfo) -> bytes:
    return orjson.dumps([info.count, info.oldest, info.newest, list(map(tuple, info.streams)), info.loud, info.sizes])


def _decode_info(first: int, data: bytes) -> ChunkInfo:
    count, oldest, newest, streams, loud, sizes = orjson.loads(data)
    return ChunkInfo(
        first, count, oldest, newest, tuple(LogStream(*stream) for stream in streams), loud, (sizes[0], sizes[1])
    )
