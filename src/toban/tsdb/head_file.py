"""The head on disk: one row a batch in SQLite."""

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

PATIENCE: Final = 0.5
"""Seconds to wait for somebody else's lock on the file."""

PAGE: Final = 4096
SPARE: Final = 8 * 2**20
"""Bytes of room that the file may keep for rows to come."""
GIVEN: Final = 2**20
"""Bytes of room that are given back at once."""
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


class HeadFile:
    """
    The file of the head, open.

    What it can't do raises ``sqlite3.Error``, or ``OSError`` where the file itself is the matter.
    Used by one thread at a time.
    """

    def __init__(self, path: Path, *, full: bool) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
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
            self._files = self._identities()
        except BaseException:
            self._connection.close()
            raise

    def is_moved(self) -> bool:
        """Tell whether the file that is open is no longer the one under its name."""
        try:
            return self._identities() != self._files
        except FileNotFoundError:
            return True

    def check(self) -> str:
        """Return what is wrong with the file's pages, or nothing."""
        try:
            (found,) = self._connection.execute("pragma quick_check(1)").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else str(found)

    def recovered(self) -> int:
        """Return how many frames of the write-ahead log SQLite took for sound when it opened the file."""
        _, frames, _ = self._connection.execute("pragma wal_checkpoint(passive)").fetchone()
        return int(frames)

    def write(self, rows: Iterable[HeadRow], layouts: Mapping[int, bytes], families: Iterable[MetricFamily]) -> None:
        """Store rows, and the layouts and families they need, all or nothing."""
        with _Transaction(self._connection):
            self._connection.executemany(
                "insert or replace into layouts values (?, ?, ?)",
                [(number, packed, _layout_sum(number, packed)) for number, packed in layouts.items()],
            )
            self._connection.executemany(
                "insert or replace into families values (?, ?, ?)",
                [(family.name, content := orjson.dumps(encode_family(family)), crc32(content)) for family in families],
            )
            self._connection.executemany(
                "insert or replace into rows values (?, ?, ?, ?, ?)",
                [(row.turn, row.layout, row.at, row_checksum(row), row.values) for row in rows],
            )
        self.layouts.update(layouts)

    def remove(self, start: int, end: int, upto: int, after: int, limit: int) -> int | None:
        """
        Remove the first rows of some times, oldest turn first; return the last turn removed, or nothing at the end.

        Oldest first, so that a crash in between never leaves a number that was overwritten without the one
        that overwrote it.
        """
        with _Transaction(self._connection):
            turns = self._connection.execute(
                "select turn from rows where turn > ? and turn <= ? and at >= ? and at < ? order by turn limit ?",
                (after, upto, start, end, limit),
            ).fetchall()
            self._connection.executemany("delete from rows where turn = ?", turns)
        return turns[-1][0] if turns else None

    def shrink(self) -> bool:
        """Give some of the room that removed rows left back to the disk; tell whether there is more than usual."""
        (free,) = self._connection.execute("pragma freelist_count").fetchone()
        if free <= SPARE // PAGE:
            return False
        self._connection.execute(f"pragma incremental_vacuum({GIVEN // PAGE})").fetchall()
        return True

    def sweep(self) -> None:
        """Remove layouts that no row stands on."""
        with _Transaction(self._connection):
            self._connection.execute("delete from layouts where number not in (select layout from rows)")
        self.layouts = {number for (number,) in self._connection.execute("select number from layouts")}

    def read_layouts(self) -> Iterator[tuple[int, list[Labels] | None]]:
        """Bring each layout's number and series, nothing for a layout that is damaged."""
        for number, packed, checksum in self._connection.execute("select number, series, checksum from layouts"):
            sound = _layout_sum(number, packed) == checksum
            yield number, decode_layout(packed) if sound else None

    def read_families(self) -> Iterator[MetricFamily | None]:
        """Bring each family, nothing for one that is damaged."""
        for content, checksum in self._connection.execute("select content, checksum from families"):
            if crc32(content) != checksum:
                yield None
                continue
            yield decode_family(orjson.loads(content))

    def read_rows(self, *, backwards: bool = False) -> Iterator[tuple[HeadRow, bool]]:
        """Bring each row, and whether it is sound."""
        order = "desc" if backwards else "asc"
        for turn, layout, at, checksum, values in self._connection.execute(
            f"select turn, layout, at, checksum, numbers from rows order by turn {order}"  # noqa: S608  # asc or desc
        ):
            if isinstance(values, bytes) and isinstance(layout, int) and isinstance(at, int):
                row = HeadRow(turn, layout, at, values)
                yield row, row_checksum(row) == checksum
            else:
                yield HeadRow(turn, 0, 0, b""), False

    def set_aside(self, turns: Iterable[int]) -> None:
        """Move rows to where nobody reads them and nobody loses them."""
        with _Transaction(self._connection):
            for turn in turns:
                self._connection.execute("insert into broken select * from rows where turn = ?", (turn,))
                self._connection.execute("delete from rows where turn = ?", (turn,))

    def close(self) -> None:
        """Close."""
        self._connection.close()

    def _identities(self) -> list[tuple[int, int]]:
        found = [os.stat(name) for name in (self._path, f"{self._path}-wal")]  # noqa: PTH116  # twice in each append: a Path takes as long as the write
        return [(one.st_dev, one.st_ino) for one in found]


class _Transaction:
    """All or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("begin immediate")

    def __exit__(self, sort: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                self._connection.execute("commit")
        finally:
            # A commit that fails leaves the transaction open.
            if self._connection.in_transaction:
                self._connection.execute("rollback")


def committed_frames(log: bytes) -> int:
    """
    Return how many frames of a write-ahead log were certainly written up to its last commit, sound or not.

    SQLite ends at the first frame that is damaged and says nothing: what was committed behind it is told by this.
    A last commit that stands over frames of an earlier log is not certain: its page is written after its header, and a
    crash between the two leaves the old page there.
    """
    frames = (len(log) - WAL_HEADER.size) // (WAL_FRAME.size + PAGE)
    commits, salt = [0], None
    for number in range(frames):
        _, commit, *own, _, _ = WAL_FRAME.unpack_from(log, WAL_HEADER.size + number * (WAL_FRAME.size + PAGE))
        salt = salt or own
        if own != salt:
            # Left over from before the log began anew.
            if commits[-1] == number:
                commits.pop()
            break
        if commit:
            commits.append(number + 1)
    # A log that began anew has the next salt in its header before its first frame: what follows is in the file.
    began_anew = salt and WAL_HEADER.unpack_from(log)[4] == (salt[0] + 1) % 2**32
    return 0 if began_anew else commits[-1]


def encode_layout(lines: Iterable[bytes]) -> bytes:
    """Return a layout's series as they are stored."""
    return bytes(cramjam.zstd.compress(b"\n".join(lines), level=1))


def decode_layout(data: bytes) -> list[Labels]:
    """Return the series that `packed` was given."""
    return [Labels(orjson.loads(line)) for line in bytes(cramjam.zstd.decompress(data)).split(b"\n")]


def row_checksum(row: HeadRow) -> int:
    """Return the checksum of everything about a row."""
    return crc32(row.values, crc32(struct.pack("<qqq", row.turn, row.layout, row.at)))


def _layout_sum(number: int, packed: bytes) -> int:
    return crc32(packed, number & 0xFFFFFFFF)
