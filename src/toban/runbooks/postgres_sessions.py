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

MOST_LISTED: Final = 5

WAIT_MILLISECONDS: Final = 3_000
"""How long PostgreSQL waits for a session to end."""

RIGHTS: Final = """
SELECT current_user AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       pg_has_role(current_user, 'pg_signal_backend', 'usage') AS may_end,
       pg_has_role(current_user, 'pg_read_all_stats', 'usage') AS may_see
"""

# Only sessions that wait for a lock are asked whom they wait for: the function stops all locking for a moment.
_ACTIVITY: Final = """
WITH waiting AS MATERIALIZED (
  SELECT pid, pg_blocking_pids(pid) AS blockers FROM pg_stat_activity WHERE wait_event_type = 'Lock')
SELECT a.pid, backend_start, state, state_change, query_start, application_name, usename,
       coalesce(substring(query FROM '^\\s*(\\w+)'), '') AS statement,
       (SELECT count(*) FROM waiting WHERE a.pid = ANY (waiting.blockers)) AS blocks,
       coalesce((SELECT blockers FROM waiting WHERE waiting.pid = a.pid), '{}') AS blockers
FROM pg_stat_activity a
WHERE datname = current_database() AND a.pid <> pg_backend_pid()
"""

SESSIONS: Final = f"""
{_ACTIVITY}
  AND backend_type = 'client backend'
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

IN_CHAINS: Final = f"""
{_ACTIVITY}
  AND EXISTS (SELECT FROM waiting WHERE waiting.pid = a.pid OR a.pid = ANY (waiting.blockers))
ORDER BY state_change, pid
LIMIT 500
"""

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
    blockers: Sequence[int] = ()
    """The processes for which it waits."""

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
    return _read(await tools.database.execute(SESSIONS, {"user": user}))


async def in_chains(tools: ActionTools) -> list[Session]:
    """Return all sessions that wait for a lock or are waited for, whosever they are. Raises ``ActionError``."""
    return _read(await tools.database.execute(IN_CHAINS))


def _read(rows: Sequence[Mapping[str, Any]]) -> list[Session]:
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
            tuple(row["blockers"]),
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


async def blocker(tools: ActionTools, user: str, waited: timedelta) -> tuple[Session, list[Session]] | None:
    """
    Return the session of the shop at the root of a lock chain, and who waits for it; None where nobody waits for long.

    Who waits for a moment waits for a customer, and for nobody who hangs. Raises ``ActionError`` where what others wait
    for may not be ended.
    """
    may_end = {it.pid for it in await sessions(tools, user)}
    chains, now = await in_chains(tools), tools.clock.now()
    roots = [(root, waiting_for(root, chains)) for root in blockers(chains)]
    roots = [found for found in roots if any(it.query_start and now - it.query_start >= waited for it in found[1])]
    if not roots:
        return None
    if chosen := next((found for found in roots if found[0].pid in may_end), None):
        return chosen
    left = listed([root for root, _ in roots], now)
    raise ActionError(f"no session of the shop that may be ended blocks others; what blocks is left alone: {left}")


def nobody_waits(waited: timedelta) -> Plan:
    """Return the plan of an action that is not needed, for nobody has waited for long enough."""
    return Plan(f"nobody has waited for a lock for {format_duration(waited)}", needed=False)


def blockers(found: Sequence[Session]) -> list[Session]:
    """Return the sessions at the roots of lock chains: others wait for them, and they wait for nobody."""
    return sorted((it for it in found if it.blocks and not it.blockers), key=lambda it: (-it.blocks, it.state_change))


def waiting_for(root: Session, found: Sequence[Session]) -> list[Session]:
    """Return those who wait for a session, or for somebody who waits for it, nearest first."""
    chain, reached = list[Session](), {root.pid}
    while new := [it for it in found if it.pid not in reached and not reached.isdisjoint(it.blockers)]:
        chain += new
        reached.update(it.pid for it in new)
    return chain


def listed(found: Sequence[Session], now: datetime) -> str:
    """Return some sessions in one line, of many the first ones and how many more there are."""
    more = f", +{len(found) - MOST_LISTED}" if len(found) > MOST_LISTED else ""
    return ", ".join(it.described(now) for it in found[:MOST_LISTED]) + more


def older_than(found: Sequence[Session], state: str, age: timedelta, now: datetime) -> list[Session]:
    """Return the sessions in a state for longer than an age."""
    return [it for it in found if it.state == state and now - it.state_change > age]
