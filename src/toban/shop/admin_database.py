"""The connection for acting on the shop's PostgreSQL: opened for each act, under a role of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from toban.core.errors import ActionError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error
    from psycopg.errors import Diagnostic

# The driver costs some 8 MB: it is imported when something acts.

CONNECT_TIMEOUT: Final = 5
"""Seconds to connect."""

STATEMENT_SECONDS: Final = 10
LIMITS: Final = (
    "SET LOCAL statement_timeout = '{}s'; SET LOCAL lock_timeout = '1s'; SET LOCAL application_name = 'toban'"
)
"""Nothing is set on the session: behind PgBouncer it would stay on a connection that the shop gets next."""

MAINTENANCE_LIMITS: Final = (
    "SET application_name = 'toban'; SET statement_timeout = 0; SET lock_timeout = '5s'; "
    "SET idle_in_transaction_session_timeout = 0"
)
"""
Of the session: maintenance can't run in a transaction, so its address must be that of PostgreSQL itself, not a pooler.

A timeout of the statement would leave half-built indexes behind; whoever runs it cancels it.
"""
PROGRESS_SECONDS: Final = 2.0
"""Seconds between two looks at how far a statement is."""


def quoted(*names: str) -> str:
    """Return the name of an object as SQL: its schema and its own name, or one name."""
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


class AdminError(ActionError):
    """A statement failed; ``code`` is PostgreSQL's SQLSTATE, empty where there is no answer."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class AdminDatabase:
    """Runs statements as the role of `shop.database_admin`, each in a transaction with short limits."""

    def __init__(self, address: SecretStr) -> None:
        self._address = address

    async def maintain(
        self, statement: str, progress: Callable[["AdminDatabase"], Awaitable[None]] | None = None
    ) -> Sequence[str]:
        """
        Run a statement outside of a transaction, like VACUUM, and return the notices of PostgreSQL.

        ``progress`` is called every two seconds meanwhile; what it raises does not end the statement. Cancelling
        cancels the statement. Raises ``AdminError`` in PostgreSQL's words.
        """
        from psycopg import Error

        notices: list[str] = []
        watch: asyncio.Future[None] | None = None
        try:
            async with self._connection() as connection:
                connection.add_notice_handler(lambda notice: notices.append(_notice(notice)))
                await connection.execute(MAINTENANCE_LIMITS)
                if progress:
                    watch = asyncio.ensure_future(self._watch(progress))
                await connection.execute(statement.encode())
        except Error as error:
            raise _error(error) from error
        finally:
            if watch:
                watch.cancel()
        return notices

    async def _watch(self, progress: Callable[["AdminDatabase"], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            try:
                await progress(self)
            except ActionError:
                continue  # how far it is can't be known just now; the statement goes on

    async def execute(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, seconds: int = STATEMENT_SECONDS
    ) -> Sequence[Mapping[str, Any]]:
        """Run one statement and return its rows. Raises ``AdminError`` in PostgreSQL's words."""
        from psycopg import Error

        try:
            async with self._connection() as connection, connection.transaction():
                await connection.execute(LIMITS.format(seconds))
                cursor = await connection.execute(query, parameters)
                return await cursor.fetchall() if cursor.description else ()
        except Error as error:
            raise _error(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["AsyncConnection[dict[str, Any]]"]:
        from psycopg import AsyncConnection
        from psycopg.rows import dict_row

        connection = await AsyncConnection.connect(
            self._address.get_secret_value(),
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_TIMEOUT,
            prepare_threshold=None,
        )
        try:
            yield connection
        finally:
            await connection.close()


def _error(error: "Error") -> AdminError:
    code = error.sqlstate or ""
    lines = str(error).strip().splitlines()
    in_brackets = f" ({code})" if code else ""
    return AdminError(f"PostgreSQL: {lines[0] if lines else type(error).__name__}{in_brackets}", code)


def _notice(notice: "Diagnostic") -> str:
    return f"{notice.severity}: {notice.message_primary}"
