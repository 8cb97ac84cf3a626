"""Transactions with state, on SQLite and on PostgreSQL alike."""

import asyncio
import importlib
import pkgutil

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, select, text, update

import toban
from tests import servers
from tests.fakes import FakeClock
from toban.core.actor import TOBAN
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.backends import PostgresBackend
from toban.state.column_types import metadata
from toban.state.database import State
from toban.state.schema_version import VERSION_TABLE, latest_version

COUNT = Table("count", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))


def make_count(connection: Connection) -> None:
    COUNT.create(connection)
    connection.execute(insert(COUNT).values(id=1, n=0))


def raise_count(connection: Connection) -> None:
    n = connection.execute(select(COUNT.c.n)).scalar_one()
    connection.execute(update(COUNT).values(n=n + 1))


def read_count(connection: Connection) -> int:
    return connection.execute(select(COUNT.c.n)).scalar_one()


async def test_concurrent_read_modify_write_transactions_lose_nothing(state):
    """
    A hundred tasks that read and then write leave a hundred.
    """
    await state.transaction(make_count)
    await asyncio.gather(*(state.transaction(raise_count) for _ in range(100)))

    assert await state.transaction(read_count) == 100


async def test_two_instances_lose_nothing(state, opening):
    """
    Each sees what the other did, or is made to look again; what can't be done in five attempts is said.
    """
    await state.transaction(make_count)

    async def until_done(door):
        while True:
            try:
                return await door.transaction(raise_count)
            except StateError:
                continue

    async with State(opening(), FakeClock(), MetricRegistry()) as other:
        await asyncio.gather(*(until_done(door) for _ in range(30) for door in (state, other)))

    assert await state.transaction(read_count) == 60


@pytest.mark.parametrize("opening", ["postgresql"], indirect=True)
async def test_two_instances_may_start_at_once(opening):
    """
    One migrates, the other waits for it.
    """

    def version(connection: Connection) -> str:
        return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()

    async with (
        State(opening(), FakeClock(), MetricRegistry()) as one,
        State(opening(), FakeClock(), MetricRegistry()) as other,
    ):
        assert await asyncio.gather(one.transaction(version), other.transaction(version)) == [latest_version()] * 2


async def test_migrations_create_the_tables_of_the_repositories(state):
    """
    Nothing more, nothing less, nothing else. Every package may have a book, so every module is looked into.
    """
    for module in pkgutil.walk_packages(toban.__path__, "toban."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(
            MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True}),
            metadata,
        )

    assert await state.transaction(differences) == []


async def test_a_killed_server_is_reported_and_reconnected():
    """
    `kill -9` under toban's hands: the next transaction fails with the reason, one after the restart works.
    """
    with servers.postgres() as server:
        async with State(PostgresBackend(server.address("postgres")), FakeClock(), MetricRegistry()) as state:
            now = FakeClock().now()
            await state.transaction(lambda connection: audit_log.record(connection, AuditEntry(now, TOBAN, "started")))
            server.kill()
            with pytest.raises(StateError, match=r"127\.0\.0\.1/postgres: "):
                await state.transaction(audit_log.recent)
            assert not state.health().ok
            server.start()
            # PostgreSQL accepts connections a little before it answers, after a crash.
            while not state.health().ok:
                try:
                    found = await state.transaction(audit_log.recent)
                except StateError:
                    continue
            assert [entry.actor for entry in found] == [TOBAN]
