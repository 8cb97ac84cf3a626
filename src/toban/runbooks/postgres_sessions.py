"""Sessions of the shop's PostgreSQL: which ones may be ended, and ending exactly those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from toban.core.config_types import format_duration
from toban.core.errors import ActionError
from toban.runbooks.action import ActionTools, Plan

OTHERS: Final = "^(pg_dump|pg_dumpall|pg_restore|pg_basebackup|pg_repack|toban|barman|pgbackrest|wal-g)"
"""Names of applications whose sessions are never ended: backups, and toban itself."""

STATEMENTS: Final = "^\\s*(vacuum|analyze|create|reindex|cluster|alter|drop|copy|refresh|lock)"
"""Statements whose sessions are never ended: maintenance and migrations."""

WAIT_MILLISECONDS: Final = 3_000
"""How long PostgreSQL waits for a session to end."""

RIGHTS: Final = """
SELECT current_user AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       pg_has_role(current_user, 'pg_signal_backend', 'usage') AS may_end,
       pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS may_see
"""

SESSIONS: Final = f"""
SELECT pid, backend_start, state, state_change, query_start, application_name, usename,
       coalesce(substring(query FROM '^\\s*(\\w+)'), '') AS statement,
       blocked.blocks, blocked.waited_since, cardinality(pg_blocking_pids(pid)) AS waits_for
FROM pg_stat_activity a
CROSS JOIN LATERAL (
    SELECT count(*) AS blocks, min(waiting.query_start) AS waited_since FROM pg_stat_activity waiting
    WHERE a.pid = ANY (pg_blocking_pids(waiting.pid))
) blocked
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND usename = coalesce(
      nullif(%(user)s, ''),
      (SELECT pg_get_userbyid(relowner) FROM pg_class
       WHERE oid = to_regclass('public."order"')))
  AND application_name !~* '{OTHERS}'
  AND query !~* '{STATEMENTS}'
  AND NOT EXISTS (SELECT FROM pg_locks held WHERE held.pid = a.pid
                  AND (held.locktype = 'advisory' OR held.mode = 'AccessExclusiveLock'))
ORDER BY state_change, pid
"""  # noqa: S608  # made of constants

CONNECTIONS: Final = """
SELECT count(*) AS used, current_setting('max_connections')::int AS allowed
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""

END: Final = """
SELECT pg_terminate_backend(pid, %(wait)s) AS done FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s AND state_change = %(state_change)s AND state = %(state)s
"""

CANCEL: Final = """
SELECT pg_cancel_backend(pid) AS done FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s AND query_start = %(query_start)s AND state = 'active'
"""

PRESENT: Final = """
SELECT pid FROM pg_stat_activity WHERE pid = %(pid)s AND backend_start = %(backend_start)s
"""

RUNNING: Final = """
SELECT pid FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s AND query_start = %(query_start)s AND state = 'active'
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of the shop, identified by its process and when that began: process ids are used again."""

    pid: int
    backend_start: datetime
    state: str
    state_change: datetime
    query_start: datetime | None
    application: str
    statement: str
    """The first word of its statement: the rest may hold personal data."""
    blocks: int
    """How many sessions wait for it."""
    waited_since: datetime | None
    """Since when the statement runs that waits for it for longest."""
    waits_for: int

    @property
    def name(self) -> str:
        """Its name among the targets of an act."""
        return f"postgres session {self.pid}"

    def described(self, now: datetime) -> str:
        """Return what it does, since when, and how many wait for it, in the same words in any language."""
        seconds = max(0, round((now - self.state_change).total_seconds()))
        what = [f"{self.state} {seconds} s", self.statement, f"blocks {self.blocks}" if self.blocks else ""]
        named = f" {self.application}" if self.application else ""
        return f"{self.pid}{named} ({', '.join(it for it in what if it)})"

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies it, as plain data."""
        return {
            "pid": self.pid,
            "backend_start": self.backend_start.isoformat(),
            "state": self.state,
            "state_change": self.state_change.isoformat(),
            "query_start": self.query_start.isoformat() if self.query_start else None,
        }


async def missing_rights(tools: ActionTools) -> str:
    """Return what the acting role lacks, with the statement that grants it; empty where it lacks nothing."""
    if tools.shop.settings.database_admin is None:
        return "shop.database_admin is not set: toban has no role to act on the database"
    try:
        [found] = await tools.database.execute(RIGHTS)
    except ActionError as error:
        return f"shop.database_admin: {error}"
    return _missing(found)


def _missing(found: Mapping[str, Any]) -> str:
    wanted = [("may_end", "pg_signal_backend"), ("may_see", "pg_read_all_stats")]
    missing = [role for right, role in wanted if not (found["is_superuser"] or found[right])]
    return f"shop.database_admin lacks a right: GRANT {', '.join(missing)} TO {found['role']};" if missing else ""


async def sessions(tools: ActionTools, user: str) -> list[Session]:
    """
    Return the sessions of the shop's own role that may be ended, longest idle first.

    Without ``user`` that is the owner of the table `order`. Raises ``ActionError``, also where the role of toban can't
    see what others do: it would find nothing, silently.
    """
    [rights] = await tools.database.execute(RIGHTS)
    if missing := _missing(rights):
        raise ActionError(missing)
    rows = await tools.database.execute(SESSIONS, {"user": user})
    return [
        Session(
            row["pid"],
            row["backend_start"],
            row["state"],
            row["state_change"],
            row["query_start"],
            row["application_name"],
            row["statement"],
            row["blocks"],
            row["waited_since"],
            row["waits_for"],
        )
        for row in rows
        if row["state"] and row["state_change"]
    ]


async def connections(tools: ActionTools) -> tuple[int, int]:
    """Return how many connections are used, and how many are allowed. Raises ``ActionError``."""
    [found] = await tools.database.execute(CONNECTIONS)
    return found["used"], found["allowed"]


async def end(tools: ActionTools, chosen: Sequence[Mapping[str, Any]]) -> int:
    """End sessions that still do what they did when they were chosen; return how many. Raises ``ActionError``."""
    ended = 0
    for it in chosen:
        rows = await tools.database.execute(END, {**it, "wait": WAIT_MILLISECONDS})
        ended += sum(bool(row["done"]) for row in rows)
    return ended


async def present(tools: ActionTools, chosen: Sequence[Mapping[str, Any]]) -> int:
    """Return how many of some sessions are there still. Raises ``ActionError``."""
    return sum([len(await tools.database.execute(PRESENT, it)) for it in chosen])


async def blocker(tools: ActionTools, user: str, waited: timedelta) -> Session | None:
    """
    Return the session at the root of a lock chain, the one for which most wait; None where nobody has waited for long.

    Who waits for a moment waits for a customer, and for nobody who hangs. Raises ``ActionError`` where what others wait
    for may not be ended.
    """
    found, long_ago = await sessions(tools, user), tools.clock.now() - waited
    roots = [it for it in found if not it.waits_for and it.waited_since and it.waited_since <= long_ago]
    if roots:
        return min(roots, key=lambda it: (-it.blocks, it.state_change))
    if any(it.waits_for and it.query_start and it.query_start <= long_ago for it in found):
        raise ActionError("no session of the shop that may be ended blocks others")
    return None


def nobody_waits(waited: timedelta) -> Plan:
    """Return the plan of an action that is not needed, for nobody has waited for long enough."""
    return Plan(f"nobody has waited for a lock for {format_duration(waited)}", needed=False)


def older_than(found: Sequence[Session], state: str, age: timedelta, now: datetime) -> list[Session]:
    """Return the sessions in a state for longer than an age."""
    return [it for it in found if it.state == state and now - it.state_change > age]
