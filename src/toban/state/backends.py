"""The backends of state: a SQLite file, or a PostgreSQL database."""

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import SecretStr
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from toban.core.errors import StateError
from toban.state.schema_version import upgrade_schema

log = structlog.get_logger("toban.state")

LOCK_TIMEOUT: Final = 2.0
"""Seconds to wait for another process that has locked the file."""


class StateBackend(ABC):
    """
    A database for state. It is opened at the first transaction, and again after an error; one thread uses it.

    ``is_exclusive`` is whether no other instance of toban can use it.
    """

    is_exclusive = False

    def __init__(self, url: URL) -> None:
        self._url = url
        self._is_open = False

    @property
    @abstractmethod
    def address(self) -> str:
        """Its name, without secrets."""

    @abstractmethod
    def is_conflict(self, error: OperationalError) -> bool:
        """Return whether a transaction failed because of a concurrent one of another instance."""

    @abstractmethod
    def _create_engine(self) -> Engine:
        """Return an engine that connects later."""

    @abstractmethod
    def _open(self) -> None:
        """Prepare what a first connection needs."""

    @abstractmethod
    def _check(self) -> None:
        """Check that the open database still exists."""

    # One for all connections: it holds the compiled statements.
    @cached_property
    def _engine(self) -> Engine:
        return self._create_engine()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: the end of the block commits, an exception rolls back."""
        self._check()
        if not self._is_open:
            try:
                self._open()
                upgrade_schema(self._engine)
            except BaseException:
                self._engine.dispose()
                raise
            self._is_open = True
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        if self._is_open:
            self._engine.dispose()
            self._is_open = False

    def reset(self) -> None:
        """Close a connection after an error: it may not recover. SQLite's would stay read-only."""
        self.close()


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite does not wait for another process that does the same, so this retries."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


class SqliteBackend(StateBackend):
    """
    State in one file, in a data folder that one process has locked.

    A file that is deleted while toban runs is restored from the open connection; one that is replaced is opened; a
    corrupt one is renamed, never deleted.
    """

    is_exclusive = True

    def __init__(self, path: Path) -> None:
        super().__init__(URL.create("sqlite", database=str(path)))
        self._path = path
        self._inode: int | None = None

    @property
    def address(self) -> str:
        """The file's name."""
        return self._path.name

    def is_conflict(self, error: OperationalError) -> bool:
        """Return False: BEGIN IMMEDIATE waits for other transactions."""
        return False

    def _create_engine(self) -> Engine:
        # One connection stays open: there is one thread, and a deleted file can be restored from it.
        engine = create_engine(
            self._url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": LOCK_TIMEOUT}
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, record: object) -> None:
            connection.isolation_level = None
            # A text with a flipped bit makes its own row unreadable (`quarantine`), not each query that reads it.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            _enable_wal(connection)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # Without IMMEDIATE, two transactions that read and then write lose one of the writes or fail.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def _open(self) -> None:
        self._move_if_corrupt()
        with self._engine.connect():
            self._inode = self._path.stat().st_ino

    def _check(self) -> None:
        # SQLite would allow transactions that only read: state would alternate between available and not.
        if self._path.exists() and not os.access(self._path, os.W_OK):
            raise StateError("attempt to write a readonly database")
        if not self._is_open:
            return
        if self._is_deleted():
            self._save()
        elif self._path.stat().st_ino != self._inode:
            log.warning("state file replaced, opening it", path=str(self._path))
            self.close()

    def reset(self) -> None:
        """Close the connection, but not that of a deleted file: nothing else has its content."""
        if not self._is_deleted():
            self.close()

    def _is_deleted(self) -> bool:
        """Return whether the file is deleted; another SQLite client may have created an empty one since."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return True
        return found.st_ino != self._inode and found.st_size == 0

    def _save(self) -> None:
        """Restore a deleted file from the open connection; a failed attempt can be repeated."""
        restored = self._path.with_suffix(".saving")
        try:
            restored.unlink(missing_ok=True)
            with closing(sqlite3.connect(restored)) as target, self._raw() as source:
                source.backup(target)
            restored.replace(self._path)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"deleted, and can't be restored: {error}") from error
        log.warning("state file deleted, restored from the open connection", path=str(self._path))
        self.close()
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)

    @contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        with closing(self._engine.raw_connection()) as proxy:
            connection: Any = proxy.driver_connection
            yield connection

    def _move_if_corrupt(self) -> None:
        if not self._path.exists():
            return
        try:
            with closing(sqlite3.connect(self._path, timeout=2.0)) as connection:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError:
            return  # locked or unreadable, not corrupt: the transaction raises the error
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            renamed = next(
                path for number in range(1, 1000) if not (path := self._path.with_suffix(f".broken{number}")).exists()
            )
            log.error("state file corrupt, renamed and created anew", found=found, renamed=str(renamed))
            self._path.rename(renamed)


class PostgresBackend(StateBackend):
    """State in a PostgreSQL database, shared by several instances of toban."""

    def __init__(self, url: str) -> None:
        super().__init__(make_url(url).set(drivername="postgresql+psycopg"))

    @property
    def address(self) -> str:
        """Host and database."""
        return f"{self._url.host or 'local'}/{self._url.database}"

    def is_conflict(self, error: OperationalError) -> bool:
        """Return whether it is a serialization failure or a deadlock: a retry sees the other transaction."""
        return getattr(error.orig, "sqlstate", None) in {"40001", "40P01"}

    def _check(self) -> None:
        """Do nothing: the pool checks a connection before it is used."""

    def _open(self) -> None:
        """Do nothing: the pool connects."""

    def _create_engine(self) -> Engine:
        return create_engine(
            self._url,
            isolation_level="SERIALIZABLE",
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "application_name": "toban", "prepare_threshold": None},
        )


def open_backend(url: SecretStr | None, folder: Path) -> StateBackend:
    """Return the backend of a PostgreSQL URL, or of the SQLite file in the data folder; it connects later."""
    return PostgresBackend(url.get_secret_value()) if url else SqliteBackend(folder / "toban.db")
