"""What the head let go of before it was passed on: rows with their series, in a file of their own."""

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
from toban.tsdb.corruption import CorruptionError, log_corruption, set_aside
from toban.tsdb.head import HeadRow
from toban.tsdb.head_file import decode_layout, encode_layout, row_checksum
from toban.tsdb.series_index import series_key

KNOWN: Final = 256
"""How many layouts are kept at hand."""

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


class RemoteBacklog:
    """
    A file of rows that wait, and how far their reader got.

    It may be asked by several threads. What the disk does not let it do raises ``StoreError``; a file that is no
    database any more is reported, set aside and made anew.
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
            self._let_go()

    def committed_turn(self) -> int:
        """Return up to which turn all rows were passed on: 0 where nobody ever said."""
        with self._opened() as file:
            found = file.execute("select turn from passed").fetchone()
            return int(found[0]) if found else 0

    def newest(self) -> int:
        """Return the highest turn there is, 0 for none."""
        with self._opened() as file:
            return int(file.execute("select coalesce(max(turn), 0) from rows").fetchone()[0])

    def commit(self, turn: int) -> None:
        """Note that all rows up to a turn were passed on, and let go of them."""
        with self._opened() as file, _transaction(file):
            file.execute("insert or replace into passed values (1, ?)", (turn,))
            if self._size:
                file.execute("delete from rows where turn <= ?", (turn,))
                self._sweep(file)

    def append(self, rows: Iterable[HeadRow], layout: Callable[[int], Layout]) -> None:
        """Keep rows; ``layout`` brings what a layout's number stands for. A row that is there already is no matter."""
        keys: dict[int, bytes] = {}
        with self._opened() as file, _transaction(file):
            for row in rows:
                if row.layout not in keys:
                    lines = [series_key(labels) for labels in layout(row.layout).series]
                    keys[row.layout] = key = blake2b(b"\n".join(lines), digest_size=16).digest()
                    file.execute("insert or ignore into layouts values (?, ?)", (key, encode_layout(lines)))
                file.execute(
                    "insert or ignore into rows values (?, ?, ?, ?, ?, ?)",
                    (row.turn, keys[row.layout], row.layout, row.at, row_checksum(row), row.values),
                )
            self._measure(file)

    def after(self, turn: int, limit: int) -> list[tuple[int, Batch]]:
        """Return the first batches after a turn, with theirs; what is damaged is reported and left out."""
        found = []
        with self._opened() as file:
            question = (
                "select turn, number, at, checksum, numbers, layout, series from rows"
                " left join layouts on key = layout where turn > ? order by turn limit ?"
            )
            for number, layout, at, checksum, numbers, key, series in file.execute(question, (turn, limit)):
                if row_checksum(HeadRow(number, layout, at, numbers)) != checksum or series is None:
                    self._report(CorruptionError(f"tsdb: {self._path.name}: the row of turn {number} is damaged"))
                    continue
                if key not in self._layouts:
                    if len(self._layouts) >= KNOWN:
                        self._layouts.clear()
                    self._layouts[key] = Layout(decode_layout(series))
                found.append((number, Batch(self._layouts[key], at, np.frombuffer(numbers))))
        return found

    def truncate(self, size: int, oldest: int) -> int:
        """Let go of rows before a time (milliseconds), and of the first ones beyond a size; return how many samples."""
        gone: list[tuple[int, bytes]] = []
        with self._opened() as file, _transaction(file):
            gone += file.execute("select turn, numbers from rows where at < ?", (oldest,))
            rest = self._size - sum(len(numbers) for _, numbers in gone)
            if rest > size:
                known = {turn for turn, _ in gone}
                for turn, numbers in file.execute("select turn, numbers from rows order by turn"):
                    if rest <= size:
                        break
                    if turn not in known:
                        gone.append((turn, numbers))
                        rest -= len(numbers)
            if gone:
                file.executemany("delete from rows where turn = ?", [(turn,) for turn, _ in gone])
                self._sweep(file)
        return sum(int(np.count_nonzero(~is_absent(np.frombuffer(numbers)))) for _, numbers in gone)

    def _sweep(self, file: sqlite3.Connection) -> None:
        file.execute("delete from layouts where key not in (select layout from rows)")
        self._measure(file)

    def _measure(self, file: sqlite3.Connection) -> None:
        self._size = file.execute("select coalesce(sum(length(numbers)), 0) from rows").fetchone()[0]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                    self._connection.executescript(SCHEMA)
                    self._measure(self._connection)
                yield self._connection
            except sqlite3.OperationalError as error:
                self._let_go()
                raise StoreError(f"tsdb: {self._path.name}: {error}") from error
            except sqlite3.DatabaseError as error:
                self._let_go()
                with suppress(OSError):  # then it is tried again, and reported again
                    log_corruption("the backlog is damaged and was set aside", file=str(set_aside(self._path)))
                self._report(CorruptionError(f"tsdb: {self._path.name}: {error}"))
                raise StoreError(f"tsdb: {self._path.name}: {error}") from error

    def _let_go(self) -> None:
        if self._connection:
            with suppress(sqlite3.Error):  # it is in trouble already, and that is told
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
