"""The audit log: who did what, and when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import Column, Connection, Index, Row, Table, delete, insert, select

from toban.core.actor import Actor
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

AUDIT_LOG: Final = Table(
    "audit_log",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("actor", SafeString(200), nullable=False),
    Column("action", SafeString(200), nullable=False),
    Column("facts", Json, nullable=False),
    Column("via", SafeString(50), nullable=False, server_default=""),
    Column("address", SafeString(100), nullable=False, server_default=""),
    Index("audit_log_actor", "actor", "id"),
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row: an action, like ``expired a silence``, by whom it was taken, and the facts."""

    at: datetime
    actor: Actor
    action: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    """Its number in the log; 0 before it is written."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        actor = {"name": self.actor.name, "via": self.actor.via, "address": self.actor.address}
        return {"at": self.at.isoformat(), "actor": actor, "action": self.action, "facts": dict(self.facts)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return the entry that `as_dict` wrote."""
        actor = body["actor"]
        actor = Actor(actor["name"], actor["via"], actor.get("address", ""))  # toban 0.1 wrote no address
        return cls(datetime.fromisoformat(body["at"]), actor, body["action"], body["facts"])


def record(connection: Connection, entry: AuditEntry) -> None:
    """Write a row, in the transaction of the change; automation writes it before it acts."""
    actor = entry.actor
    who = {"actor": actor.name, "via": actor.via, "address": actor.address[:100]}
    connection.execute(insert(AUDIT_LOG).values(at=entry.at, action=entry.action, facts=dict(entry.facts), **who))


def recent(connection: Connection, limit: int = 50, before: int | None = None, actor: str = "") -> list[AuditEntry]:
    """Return the newest rows, newest first: with a number below ``before``, of one actor, where these are given."""
    query = select(AUDIT_LOG).order_by(AUDIT_LOG.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AUDIT_LOG.c.id < before)
    if actor:
        query = query.where(AUDIT_LOG.c.actor == actor)
    return readable_rows(connection, AUDIT_LOG, connection.execute(query), _parse)


def _parse(row: Row[Any]) -> AuditEntry:
    return AuditEntry(row.at, Actor(row.actor, row.via, row.address), row.action, row.facts, row.id)


def prune(connection: Connection, before: datetime) -> int:
    """Remove rows older than ``before``; return how many."""
    return connection.execute(delete(AUDIT_LOG).where(AUDIT_LOG.c.at < before)).rowcount
