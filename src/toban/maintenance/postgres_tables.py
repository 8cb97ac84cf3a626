"""What maintenance knows of PostgreSQL: its tables and indexes, and what the acting role may do with them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from toban.maintenance.task import StepSkippedError, TaskTools
from toban.shop.admin_database import AdminDatabase, AdminError
from toban.shop.settings import ShopSettings

NO_ADDRESS: Final = "shop.database_admin is not set: toban has no role to act on the database"

VERSION: Final = "SELECT current_setting('server_version_num')::int AS version, current_user AS role"

LOCKED: Final = "55P03"
"""PostgreSQL's code for a lock that was not granted in time."""

MAINTAINER: Final = 170000
"""The first version with the right MAINTAIN and the role `pg_maintain`."""


def not_configured(settings: ShopSettings) -> str:
    """Return what is missing to act on the database."""
    return "" if settings.database_admin else NO_ADDRESS


async def server(tools: TaskTools) -> tuple[int, str]:
    """Return the server's version, as ``180006``, and the role that acts. Raises ``ActionError``."""
    (row,) = await tools.database.execute(VERSION)
    return int(row["version"]), str(row["role"])


async def maintain(
    tools: TaskTools, statement: str, progress: Callable[[AdminDatabase], Awaitable[None]] | None = None
) -> Sequence[str]:
    """
    Run a statement outside of a transaction, and return the notices of PostgreSQL.

    Raises ``AdminError``, and ``StepSkippedError`` where another session holds a lock that it needs.
    """
    try:
        return await tools.database.maintain(statement, progress)
    except AdminError as error:
        if error.code == LOCKED:
            raise StepSkippedError("another session holds a lock that it needs") from error
        raise


def may_maintain(version: int, column: str) -> str:
    """
    Return the SQL condition that the role may vacuum, analyze and reindex a table.

    ``column`` is the alias of the table's ``pg_class``. https://www.postgresql.org/docs/current/ddl-priv.html
    """
    owner = f"pg_has_role(current_user, {column}.relowner, 'usage')"
    database_owner = (
        "EXISTS (SELECT FROM pg_database d WHERE d.datname = current_database() "
        f"AND pg_has_role(current_user, d.datdba, 'usage') AND NOT {column}.relisshared)"
    )
    conditions = [owner, database_owner]
    if version >= MAINTAINER:
        conditions.append(f"has_table_privilege({column}.oid, 'MAINTAIN')")
    return f"({' OR '.join(conditions)})"


def grant_to_maintain(version: int, role: str, owners: set[str]) -> str:
    """Return the statement that lets a role maintain the tables of some owners."""
    if version >= MAINTAINER:
        return f'GRANT pg_maintain TO "{role}"'
    return "; ".join(f'GRANT "{owner}" TO "{role}"' for owner in sorted(owners))
