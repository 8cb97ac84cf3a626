"""Where state lies: a SQLite file, or a PostgreSQL database."""

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
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

PATIENCE: Final = 2.0
"""Seconds that one copy of toban waits for another to be done with a file."""


class StateBackend(ABC):
    """
    A place for state. It is opened at its first transaction, and again after trouble; used by one thread.

    ``alone`` says that no other copy of toban can work with it.
    """

    alone = False

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine: Engine | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is, without secrets."""

    @abstractmethod
    def is_conflict(self, error: OperationalError) -> bool:
        """Tell whether a transaction failed only because another copy of toban got in between."""

    @abstractmethod
    def _open(self) -> Engine:
        """Return an engine. Nothing needs to be connected yet."""

    @abstractmethod
    def _check(self) -> None:
        """Look whether what was opened is still there."""

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Lend a connection in a transaction; leaving the block commits, an exception rolls back."""
        self._check()
        if self._engine is None:
            engine = self._open()
            try:
                upgrade_schema(engine)
            except BaseException:
                engine.dispose()
                raise
            self._engine = engine
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        if self._engine:
            self._engine.dispose()
            self._engine = None

    def reset(self) -> None:
        """Let go of a connection that met trouble: it may never see the end. SQLite's stays read-only for good."""
        self.close()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait for another copy that is just doing the same: we do."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


class SqliteBackend(StateBackend):
    """
    State in one file, in a data folder that one toban holds.

    A file that is deleted while toban runs is written anew from what is still open; one that is exchanged is opened;
    one that is broken is set aside, never deleted.
    """

    alone = True

    def __init__(self, path: Path) -> None:
        super().__init__(URL.create("sqlite", database=str(path)))
        self._path = path
        self._inode: int | None = None

    @property
    def address(self) -> str:
        """The file's name."""
        return self._path.name

    def is_conflict(self, error: OperationalError) -> bool:
        """Never: BEGIN IMMEDIATE waits for its turn."""
        return False

    def _open(self) -> Engine:
        self._set_aside_if_broken()
        # One connection, kept open: the thread is one, and a deleted file can be saved through it.
        engine = create_engine(
            self._url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": PATIENCE}
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, record: object) -> None:
            connection.isolation_level = None
            # A text with a flipped bit costs its own row (`quarantine`), not every query that meets it.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # Without IMMEDIATE, two that read and then write lose one of the writes or fail half-way.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        with engine.connect():
            self._inode = self._path.stat().st_ino
        return engine

    def _check(self) -> None:
        # SQLite would let a transaction begin that only reads: then the trouble would come and go.
        if self._path.exists() and not os.access(self._path, os.W_OK):
            raise StateError("attempt to write a readonly database")
        if self._engine is None:
            return
        if self._is_deleted():
            self._save()
        elif self._path.stat().st_ino != self._inode:
            log.warning("the file was exchanged", path=str(self._path))
            self.close()

    def reset(self) -> None:
        """Let go as usual, but never of a deleted file's connection: nothing else holds what was in it."""
        if not self._is_deleted():
            self.close()

    def _is_deleted(self) -> bool:
        """Tell whether the file is gone; an empty one is what SQLite makes for somebody who looks for it."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return there.st_ino != self._inode and there.st_size == 0

    def _save(self) -> None:
        """Write a deleted file anew from the connection that holds it; where that fails, it can be tried again."""
        fresh = self._path.with_suffix(".saving")
        try:
            fresh.unlink(missing_ok=True)
            with closing(sqlite3.connect(fresh)) as target, self._raw() as source:
                source.backup(target)
            fresh.replace(self._path)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"deleted, and can't be written anew: {error}") from error
        log.warning("the file was deleted: it was written anew from memory", path=str(self._path))
        self.close()
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)

    @contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        if self._engine is None:
            raise StateError("it is not open")
        with closing(self._engine.raw_connection()) as proxy:
            connection: Any = proxy.driver_connection
            yield connection

    def _set_aside_if_broken(self) -> None:
        if not self._path.exists():
            return
        try:
            with closing(sqlite3.connect(self._path, timeout=2.0)) as connection:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError:
            return  # locked or unreadable, not broken: the transaction will say so
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            aside = next(
                path for number in range(1, 1000) if not (path := self._path.with_suffix(f".broken{number}")).exists()
            )
            log.error("the file is broken: set aside, beginning anew", found=found, kept_as=str(aside))
            self._path.rename(aside)


class PostgresBackend(StateBackend):
    """State in a PostgreSQL database, shared by several copies of toban."""

    def __init__(self, url: str) -> None:
        super().__init__(make_url(url).set(drivername="postgresql+psycopg"))

    @property
    def address(self) -> str:
        """Host and database."""
        return f"{self._url.host or 'local'}/{self._url.database}"

    def is_conflict(self, error: OperationalError) -> bool:
        """Serialization failures and deadlocks: the next attempt sees what the other did."""
        return getattr(error.orig, "sqlstate", None) in {"40001", "40P01"}

    def _check(self) -> None:
        """Leave it to the pool, which asks a connection whether it is alive before it lends it."""

    def _open(self) -> Engine:
        return create_engine(
            self._url,
            isolation_level="SERIALIZABLE",
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "application_name": "toban", "prepare_threshold": None},
        )


def open_backend(address: SecretStr | None, folder: Path) -> StateBackend:
    """Return the PostgreSQL database at an address, or the SQLite file in the data folder. Nothing is connected yet."""
    return PostgresBackend(address.get_secret_value()) if address else SqliteBackend(folder / "toban.db")
