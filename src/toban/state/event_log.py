"""
The feed: what changed, in order, read by cursor.

A change is told in the transaction that makes it, and a reader's cursor moves in the transaction that does something
about it: nothing falls between two stools, and nothing is done twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, delete, func, insert, select, update

from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata

EVENTS: Final = Table(
    "feed",
    metadata,
    Column("position", Id, primary_key=True, autoincrement=False),
    Column("at", Timestamp, nullable=False),
    Column("topic", SafeString(100), nullable=False),
    Column("body", Json, nullable=False),
)
OFFSETS: Final = Table(
    "feed_cursor",
    metadata,
    Column("reader", SafeString(100), primary_key=True),
    Column("position", Id, nullable=False),
)
END: Final = Table(
    "feed_end",
    metadata,
    Column("one", Id, primary_key=True, autoincrement=False),
    Column("position", Id, nullable=False),
)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One thing that changed."""

    position: int
    at: datetime
    topic: str
    body: Mapping[str, Any]


def append(connection: Connection, topic: str, body: Mapping[str, Any], at: datetime) -> int:
    """Add a change and return its position."""
    return append_all(connection, topic, [(body, at)])


def append_all(connection: Connection, topic: str, changes: Sequence[tuple[Mapping[str, Any], datetime]]) -> int:
    """Add changes, each with its time, in this order; return the last one's position."""
    # Not a sequence: its numbers can become visible out of order, and a reader would pass over the late one.
    many = len(changes)
    if not many:
        return newest_position(connection)
    last = connection.execute(
        update(END).where(END.c.one == 1).values(position=END.c.position + many).returning(END.c.position)
    ).scalar()
    if last is None:
        last = many
        connection.execute(insert(END).values(one=1, position=last))
    rows = [
        {"position": last - many + place, "at": at, "topic": topic, "body": dict(body)}
        for place, (body, at) in enumerate(changes, 1)
    ]
    connection.execute(insert(EVENTS), rows)
    return int(last)


def subscribe(connection: Connection, reader: str, *, from_start: bool = False) -> None:
    """
    Make a reader known: one that is known goes on where it was.

    A new one begins at the end; or ``from_start``, with the oldest change there is.
    """
    if connection.execute(select(OFFSETS.c.reader).where(OFFSETS.c.reader == reader)).first() is None:
        connection.execute(
            insert(OFFSETS).values(reader=reader, position=0 if from_start else newest_position(connection))
        )


def newest_position(connection: Connection) -> int:
    """Return the position of the newest change, 0 when there was none ever."""
    return int(connection.execute(select(END.c.position)).scalar() or 0)


def read(connection: Connection, reader: str, limit: int = 100) -> list[LoggedEvent]:
    """Return the next changes for a reader, oldest first. Raises ``LookupError`` for one that never subscribed."""
    position = connection.execute(select(OFFSETS.c.position).where(OFFSETS.c.reader == reader)).scalar()
    if position is None:
        raise LookupError(f"{reader} never subscribed to the feed")
    rows = connection.execute(
        select(EVENTS).where(EVENTS.c.position > position).order_by(EVENTS.c.position).limit(limit)
    )
    return [LoggedEvent(row.position, row.at, row.topic, row.body) for row in rows]


def commit(connection: Connection, reader: str, position: int) -> None:
    """Note that a reader is done with everything up to a position."""
    connection.execute(update(OFFSETS).where(OFFSETS.c.reader == reader).values(position=position))


def prune(connection: Connection, before: datetime) -> int:
    """Remove what is older than ``before`` and read by every reader; return how many."""
    passed = select(func.coalesce(func.min(OFFSETS.c.position), newest_position(connection))).scalar_subquery()
    return connection.execute(delete(EVENTS).where(EVENTS.c.at < before, EVENTS.c.position <= passed)).rowcount
