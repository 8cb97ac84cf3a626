"""The connection for acting on the shop's PostgreSQL: opened for each act, under a role of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from psycopg import AsyncConnection, Error
from psycopg.rows import dict_row
from pydantic import SecretStr

from toban.core.errors import ActionError

CONNECT_TIMEOUT: Final = 5
"""Seconds to connect."""

LIMITS: Final = (
    "SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '1s'; SET LOCAL application_name = 'toban'"
)
"""Nothing is set on the session: behind PgBouncer it would stay on a connection that the shop gets next."""


class AdminDatabase:
    """Runs statements as the role of `shop.database_admin`, each in a transaction with short limits."""

    def __init__(self, address: SecretStr) -> None:
        self._address = address

    async def execute(self, query: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Mapping[str, Any]]:
        """Run one statement and return its rows. Raises ``ActionError`` in PostgreSQL's words."""
        try:
            async with self._connection() as connection, connection.transaction():
                await connection.execute(LIMITS)
                cursor = await connection.execute(query, parameters)
                return await cursor.fetchall() if cursor.description else ()
        except Error as error:
            code = f" ({error.sqlstate})" if error.sqlstate else ""
            lines = str(error).strip().splitlines()
            raise ActionError(f"PostgreSQL: {lines[0] if lines else type(error).__name__}{code}") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
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
