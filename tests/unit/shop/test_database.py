"""The shop's database: its URL, and its failures."""

import asyncio
from contextlib import suppress

import pytest
from psycopg.errors import ConnectionTimeout
from pydantic import SecretStr

from toban.core.errors import SettingsError
from toban.shop import database
from toban.shop.database import ADVICE, BEGIN, PARAMETERS, DatabaseFailure, ShopDatabase, failure_reason


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://toban:hunter2@db.internal:5433/vendure?sslmode=require", "db.internal:5433/vendure"),
        ("postgres://toban:hunter2@db.internal/vendure", "db.internal:5432/vendure"),
        ("postgres://toban:hunter2@[fdaa::3]:5432/vendure", "[fdaa::3]:5432/vendure"),
        ("postgres://toban:p%40ss%2Fword@db/vendure", "db:5432/vendure"),
        ("postgres://toban@/vendure?host=/run/postgresql", "/run/postgresql:5432/vendure"),
        ("postgres://toban:hunter2@db", "db:5432/toban"),
    ],
)
def test_a_url_is_shown_without_user_and_password(address: str, shown: str) -> None:
    """
    The label `instance` and every message say where, never with what secret.
    """
    assert ShopDatabase(SecretStr(address)).address == shown


@pytest.mark.parametrize(
    "address",
    [
        "postgres://toban:hunter@2@db/vendure",
        "postgres://toban:hunter/2@db/vendure",
        "postgres://toban:12/hunter2@db/vendure",
        "postgres://toban:hunter%2@db/vendure",
        "postgres://toban:hunter2@db:port/vendure",
    ],
)
def test_an_unencoded_password_is_rejected_and_not_shown(address: str) -> None:
    """
    Libpq would take a piece of it for a host, a port or a database, and show it; the remedy is named instead.
    """
    with pytest.raises(SettingsError, match="percent-encoded") as error:
        ShopDatabase(SecretStr(address))
    assert "hunter" not in str(error.value)


def test_an_invalid_port_is_reported() -> None:
    """
    It need not be the password.
    """
    with pytest.raises(SettingsError, match=r"the port must be a number, and special characters .* % is %25"):
        ShopDatabase(SecretStr("postgresql://u:p@db:abc/shop"))


async def test_a_cancelled_statement_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The server is asked to cancel it: that takes some turns of the loop.
    """
    ended: list[str] = []

    async def executed() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(5):
                await asyncio.sleep(0)
            ended.append("in order")
            raise

    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(database, "CANCEL_INTERVAL", 60)
    with pytest.raises(ConnectionTimeout):
        await database.with_timeout(executed())
    assert ended == ["in order"]


async def test_a_statement_that_does_not_end_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Until it lets go.
    """
    cancelled: list[int] = []

    async def executed() -> None:
        while len(cancelled) < 3:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            cancelled.append(len(cancelled))

    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(database, "CANCEL_INTERVAL", 0.01)
    with pytest.raises(ConnectionTimeout):
        await database.with_timeout(executed())
    assert len(cancelled) == 3


def test_an_unknown_parameter_of_postgresql_is_named() -> None:
    """
    Addresses written for another library carry parameters of its own.
    """
    with pytest.raises(SettingsError, match="'schema'"):
        ShopDatabase(SecretStr("postgres://toban:hunter2@db/vendure?schema=public"))


@pytest.mark.parametrize(
    ("sqlstate", "words", "reason"),
    [
        ("53300", "", DatabaseFailure.TOO_MANY_CONNECTIONS),
        ("", "FATAL: sorry, too many clients already", DatabaseFailure.TOO_MANY_CONNECTIONS),
        (
            "",
            "FATAL: remaining connection slots are reserved for roles with SUPERUSER",
            DatabaseFailure.TOO_MANY_CONNECTIONS,
        ),
        ("", 'FATAL: too many connections for role "toban"', DatabaseFailure.TOO_MANY_CONNECTIONS),
        ("08P01", "FATAL: no more connections allowed (max_client_conn)", DatabaseFailure.TOO_MANY_CONNECTIONS),
        ("", 'FATAL: password authentication failed for user "toban"', DatabaseFailure.WRONG_PASSWORD),
        ("", "fe_sendauth: no password supplied", DatabaseFailure.WRONG_PASSWORD),
        ("", 'FATAL: database "shop" does not exist', DatabaseFailure.NO_DATABASE),
        ("", 'FATAL: role "toban" does not exist', DatabaseFailure.WRONG_PASSWORD),
        ("", "FATAL: the database system is starting up", DatabaseFailure.STARTING),
        ("57P01", "terminating connection due to administrator command", DatabaseFailure.STOPPING),
        ("", "FATAL: the database system is shutting down", DatabaseFailure.STOPPING),
        ("", "Connection refused Is the server running on that host", DatabaseFailure.UNREACHABLE),
        ("", "connection timeout expired", DatabaseFailure.TIMED_OUT),
        ("", "failed to resolve host 'db': Name or service not known", DatabaseFailure.UNREACHABLE),
        ("", "server closed the connection unexpectedly", DatabaseFailure.UNREACHABLE),
        ("42501", "permission denied for view pg_stat_wal", DatabaseFailure.NO_PRIVILEGE),
        ("57014", "canceling statement due to statement timeout", DatabaseFailure.TIMED_OUT),
        ("42703", "column does not exist", DatabaseFailure.OTHER),
        ("", "no words that we know", DatabaseFailure.OTHER),
    ],
)
def test_failures_are_classified(sqlstate: str, words: str, reason: DatabaseFailure) -> None:
    """
    By PostgreSQL's code where there is one, else by its words.
    """
    assert failure_reason(sqlstate, words) is reason


def test_each_failure_has_a_text() -> None:
    """
    No trouble goes without a sentence for people.
    """
    assert set(ADVICE) == set(DatabaseFailure)


def test_every_set_is_local_to_its_transaction() -> None:
    """
    Every SET is LOCAL, and no option hides in the startup message.
    """
    assert BEGIN.count("SET ") == BEGIN.count("SET LOCAL ") == 3
    assert PARAMETERS["options"] == ""
    assert PARAMETERS["application_name"] == ""
