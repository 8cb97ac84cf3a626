"""The journal: who did what, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Index, Table, delete, insert, select

from toban.state.column_types import Id, Json, Moment, SafeString, metadata
from toban.state.quarantine import readable

JOURNAL: Final = Table(
    "journal",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("who", SafeString(200), nullable=False),
    Column("what", SafeString(200), nullable=False),
    Column("facts", Json, nullable=False),
    Index("journal_who", "who", "id"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal."""

    id: int
    at: datetime
    who: str
    what: str
    facts: Mapping[str, Any]


def note(connection: Connection, who: str, what: str, at: datetime, **facts: Any) -> None:
    """Write a line. Automation does this before the act, so that an act without a line can't be."""
    connection.execute(insert(JOURNAL).values(at=at, who=who, what=what, facts=facts))


def newest(connection: Connection, limit: int = 50, who: str = "") -> list[Entry]:
    """Return the newest lines, newest first; only what one did when ``who`` is given."""
    query = select(JOURNAL).order_by(JOURNAL.c.id.desc()).limit(limit)
    rows = connection.execute(query.where(JOURNAL.c.who == who) if who else query)
    return readable(connection, JOURNAL, rows, lambda row: Entry(row.id, row.at, row.who, row.what, row.facts))


def prune(connection: Connection, before: datetime) -> int:
    """Remove what is older than ``before``; return how many."""
    return connection.execute(delete(JOURNAL).where(JOURNAL.c.at < before)).rowcount
