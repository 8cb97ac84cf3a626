"""The shop's PostgreSQL, lent for looking."""

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
from toban.core.http_client import describe_silence

T = TypeVar("T")

# It warns of each statement that is given up; whoever gave it up says so.
logging.getLogger("psycopg").setLevel(logging.ERROR)

CONNECTIONS: Final = 2
"""How many connections all of toban looks through."""

WAITS: Final = {PollingStatus.READING: select.POLLIN, PollingStatus.WRITING: select.POLLOUT}
"""What libpq waits for while it connects."""

PROMPT: Final = 5
"""Seconds that a server has to let in, and to begin a transaction: one that takes longer hangs."""

LET_GO: Final = 0.1
"""Seconds that a statement which is cancelled gets to end, before it is cancelled again."""

KNOWN_AFTER: Final = 7.0
"""Seconds after which it is known why a server doesn't answer; nobody gives up earlier."""

# One message to the server. Nothing is set on the session: behind PgBouncer it would stick to a connection that the
# shop gets next.
BEGIN: Final = (
    "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s';"
    " SET LOCAL application_name = 'toban'"
)

# A session of toban's own says so also when it is idle. One behind a pooler, where the process that the pooler tells
# of is not the server's, must not: PgBouncer leaves the name on a connection that the shop gets next.
NAME: Final = "SELECT set_config('application_name', 'toban', false) WHERE pg_backend_pid() = %d"

# What the address or the environment (PGOPTIONS, PGAPPNAME) says of these is left aside: at the start of a session
# they are a SET in disguise, and PgBouncer refuses options.
PARAMETERS: Final = {"connect_timeout": str(PROMPT), "application_name": "", "options": ""}

ENCODE: Final = "special characters in the password must be percent-encoded (@ is %40, / is %2F, % is %25)"


class DatabaseFailure(StrEnum):
    """Why the shop's database could not be looked at."""

    TOO_MANY_CONNECTIONS = "too_many_connections"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # the name of a trouble, not a password
    NO_DATABASE = "no_database"
    STARTING = "starting"
    STOPPING = "stopping"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    NO_PRIVILEGE = "no_privilege"
    OTHER = "other"


class DatabaseError(CollectError):
    """
    The shop's database could not be looked at, and why.

    ``sqlstate`` is PostgreSQL's code, or nothing where it gave none. ``lost`` tells that there is no connection
    (any more): otherwise a single statement failed, and the next look may well succeed.
    """

    def __init__(self, message: str, reason: DatabaseFailure, sqlstate: str = "", *, lost: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.sqlstate = sqlstate
        self.lost = lost


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

# While it connects, libpq keeps the code to itself: there, the words tell first (PostgreSQL's and PgBouncer's). Of a
# server that speaks another language the code is asked for (`sqlstate_of`).
BY_WORDS: Final = (
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
    DatabaseFailure.TOO_MANY_CONNECTIONS: "the server is full",
    DatabaseFailure.WRONG_PASSWORD: "it does not let this role in: see shop.database",
    DatabaseFailure.NO_DATABASE: "there is no such database: see shop.database",
    DatabaseFailure.STARTING: "it is starting up",
    DatabaseFailure.STOPPING: "it is shutting down",
    DatabaseFailure.UNREACHABLE: "it can't be reached",
    DatabaseFailure.TIMED_OUT: "it took too long",
    DatabaseFailure.NO_PRIVILEGE: "this role may not",
    DatabaseFailure.OTHER: "it failed",
}


def reason_of(sqlstate: str, words: str) -> DatabaseFailure:
    """Tell why from PostgreSQL's code, and from its words where there is none."""
    known = BY_STATE.get(sqlstate) if sqlstate else None
    return known or next((reason for pattern, reason in BY_WORDS if re.search(pattern, words)), DatabaseFailure.OTHER)


class ShopDatabase:
    """
    Lends the shop's database for looking, through at most two connections for all of toban.

    A connection is made when somebody looks, and used again while it is sound: one that broke, or whose look was
    cut off, is thrown away. Raises ``SettingsError`` when the address can't be read; no message shows its password.
    """

    def __init__(self, address: SecretStr, connections: int = CONNECTIONS) -> None:
        self._parameters = _parameters(address.get_secret_value())
        self.address = _shown(self._parameters)
        """Host, port and database, without anything secret."""
        self._free = asyncio.Semaphore(connections)
        self._idle: list[AsyncConnection[TupleRow]] = []
        self._code = "", ""
        """The words of the last refusal that told nothing, and the code that goes with them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[AsyncCursor[TupleRow]]:
        """
        Lend a cursor inside one read-only transaction of its own, in which a statement takes at most 5 s and waits
        at most 1 s for a lock; waits until a connection is free.

        Raises ``DatabaseError``, also for what fails inside the block.
        """
        async with self._free:
            connection = None
            try:
                connection, cursor = await self._begun()
                yield cursor
                await cursor.execute("COMMIT")
            except Error as error:
                trouble = await self._trouble(error, lost=connection is None or connection.broken or connection.closed)
                if not trouble.lost and connection is not None:
                    await self._ended(connection)
                raise trouble from error
            finally:
                if connection is not None:
                    await self._put_back(connection)

    async def _begun(self) -> tuple[AsyncConnection[TupleRow], AsyncCursor[TupleRow]]:
        """Return a connection with an open transaction; one that the server has closed meanwhile is replaced."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return connection, await _promptly(connection.execute(BEGIN))
            except ConnectionTimeout:
                await connection.close()
                raise
            except OperationalError:
                # The server was restarted, or the pooler let go: only a fresh connection tells how things are.
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
            await _promptly(connection.execute(NAME % connection.info.backend_pid))
            return connection, await _promptly(connection.execute(BEGIN))
        except BaseException:
            await connection.close()
            raise

    async def _ended(self, connection: AsyncConnection[TupleRow]) -> None:
        """End a transaction that failed; where even that fails, the connection is of no more use."""
        try:
            await connection.execute("ROLLBACK")
        except Error:
            await connection.close()

    async def _put_back(self, connection: AsyncConnection[TupleRow]) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _trouble(self, error: Error, *, lost: bool) -> DatabaseError:
        if isinstance(error, ConnectionTimeout):
            said = await self._silence()
            return DatabaseError(f"database {self.address}: {said}", DatabaseFailure.TIMED_OUT, lost=lost)
        sqlstate = error.sqlstate or ""
        words = " ".join(str(error).split())
        reason = reason_of(sqlstate, words)
        if reason is DatabaseFailure.OTHER and not sqlstate and lost:
            if words != self._code[0]:
                self._code = words, await asyncio.to_thread(sqlstate_of, make_conninfo(**self._parameters))
            sqlstate = self._code[1]
            reason = reason_of(sqlstate, words)
        code = f" ({sqlstate})" if sqlstate else ""
        return DatabaseError(f"database {self.address}: {ADVICE[reason]}: {words}{code}", reason, sqlstate, lost=lost)

    async def _silence(self) -> str:
        given = self._parameters
        host, port = (str(given.get(name) or usual).split(",")[0] for name, usual in (("host", ""), ("port", "5432")))
        if host and not host.startswith("/"):
            return await describe_silence(given.get("hostaddr") or host, int(port))
        return await describe_silence(f"{host or '/var/run/postgresql'}/.s.PGSQL.{port}", 0)


async def _promptly(work: Coroutine[Any, Any, T]) -> T:
    """Return what a server answers at once. Raises ``ConnectionTimeout`` where it doesn't."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=PROMPT)
        if done:
            return task.result()
    finally:
        # Cancelled once, psycopg waits for the server to cancel the statement; again, it lets go.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=LET_GO)
    await asyncio.gather(task, return_exceptions=True)
    raise ConnectionTimeout("no answer")


def sqlstate_of(address: str) -> str:
    """
    Return PostgreSQL's code for a session that it refuses; nothing, where it gives none. Blocks, for some seconds.

    libpq knows the code and tells the words alone, in the server's language. Its trace of the connection has it, which
    holds what toban sends too (proofs of its password): it is written to memory and thrown away.
    """
    if not hasattr(os, "memfd_create"):
        return ""  # libpq traces on Linux alone
    with open(os.memfd_create("trace"), "w+b") as trace:  # noqa: PTH123  # it has no path
        connection = PGconn.connect_start(address.encode())
        connection.trace(trace.fileno())
        deadline = time.monotonic() + PROMPT
        while (status := connection.connect_poll()) in WAITS and time.monotonic() < deadline:
            waiting = select.poll()
            waiting.register(connection.socket, WAITS[PollingStatus(status)])
            waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        connection.untrace()
        connection.finish()
        trace.seek(0)
        codes = re.findall(rb'\tErrorResponse\t S "[^"]*"(?: V "[^"]*")? C "(\w{5})"', trace.read())
    return codes[-1].decode() if codes else ""


def _parameters(address: str) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(address)
    except ProgrammingError as error:
        # libpq's words may repeat a piece of the password; the name of a parameter it doesn't know is safe to tell.
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        remedy = f"PostgreSQL knows no parameter {_meant(unknown[1])}: leave it out" if unknown else ENCODE
        raise SettingsError(f"shop.database can't be read: {remedy}") from None
    return {**given, **PARAMETERS}


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name, [it.keyword.decode() for it in Conninfo.get_defaults()], 1)
    return f"{name!r}{f' (did you mean {near[0]}?)' if near else ''}"


def _shown(parameters: dict[str, Any]) -> str:
    host, port = parameters.get("host") or "localhost", parameters.get("port") or "5432"
    name = parameters.get("dbname") or parameters.get("user") or "postgres"
    # A character that was not encoded makes a piece of the password look like a host, a port or a database.
    if not re.fullmatch(r"[\w.:/,%-]+", host) or "@" in name:
        raise SettingsError(f"shop.database can't be read: {ENCODE}")
    if not re.fullmatch(r"[\d,]+", port):
        raise SettingsError(f"shop.database can't be read: the port must be a number, and {ENCODE}")
    return f"{f'[{host}]' if ':' in host else host}:{port}/{name}"
