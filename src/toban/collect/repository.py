"""How far event streams were read, what was counted lately, and totals that the store may not have yet."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Index, Table, Text, delete, insert, select, update

from toban.core.samples import Batch
from toban.state.column_types import Id, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

POSITION: Final = Table(
    "stream_position",
    metadata,
    Column("stream", SafeString(50), primary_key=True),
    Column("began", Timestamp, nullable=False),
    Column("until", Timestamp, nullable=False),
    Column("top", BigInteger(), nullable=False),
    Column("floor", BigInteger(), nullable=False),
    Column("read", Timestamp),
)
"""Positions, by the names of streams."""

COUNTED: Final = Table(
    "stream_counted_event",
    metadata,
    Column("stream", SafeString(50), primary_key=True),
    Column("id", SafeString(200), primary_key=True),
    Column("at", Timestamp, nullable=False),
    Index("stream_counted_event_at", "stream", "at"),
)
"""Events that were counted lately."""

PENDING: Final = Table(
    "stream_pending_samples",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("stream", SafeString(50), nullable=False, index=True),
    Column("samples", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never used twice: rows are deleted by their numbers
)
"""Totals that were counted, and whose samples the store may not have yet."""


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """
    How far a stream was read: since when and until when.

    After the clock was set back, ``read`` is how far by the new time. Where rows are found by id, those above ``top``
    are new, and those from ``floor`` on are read again.
    """

    began: datetime
    until: datetime
    top: int = 0
    floor: int = 0
    read: datetime | None = None


def position(connection: Connection, stream: str, began: datetime) -> ReadPosition:
    """Return how far a stream was read; one that never was begins at ``began``."""
    rows = connection.execute(select(POSITION).where(POSITION.c.stream == stream))
    found = readable_rows(
        connection, POSITION, rows, lambda row: ReadPosition(row.began, row.until, row.top, row.floor, row.read)
    )
    return found[0] if found else ReadPosition(began, began)


def was_read(connection: Connection, prefix: str) -> bool:
    """Return whether any stream whose name begins with a prefix was ever read."""
    return (
        connection.execute(select(POSITION.c.stream).where(POSITION.c.stream.startswith(prefix)).limit(1)).first()
        is not None
    )


def save_position(connection: Connection, stream: str, now: ReadPosition) -> None:
    """Store how far a stream was read."""
    values = {"began": now.began, "until": now.until, "top": now.top, "floor": now.floor, "read": now.read}
    if connection.execute(update(POSITION).where(POSITION.c.stream == stream).values(**values)).rowcount == 0:
        connection.execute(insert(POSITION).values(stream=stream, **values))


def moved_position(
    position: ReadPosition, until: datetime, top: int, floor: int, read: datetime | None = None
) -> ReadPosition:
    """Return a later position: it never goes back, whatever the clock does."""
    return replace(
        position,
        until=max(position.until, until),
        top=max(position.top, top),
        floor=max(position.floor, floor),
        read=read,
    )


def recently_counted(connection: Connection, stream: str) -> dict[str, datetime]:
    """Return the ids of the events that were counted lately, with their times."""
    rows = connection.execute(select(COUNTED).where(COUNTED.c.stream == stream))
    return dict(readable_rows(connection, COUNTED, rows, lambda row: (row.id, row.at)))


def record_counted(connection: Connection, stream: str, found: Mapping[str, datetime], before: datetime) -> None:
    """Store the ids of events that were counted, none of which is stored yet; delete those from before a time."""
    connection.execute(delete(COUNTED).where(COUNTED.c.stream == stream, COUNTED.c.at < before))
    rows = [{"stream": stream, "id": key, "at": at} for key, at in found.items() if at >= before]
    if rows:
        connection.execute(insert(COUNTED), rows)


def save_samples(connection: Connection, stream: str, samples: str) -> int:
    """Keep counted totals until the store has them; return the number of the row."""
    found = connection.execute(insert(PENDING).values(stream=stream, samples=samples).returning(PENDING.c.id))
    return int(found.scalar_one())


def pending_samples(
    connection: Connection, stream: str, stored: Collection[int], load: Callable[[str], Sequence[Batch]]
) -> list[tuple[int, Sequence[Batch]]]:
    """Delete the totals that the store has, by their numbers; return the others."""
    connection.execute(delete(PENDING).where(PENDING.c.id.in_(stored)))
    rows = connection.execute(select(PENDING).where(PENDING.c.stream == stream).order_by(PENDING.c.id))
    return readable_rows(connection, PENDING, rows, lambda row: (row.id, load(row.samples)))
