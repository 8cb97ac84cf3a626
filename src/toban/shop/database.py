"""Read-only access to the shop's PostgreSQL."""

import asyncio
import difflib
import logging
import os
import re
import select
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Error, OperationalError, ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import ConnectionTimeout
from psycopg.pq import Conninfo, PGconn, PollingStatus, TransactionStatus
from psycopg.rows import TupleRow, tuple_row
from pydantic import SecretStr

from toban.core.errors import CollectError, SettingsError
from toban.core.http_client import timeout_reason

T = TypeVar("T")

# It warns of each cancelled statement, which whoever cancelled it reports.
logging.getLogger("psycopg").setLevel(logging.ERROR)

CONNECTIONS: Final = 2
"""Connections of all of toban."""

POLL_EVENTS: Final = {PollingStatus.READING: select.POLLIN, PollingStatus.WRITING: select.POLLOUT}
"""The events that libpq waits for while it connects."""

CONNECT_TIMEOUT: Final = 5
"""Seconds to connect, and to begin a transaction: a server that takes longer hangs."""

CANCEL_INTERVAL: Final = 0.1
"""Seconds until a statement that was cancelled and has not ended is cancelled again."""

KNOWN_AFTER: Final = 7.0
"""Seconds after which it is known why a server doesn't respond: the smallest timeout of a collection."""

# One message to the server. Nothing is set on the session: behind PgBouncer it would stay on a connection that the
# shop gets next.
BEGIN: Final = (
    "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s';"
    " SET LOCAL application_name = 'toban'"
)

# A direct session has toban's name also while it is idle. One behind a pooler, where the backend process is not the one
# that the pooler reported, must not: PgBouncer leaves the name on a connection that the shop gets next.
NAME: Final = "SELECT set_config('application_name', 'toban', false) WHERE pg_backend_pid() = %d"

# These override the address and the environment (PGOPTIONS, PGAPPNAME): at the start of a session they are a SET in
# disguise, and PgBouncer rejects options.
PARAMETERS: Final = {"connect_timeout": str(CONNECT_TIMEOUT), "application_name": "", "options": ""}

ENCODE: Final = "special characters in the password must be percent-encoded (@ is %40, / is %2F, % is %25)"


class DatabaseFailure(StrEnum):
    """Why the shop's database could not be read."""

    TOO_MANY_CONNECTIONS = "too_many_connections"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # the name of a failure, not a password
    NO_DATABASE = "no_database"
    STARTING = "starting"
    STOPPING = "stopping"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    NO_PRIVILEGE = "no_privilege"
    OTHER = "other"


class DatabaseError(CollectError):
    """
    The shop's database could not be read, and why.

    ``sqlstate`` is PostgreSQL's code, empty where there is none. ``connection_lost`` tells that there is no connection
    (any more): otherwise a single statement failed, and the next one may succeed.
    """

    def __init__(self, message: str, reason: DatabaseFailure, sqlstate: str = "", *, connection_lost: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.sqlstate = sqlstate
        self.connection_lost = connection_lost


BY_STATE: Final = {
    "53300": DatabaseFailure.TOO_MANY_CONNECTIONS,
    "28P01": DatabaseFailure.WRONG_PASSWORD,
    "28000": DatabaseFailure.WRONG_PASSWORD,
    "3D000": DatabaseFailure.NO_DATABASE,
    "57P03": DatabaseFailure.STARTING,
    "57P01": DatabaseFailure.STOPPING,
    "57P02": DatabaseFailure.STOPPING,
    "57014": DatabaseFailure.TIMED_OUT,
    "55P03": DatabaseFailure.TIMED_OUT,
    "42501": DatabaseFailure.NO_PRIVILEGE,
}

# While it connects, libpq does not return the code: there, the message decides (PostgreSQL's and PgBouncer's). For a
# server with messages in another language the code is read separately (`sqlstate_of`).
BY_MESSAGE: Final = (
    (
        r"too many (clients|connections)|remaining connection slots|no more connections allowed|query_wait_timeout",
        DatabaseFailure.TOO_MANY_CONNECTIONS,
    ),
    (
        r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist|no such user"
        r"|not permitted to log in",
        DatabaseFailure.WRONG_PASSWORD,
    ),
    (r"database .* does not exist|no such database|not currently accepting connections", DatabaseFailure.NO_DATABASE),
    (r"starting up|not yet accepting connections|in recovery mode", DatabaseFailure.STARTING),
    (r"shutting down|terminating connection", DatabaseFailure.STOPPING),
    (r"permission denied", DatabaseFailure.NO_PRIVILEGE),
    (r"timeout expired|timed out", DatabaseFailure.TIMED_OUT),
    (
        r"[Cc]onnection refused|could not translate|[Nn]ame or service|failed to resolve"
        r"|No such file|unreachable|[Nn]o route|server closed the connection|closed unexpectedly"
        r"|connection is closed|[Cc]onnection reset|connection is lost|consuming input failed|server_login_retry",
        DatabaseFailure.UNREACHABLE,
    ),
)

ADVICE: Final = {
    DatabaseFailure.TOO_MANY_CONNECTIONS: "the server has no free connection",
    DatabaseFailure.WRONG_PASSWORD: "it rejects this role: see shop.database",
    DatabaseFailure.NO_DATABASE: "there is no such database: see shop.database",
    DatabaseFailure.STARTING: "it is starting up",
    DatabaseFailure.STOPPING: "it is shutting down",
    DatabaseFailure.UNREACHABLE: "it can't be reached",
    DatabaseFailure.TIMED_OUT: "it took too long",
    DatabaseFailure.NO_PRIVILEGE: "this role lacks the permission",
    DatabaseFailure.OTHER: "it failed",
}


def failure_reason(sqlstate: str, message: str) -> DatabaseFailure:
    """Return the reason by PostgreSQL's code, and by its message where there is none."""
    known = BY_STATE.get(sqlstate) if sqlstate else None
    return known or next(
        (reason for pattern, reason in BY_MESSAGE if re.search(pattern, message)), DatabaseFailure.OTHER
    )


class ShopDatabase:
    """
    Runs read-only transactions, on at most two connections for all of toban.

    A connection is opened when it is needed, and used again: one that broke, or whose transaction was cancelled, is
    closed. Raises ``SettingsError`` when the address is invalid; no message contains its password.
    """

    def __init__(self, address: SecretStr, connections: int = CONNECTIONS) -> None:
        self._parameters = _parameters(address.get_secret_value())
        self.address = _public_address(self._parameters)
        """Host, port and database, without secrets."""
        self._free = asyncio.Semaphore(connections)
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._last_code = "", ""
        """The message of the last rejection without a known reason, and its code."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncCursor[TupleRow]]:
        """
        Return a cursor in a read-only transaction of its own, in which a statement takes at most 5 s and waits at most
        1 s for a lock; wait until a connection is free.

        Raises ``DatabaseError``, also for database errors inside the block.
        """
        async with self._free:
            connection = None
            try:
                connection, cursor = await self._begin()
                yield cursor
                await cursor.execute("COMMIT")
            except Error as error:
                failure = await self._failure(
                    error, connection_lost=connection is None or connection.broken or connection.closed
                )
                if not failure.connection_lost and connection is not None:
                    await self._roll_back(connection)
                raise failure from error
            finally:
                if connection is not None:
                    await self._release(connection)

    async def _begin(self) -> tuple[AsyncConnection[TupleRow], AsyncCursor[TupleRow]]:
        """Return a connection with an open transaction; one that the server has closed meanwhile is replaced."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return connection, await with_timeout(connection.execute(BEGIN))
            except ConnectionTimeout:
                await connection.close()
                raise
            except OperationalError:
                # The server was restarted, or the pooler closed it: only a new connection shows the server's state.
                await connection.close()
            except BaseException:
                await connection.close()
                raise
        # Without prepared statements: behind PgBouncer the next one might run on another server connection.
        connection = await AsyncConnection.connect(
            autocommit=True,
            prepare_threshold=None,
            row_factory=tuple_row,
            **self._parameters,
        )
        try:
            await with_timeout(connection.execute(NAME % connection.info.backend_pid))
            return connection, await with_timeout(connection.execute(BEGIN))
        except BaseException:
            await connection.close()
            raise

    async def _roll_back(self, connection: AsyncConnection[TupleRow]) -> None:
        """Roll back; where even that fails, close the connection."""
        try:
            await connection.execute("ROLLBACK")
        except Error:
            await connection.close()

    async def _release(self, connection: AsyncConnection[TupleRow]) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _failure(self, error: Error, *, connection_lost: bool) -> DatabaseError:
        if isinstance(error, ConnectionTimeout):
            cause = await self._describe_silence()
            return DatabaseError(
                f"database {self.address}: {cause}", DatabaseFailure.TIMED_OUT, connection_lost=connection_lost
            )
        sqlstate = error.sqlstate or ""
        message = " ".join(str(error).split())
        reason = failure_reason(sqlstate, message)
        if reason is DatabaseFailure.OTHER and not sqlstate and connection_lost:
            if message != self._last_code[0]:
                self._last_code = message, await asyncio.to_thread(sqlstate_of, make_conninfo(**self._parameters))
            sqlstate = self._last_code[1]
            reason = failure_reason(sqlstate, message)
        code = f" ({sqlstate})" if sqlstate else ""
        return DatabaseError(
            f"database {self.address}: {ADVICE[reason]}: {message}{code}",
            reason,
            sqlstate,
            connection_lost=connection_lost,
        )

    async def _describe_silence(self) -> str:
        parameters = self._parameters
        host, port = (
            str(parameters.get(name) or default).split(",")[0] for name, default in (("host", ""), ("port", "5432"))
        )
        if host and not host.startswith("/"):
            return await timeout_reason(parameters.get("hostaddr") or host, int(port))
        return await timeout_reason(f"{host or '/var/run/postgresql'}/.s.PGSQL.{port}", 0)


async def with_timeout(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine. Raises ``ConnectionTimeout`` when the server takes too long."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=CONNECT_TIMEOUT)
        if done:
            return task.result()
    finally:
        # Cancelled once, psycopg waits for the server to cancel the statement; cancelled again, it stops waiting.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_INTERVAL)
    await asyncio.gather(task, return_exceptions=True)
    raise ConnectionTimeout("no response")


def sqlstate_of(address: str) -> str:
    """
    Return PostgreSQL's code for a session that it rejects, empty where it has none. Blocks, for some seconds.

    libpq receives the code and returns only the message, in the server's language. Its trace of the connection has the
    code, and what toban sends too (proofs of its password): it is written to memory and discarded.
    """
    if not hasattr(os, "memfd_create"):
        return ""  # libpq traces on Linux alone
    with open(os.memfd_create("trace"), "w+b") as trace:  # noqa: PTH123  # it has no path
        connection = PGconn.connect_start(address.encode())
        connection.trace(trace.fileno())
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while (status := connection.connect_poll()) in POLL_EVENTS and time.monotonic() < deadline:
            poll = select.poll()
            poll.register(connection.socket, POLL_EVENTS[PollingStatus(status)])
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        connection.untrace()
        connection.finish()
        trace.seek(0)
        codes = re.findall(rb'\tErrorResponse\t S "[^"]*"(?: V "[^"]*")? C "(\w{5})"', trace.read())
    return codes[-1].decode() if codes else ""


def _parameters(address: str) -> dict[str, Any]:
    try:
        parameters = conninfo_to_dict(address)
    except ProgrammingError as error:
        # libpq's message may repeat a part of the password; the name of an unknown parameter is safe.
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        remedy = f"unknown parameter {_suggestion(unknown[1])}: remove it" if unknown else ENCODE
        raise SettingsError(f"shop.database is invalid: {remedy}") from None
    return {**parameters, **PARAMETERS}


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, [it.keyword.decode() for it in Conninfo.get_defaults()], 1)
    return f"{name!r}{f' (did you mean {near[0]}?)' if near else ''}"


def _public_address(parameters: dict[str, Any]) -> str:
    host, port = parameters.get("host") or "localhost", parameters.get("port") or "5432"
    name = parameters.get("dbname") or parameters.get("user") or "postgres"
    # An unencoded character makes a part of the password look like a host, a port or a database.
    if not re.fullmatch(r"[\w.:/,%-]+", host) or "@" in name:
        raise SettingsError(f"shop.database is invalid: {ENCODE}")
    if not re.fullmatch(r"[\d,]+", port):
        raise SettingsError(f"shop.database is invalid: the port must be a number, and {ENCODE}")
    return f"{f'[{host}]' if ':' in host else host}:{port}/{name}"
