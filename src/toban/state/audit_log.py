"""The journal: who did what, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Index, Table, delete, insert, select

from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

AUDIT_LOG: Final = Table(
    "journal",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("who", SafeString(200), nullable=False),
    Column("what", SafeString(200), nullable=False),
    Column("facts", Json, nullable=False),
    Index("journal_who", "who", "id"),
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the journal."""

    id: int
    at: datetime
    who: str
    what: str
    facts: Mapping[str, Any]


def record(connection: Connection, who: str, what: str, at: datetime, **facts: Any) -> None:
    """Write a line. Automation does this before the act, so that an act without a line can't be."""
    connection.execute(insert(AUDIT_LOG).values(at=at, who=who, what=what, facts=facts))


def recent(connection: Connection, limit: int = 50, who: str = "") -> list[AuditEntry]:
    """Return the newest lines, newest first; only what one did when ``who`` is given."""
    query = select(AUDIT_LOG).order_by(AUDIT_LOG.c.id.desc()).limit(limit)
    rows = connection.execute(query.where(AUDIT_LOG.c.who == who) if who else query)
    return readable_rows(
        connection, AUDIT_LOG, rows, lambda row: AuditEntry(row.id, row.at, row.who, row.what, row.facts)
    )


def prune(connection: Connection, before: datetime) -> int:
    """Remove what is older than ``before``; return how many."""
    return connection.execute(delete(AUDIT_LOG).where(AUDIT_LOG.c.at < before)).rowcount
