"""The shop's database against a real PostgreSQL."""

import asyncio
import os
import signal
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from toban.shop.database import DatabaseError, DatabaseFailure, ShopDatabase


@pytest.fixture(scope="module")
def server(postgres: servers.Postgres) -> Iterator[servers.Postgres]:
    """A server with a table to write into."""
    postgres.execute("CREATE DATABASE lending")
    postgres.execute("CREATE TABLE goods (id int)", database="lending")
    return postgres


@pytest.fixture
def address(server: servers.Postgres) -> SecretStr:
    return SecretStr(server.address("lending"))


def sessions(server: servers.Postgres) -> int:
    with psycopg.connect(server.address()) as other:
        row = other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'lending' AND application_name = 'toban'"
        ).fetchone()
    assert row
    return int(row[0])


async def pid(database: ShopDatabase) -> int:
    async with database.transaction() as cursor:
        await cursor.execute("SELECT pg_backend_pid()")
        row = await cursor.fetchone()
    assert row
    return int(row[0])


async def test_two_connections_are_shared(server: servers.Postgres, address: SecretStr) -> None:
    """
    Ten that want to look at once take turns over two connections, and all of them get one.
    """
    together, most = 0, 0

    async def borrow(database: ShopDatabase) -> None:
        nonlocal together, most
        async with database.transaction() as cursor:
            together += 1
            most = max(most, together, sessions(server))
            await cursor.execute("SELECT 1")
            together -= 1

    async with ShopDatabase(address) as database:
        await asyncio.gather(*(borrow(database) for _ in range(10)))
        assert most == 2
        assert sessions(server) == 2


async def test_transactions_are_read_only_and_limited(address: SecretStr) -> None:
    """
    A look can't write, its statements and locks are limited, and none of it stays on the connection, which is used
    again.
    """
    async with ShopDatabase(address) as database:
        with pytest.raises(DatabaseError, match="read-only") as refused:
            async with database.transaction() as cursor:
                await cursor.execute("INSERT INTO goods VALUES (1)")
        assert not refused.value.connection_lost
        async with database.transaction() as cursor:
            await cursor.execute(
                "SELECT pg_backend_pid(), current_setting('statement_timeout'), current_setting('lock_timeout')"
            )
            first = await cursor.fetchone()
            await cursor.execute("SELECT count(*) FROM goods")
            assert await cursor.fetchone() == (0,)
        assert first is not None
        assert first[1:] == ("5s", "1s")
        assert await pid(database) == first[0]


async def test_a_cancelled_transaction_closes_its_connection(server: servers.Postgres, address: SecretStr) -> None:
    """
    Cancelled in the middle of a statement, it leaves no session behind and the next look gets a fresh one.
    """
    async with ShopDatabase(address, connections=1) as database:
        before = await pid(database)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.transaction() as cursor:
                await cursor.execute("SELECT pg_sleep(60)")
        assert await pid(database) != before
        assert sessions(server) == 1


async def test_a_closed_session_is_replaced(server: servers.Postgres, address: SecretStr) -> None:
    """
    An idle connection that the server has closed costs no look; one that is closed in the middle of one costs that one.
    """
    async with ShopDatabase(address, connections=1) as database:
        before = await pid(database)
        server.execute(f"SELECT pg_terminate_backend({before}, 5000)")
        after = await pid(database)
        assert after != before
        with pytest.raises(DatabaseError) as cut:
            async with database.transaction() as cursor:
                server.execute(f"SELECT pg_terminate_backend({after}, 5000)")
                await cursor.execute("SELECT 1")
        assert cut.value.connection_lost
        assert cut.value.reason in {DatabaseFailure.STOPPING, DatabaseFailure.UNREACHABLE}
        assert await pid(database) not in {before, after}


@pytest.mark.soak
async def test_a_transaction_of_a_hanging_server_times_out() -> None:
    """
    A server that neither answers nor hangs up: whoever looks gets away, and looks again when it goes on.
    """
    with servers.postgres() as server:
        async with ShopDatabase(SecretStr(server.address())) as database:
            hanging = await pid(database)
            for process in (server.process.pid, hanging):
                os.kill(process, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await pid(database)
            for process in (server.process.pid, hanging):
                os.kill(process, signal.SIGCONT)
            assert await pid(database) != hanging
