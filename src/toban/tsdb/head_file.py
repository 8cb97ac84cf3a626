"""The head on disk: one row for each batch, in SQLite."""

import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

import cramjam
import orjson

from toban.core.labels import Labels
from toban.core.samples import MetricFamily
from toban.tsdb.family_codec import decode_family, encode_family
from toban.tsdb.head import HeadRow

LOCK_TIMEOUT: Final = 0.5
"""Seconds to wait for another program's lock on the file."""

PAGE: Final = 4096
FREE_BYTES: Final = 8 * 2**20
"""Bytes of free pages that the file keeps for later rows."""
VACUUM_BYTES: Final = 2**20
"""Bytes of free pages that one step returns to the disk."""
WAL_HEADER: Final = struct.Struct(">8I")
WAL_FRAME: Final = struct.Struct(">6I")

SCHEMA: Final = """
create table if not exists layouts (number integer primary key, series blob not null, checksum integer not null);
create table if not exists families (name text primary key, content blob not null, checksum integer not null);
create table if not exists rows (
  turn integer primary key, layout integer not null, at integer not null,
  checksum integer not null, numbers blob not null
);
create table if not exists broken (turn integer, layout integer, at integer, checksum integer, numbers blob);
"""
"""The stored format: ``turn`` is a row's sequence number, ``numbers`` are its values, ``broken`` is the quarantine."""


class HeadFile:
    """
    The head's file, open. Used by one thread at a time.

    Its methods raise ``sqlite3.Error``, or ``OSError`` when the file itself is missing or unreadable.
    """

    def __init__(self, path: Path, *, full: bool) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute(f"pragma page_size = {PAGE}")
            if not self._connection.execute("pragma page_count").fetchone()[0]:
                self._connection.execute("pragma auto_vacuum = incremental")
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if full else 'normal'}")
            self._connection.execute("pragma cache_size = -1024")
            self._connection.execute("pragma journal_size_limit = 8000000")
            self.is_new = not self._connection.execute("select 1 from sqlite_master where name = 'rows'").fetchone()
            if self.is_new:
                self._connection.executescript(SCHEMA)
            self.layouts = {number for (number,) in self._connection.execute("select number from layouts")}
            self._opened_files = self._identities()
        except BaseException:
            self._connection.close()
            raise

    def is_moved(self) -> bool:
        """Return whether the path no longer names the open file."""
        try:
            return self._identities() != self._opened_files
        except FileNotFoundError:
            return True

    def check(self) -> str:
        """Return an error when pages of the file are damaged, else an empty text."""
        try:
            (result,) = self._connection.execute("pragma quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if result == "ok" else str(result)

    def recovered_frames(self) -> int:
        """Return how many frames of the write-ahead log SQLite recovered when it opened the file."""
        _, frames, _ = self._connection.execute("pragma wal_checkpoint(passive)").fetchone()
        return int(frames)

    def write(self, rows: Iterable[HeadRow], layouts: Mapping[int, bytes], families: Iterable[MetricFamily]) -> None:
        """Store rows, and the layouts and families that they need, in one transaction."""
        with Transaction(self._connection):
            self._connection.executemany(
                "insert or replace into layouts values (?, ?, ?)",
                [(number, packed, _layout_checksum(number, packed)) for number, packed in layouts.items()],
            )
            self._connection.executemany(
                "insert or replace into families values (?, ?, ?)",
                [(family.name, content := orjson.dumps(encode_family(family)), crc32(content)) for family in families],
            )
            self._connection.executemany(
                "insert or replace into rows values (?, ?, ?, ?, ?)",
                [(row.sequence, row.layout, row.at, row_checksum(row), row.values) for row in rows],
            )
        self.layouts.update(layouts)

    def remove(self, start: int, end: int, last_sequence: int, after: int, limit: int) -> int | None:
        """
        Remove up to ``limit`` rows of ``start`` ≤ time < ``end``; return the last sequence number removed, or None.

        In order of their sequence numbers, so that a crash in between never leaves a sample that was overwritten
        without the one that overwrote it.
        """
        with Transaction(self._connection):
            removed = self._connection.execute(
                "select turn from rows where turn > ? and turn <= ? and at >= ? and at < ? order by turn limit ?",
                (after, last_sequence, start, end, limit),
            ).fetchall()
            self._connection.executemany("delete from rows where turn = ?", removed)
        return removed[-1][0] if removed else None

    def shrink(self) -> bool:
        """Return some free pages to the disk; return whether there are more than the file keeps."""
        (free,) = self._connection.execute("pragma freelist_count").fetchone()
        if free <= FREE_BYTES // PAGE:
            return False
        self._connection.execute(f"pragma incremental_vacuum({VACUUM_BYTES // PAGE})").fetchall()
        return True

    def remove_unused_layouts(self) -> None:
        """Remove layouts that no row refers to."""
        with Transaction(self._connection):
            self._connection.execute("delete from layouts where number not in (select layout from rows)")
        self.layouts = {number for (number,) in self._connection.execute("select number from layouts")}

    def read_layouts(self) -> Iterator[tuple[int, list[Labels] | None]]:
        """Yield each layout's number and series, or None for one that is damaged."""
        for number, packed, checksum in self._connection.execute("select number, series, checksum from layouts"):
            intact = _layout_checksum(number, packed) == checksum
            yield number, decode_layout(packed) if intact else None

    def read_families(self) -> Iterator[MetricFamily | None]:
        """Yield each family, or None for one that is damaged."""
        for content, checksum in self._connection.execute("select content, checksum from families"):
            if crc32(content) != checksum:
                yield None
                continue
            yield decode_family(orjson.loads(content))

    def read_rows(self, *, backwards: bool = False) -> Iterator[tuple[HeadRow, bool]]:
        """Yield each row, and whether it is intact."""
        order = "desc" if backwards else "asc"
        for sequence, layout, at, checksum, values in self._connection.execute(
            f"select turn, layout, at, checksum, numbers from rows order by turn {order}"  # noqa: S608  # asc or desc
        ):
            if isinstance(values, bytes) and isinstance(layout, int) and isinstance(at, int):
                row = HeadRow(sequence, layout, at, values)
                yield row, row_checksum(row) == checksum
            else:
                yield HeadRow(sequence, 0, 0, b""), False

    def quarantine(self, sequences: Iterable[int]) -> None:
        """Move damaged rows to a table that keeps them unread."""
        with Transaction(self._connection):
            for sequence in sequences:
                self._connection.execute("insert into broken select * from rows where turn = ?", (sequence,))
                self._connection.execute("delete from rows where turn = ?", (sequence,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _identities(self) -> list[tuple[int, int]]:
        stats = [os.stat(name) for name in (self._path, f"{self._path}-wal")]  # noqa: PTH116  # twice in each append: a Path takes as long as the write
        return [(stat.st_dev, stat.st_ino) for stat in stats]


class Transaction:
    """A transaction around a block: committed at its end, rolled back when it raises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("begin immediate")

    def __exit__(self, type_: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                self._connection.execute("commit")
        finally:
            # A commit that fails leaves the transaction open.
            if self._connection.in_transaction:
                self._connection.execute("rollback")


def committed_frames(log: bytes) -> int:
    """
    Return how many frames of a write-ahead log were certainly committed, whether they are intact or not.

    SQLite stops at the first damaged frame without an error: this count shows that more was committed behind it.
    A last commit that overwrites a frame of an earlier log is not certain: its page is written after its header, and a
    crash between the two leaves the old page there.
    """
    count = (len(log) - WAL_HEADER.size) // (WAL_FRAME.size + PAGE)
    if count <= 0:
        return 0
    frames = [WAL_FRAME.unpack_from(log, WAL_HEADER.size + number * (WAL_FRAME.size + PAGE)) for number in range(count)]
    salts = [frame[2:4] for frame in frames]
    next_salt = WAL_HEADER.unpack_from(log)[4:6]
    salt = next_salt if next_salt in salts else salts[0]
    # A restarted log has the next salt in its header before its first frame: what follows is in the file already.
    if next_salt[0] == (salt[0] + 1) % 2**32:
        return 0
    own = [number for number, one in enumerate(salts) if one == salt]
    commits = [0, *(number + 1 for number in own if frames[number][1])]
    # Behind the last frame are those from before the log was restarted. A frame with another salt before it is damaged.
    if commits[-1] == own[-1] + 1 < count:
        commits.pop()
    return commits[-1]


def encode_layout(lines: Iterable[bytes]) -> bytes:
    """Return the stored form of a layout's series."""
    return bytes(cramjam.zstd.compress(b"\n".join(lines), level=1))


def decode_layout(data: bytes) -> list[Labels]:
    """Return the series that `encode_layout` was given."""
    return [Labels(orjson.loads(line)) for line in bytes(cramjam.zstd.decompress(data)).split(b"\n")]


def row_checksum(row: HeadRow) -> int:
    """Return the checksum of a row, over all its fields."""
    return crc32(row.values, crc32(struct.pack("<qqq", row.sequence, row.layout, row.at)))


def _layout_checksum(number: int, packed: bytes) -> int:
    return crc32(packed, number & 0xFFFFFFFF)
