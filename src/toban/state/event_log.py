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

from toban.state.column_types import Id, Json, Moment, SafeString, metadata

FEED: Final = Table(
    "feed",
    metadata,
    Column("position", Id, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("topic", SafeString(100), nullable=False),
    Column("body", Json, nullable=False),
)
CURSOR: Final = Table(
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
class Change:
    """One thing that changed."""

    position: int
    at: datetime
    topic: str
    body: Mapping[str, Any]


def tell(connection: Connection, topic: str, body: Mapping[str, Any], at: datetime) -> int:
    """Add a change and return its position."""
    return tell_all(connection, topic, [(body, at)])


def tell_all(connection: Connection, topic: str, changes: Sequence[tuple[Mapping[str, Any], datetime]]) -> int:
    """Add changes, each with its time, in this order; return the last one's position."""
    # Not a sequence: its numbers can become visible out of order, and a reader would pass over the late one.
    many = len(changes)
    if not many:
        return end(connection)
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
    connection.execute(insert(FEED), rows)
    return int(last)


def subscribe(connection: Connection, reader: str, *, from_start: bool = False) -> None:
    """
    Make a reader known: one that is known goes on where it was.

    A new one begins at the end; or ``from_start``, with the oldest change there is.
    """
    if connection.execute(select(CURSOR.c.reader).where(CURSOR.c.reader == reader)).first() is None:
        connection.execute(insert(CURSOR).values(reader=reader, position=0 if from_start else end(connection)))


def end(connection: Connection) -> int:
    """Return the position of the newest change, 0 when there was none ever."""
    return int(connection.execute(select(END.c.position)).scalar() or 0)


def unread(connection: Connection, reader: str, limit: int = 100) -> list[Change]:
    """Return the next changes for a reader, oldest first. Raises ``LookupError`` for one that never subscribed."""
    position = connection.execute(select(CURSOR.c.position).where(CURSOR.c.reader == reader)).scalar()
    if position is None:
        raise LookupError(f"{reader} never subscribed to the feed")
    rows = connection.execute(select(FEED).where(FEED.c.position > position).order_by(FEED.c.position).limit(limit))
    return [Change(row.position, row.at, row.topic, row.body) for row in rows]


def advance(connection: Connection, reader: str, position: int) -> None:
    """Note that a reader is done with everything up to a position."""
    connection.execute(update(CURSOR).where(CURSOR.c.reader == reader).values(position=position))


def prune(connection: Connection, before: datetime) -> int:
    """Remove what is older than ``before`` and read by every reader; return how many."""
    passed = select(func.coalesce(func.min(CURSOR.c.position), end(connection))).scalar_subquery()
    return connection.execute(delete(FEED).where(FEED.c.at < before, FEED.c.position <= passed)).rowcount
