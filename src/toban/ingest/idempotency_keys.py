"""Idempotency keys of accepted events."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Index, Table, delete, insert, select

from toban.state.column_types import SafeString, Timestamp, metadata

KEYS: Final = Table(
    "event_key",
    metadata,
    Column("key", SafeString(64), primary_key=True),
    Column("at", Timestamp, nullable=False),
    Index("event_key_at", "at"),
)

QUERY_KEYS: Final = 500
"""Keys in one query: databases limit its parameters."""


def known_keys(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return which of some keys are stored."""
    wanted = sorted(keys)
    found: set[str] = set()
    for start in range(0, len(wanted), QUERY_KEYS):
        query = select(KEYS.c.key).where(KEYS.c.key.in_(wanted[start : start + QUERY_KEYS]))
        found.update(connection.scalars(query))
    return found


def record_keys(connection: Connection, keys: Iterable[str], at: datetime) -> None:
    """Store some new keys."""
    rows = [{"key": key, "at": at} for key in sorted(set(keys))]
    if rows:
        connection.execute(insert(KEYS), rows)


def prune(connection: Connection, before: datetime) -> None:
    """Delete keys from before a time."""
    connection.execute(delete(KEYS).where(KEYS.c.at < before))
