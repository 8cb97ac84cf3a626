"""State in a SQLite file; tests/contracts has what both databases promise."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, select, text, update

from tests.fakes import FakeClock
from toban.core.actor import TOBAN
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.backends import SqliteBackend
from toban.state.database import State

COUNT = Table("count", MetaData(), Column("n", Integer, primary_key=True))


@pytest.fixture
async def state(tmp_path: Path):
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        yield state


def raise_count(connection: Connection) -> None:
    n = connection.execute(select(COUNT.c.n)).scalar_one()
    connection.execute(update(COUNT).values(n=n + 1))


def make_count(connection: Connection) -> None:
    COUNT.create(connection)
    connection.execute(insert(COUNT).values(n=0))


def read_count(connection: Connection) -> int:
    return connection.execute(select(COUNT.c.n)).scalar_one()


async def test_an_exception_rolls_the_transaction_back(state):
    """
    What was written before it is not there afterwards, and the exception arrives as it is.
    """
    await state.transaction(make_count)

    def half(connection: Connection) -> None:
        raise_count(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await state.transaction(half)
    assert await state.transaction(read_count) == 0
    assert state.health().ok


async def test_a_locked_file_is_reported_and_recovers(state, tmp_path):
    """
    While another program holds the file, transactions fail with the reason; then they work again.
    """
    await state.transaction(make_count)
    other = sqlite3.connect(tmp_path / "toban.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StateError, match=r"toban\.db: database is locked"):
        await state.transaction(raise_count)
    assert not state.health().ok
    other.rollback()
    other.close()

    await state.transaction(raise_count)
    assert state.health().ok


async def test_a_full_disk_is_reported_and_recovers(state):
    """
    What does not fit is not written at all; when there is room, it goes on.
    """
    await state.transaction(make_count)
    pages = await state.transaction(lambda connection: connection.execute(text("PRAGMA page_count")).scalar_one())
    await state.transaction(lambda connection: connection.execute(text(f"PRAGMA max_page_count={pages}")).all())

    def much(connection: Connection) -> None:
        raise_count(connection)
        audit_log.record(connection, AuditEntry(FakeClock().now(), TOBAN, "wrote", {"much": "x" * 100_000}))

    with pytest.raises(StateError, match="full"):
        await state.transaction(much)
    assert "full" in state.health().message
    await state.transaction(lambda connection: connection.execute(text("PRAGMA max_page_count=1000000")).all())

    await state.transaction(much)
    assert await state.transaction(read_count) == 1


async def test_a_deleted_file_is_restored_completely(state, tmp_path):
    """
    The connection still holds what was deleted: nothing is lost, and a new start finds it.
    """
    await state.transaction(make_count)
    await state.transaction(raise_count)
    (tmp_path / "toban.db").unlink()

    await state.transaction(raise_count)
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as other:
        assert await other.transaction(read_count) == 2


async def test_restoring_a_deleted_file_is_retried(state, tmp_path):
    """
    While there is no way to write it, that is said; as soon as there is, everything is back.
    """
    await state.transaction(make_count)
    await state.transaction(raise_count)
    (tmp_path / "toban.db").unlink()
    in_the_way = tmp_path / "toban.saving"
    in_the_way.mkdir()
    for _ in range(2):
        with pytest.raises(StateError, match="deleted, and can't be restored"):
            await state.transaction(read_count)
    in_the_way.rmdir()

    assert await state.transaction(read_count) == 1
    assert state.health().ok


async def test_a_corrupt_file_is_renamed_and_reported(tmp_path):
    """
    Toban begins anew beside it; the broken file is kept.
    """
    (tmp_path / "toban.db").write_bytes(b"not a database at all" * 1000)
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        await state.transaction(make_count)

    assert (tmp_path / "toban.broken1").read_bytes().startswith(b"not a database")


async def test_a_missing_folder_is_an_error_of_each_transaction(tmp_path):
    """
    State that can't be opened raises at each transaction until it can.
    """
    async with State(SqliteBackend(tmp_path / "later" / "toban.db"), FakeClock(), MetricRegistry()) as state:
        with pytest.raises(StateError, match="unable to open"):
            await state.transaction(make_count)
        (tmp_path / "later").mkdir()
        await state.transaction(make_count)


async def test_a_schema_two_versions_ahead_is_rejected(state, tmp_path):
    """
    State written by a toban two steps ahead is left alone, with the remedy in the message.
    """
    await state.transaction(lambda connection: connection.execute(text("UPDATE toban_schema SET version_num='0099'")))
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as other:
        with pytest.raises(StateError, match="newer toban"):
            await other.transaction(read_count)
