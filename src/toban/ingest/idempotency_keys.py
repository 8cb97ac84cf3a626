"""The keys of events that were taken in: what comes twice was sent again."""

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

AT_ONCE: Final = 500
"""Keys that are asked for in one question: databases limit how many values it may hold."""


def known_keys(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return which of some keys were remembered."""
    asked = sorted(keys)
    found: set[str] = set()
    for start in range(0, len(asked), AT_ONCE):
        chosen = select(KEYS.c.key).where(KEYS.c.key.in_(asked[start : start + AT_ONCE]))
        found.update(connection.scalars(chosen))
    return found


def record_keys(connection: Connection, keys: Iterable[str], at: datetime) -> None:
    """Keep some keys that are not known yet."""
    rows = [{"key": key, "at": at} for key in sorted(set(keys))]
    if rows:
        connection.execute(insert(KEYS), rows)


def prune(connection: Connection, before: datetime) -> None:
    """Let go of keys from before a time."""
    connection.execute(delete(KEYS).where(KEYS.c.at < before))
