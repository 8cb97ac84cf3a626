"""
The event log: changes in order, read by consumers with offsets.

An event is appended in the transaction that makes the change, and a consumer's offset moves in the transaction that
acts on it: nothing is lost, and nothing is done twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, delete, func, insert, select, update

from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata

EVENTS: Final = Table(
    "event",
    metadata,
    Column("position", Id, primary_key=True, autoincrement=False),
    Column("at", Timestamp, nullable=False),
    Column("topic", SafeString(100), nullable=False),
    Column("body", Json, nullable=False),
)
OFFSETS: Final = Table(
    "event_offset",
    metadata,
    Column("consumer", SafeString(100), primary_key=True),
    Column("position", Id, nullable=False),
)
END: Final = Table(
    "event_log_end",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("position", Id, nullable=False),
)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One change."""

    position: int
    at: datetime
    topic: str
    body: Mapping[str, Any]


def append(connection: Connection, topic: str, body: Mapping[str, Any], at: datetime) -> int:
    """Append an event and return its position."""
    return append_all(connection, topic, [(body, at)])


def append_all(connection: Connection, topic: str, events: Sequence[tuple[Mapping[str, Any], datetime]]) -> int:
    """Append events, each with its time, in this order; return the last one's position."""
    # Not a sequence: its values can become visible out of order, and a consumer would skip the late one.
    count = len(events)
    if not count:
        return newest_position(connection)
    last = connection.execute(
        update(END).where(END.c.id == 1).values(position=END.c.position + count).returning(END.c.position)
    ).scalar()
    if last is None:
        last = count
        connection.execute(insert(END).values(id=1, position=last))
    rows = [
        {"position": last - count + place, "at": at, "topic": topic, "body": dict(body)}
        for place, (body, at) in enumerate(events, 1)
    ]
    connection.execute(insert(EVENTS), rows)
    return int(last)


def subscribe(connection: Connection, consumer: str, *, from_start: bool = False) -> None:
    """
    Register a consumer: a known one continues at its offset.

    A new one begins at the end; or ``from_start``, with the oldest event.
    """
    if connection.execute(select(OFFSETS.c.consumer).where(OFFSETS.c.consumer == consumer)).first() is None:
        connection.execute(
            insert(OFFSETS).values(consumer=consumer, position=0 if from_start else newest_position(connection))
        )


def newest_position(connection: Connection) -> int:
    """Return the position of the newest event, 0 when there was none ever."""
    return int(connection.execute(select(END.c.position)).scalar() or 0)


def read(connection: Connection, consumer: str, limit: int = 100) -> list[LoggedEvent]:
    """Return the next events for a consumer, oldest first. Raises ``LookupError`` for one that never subscribed."""
    position = connection.execute(select(OFFSETS.c.position).where(OFFSETS.c.consumer == consumer)).scalar()
    if position is None:
        raise LookupError(f"{consumer} never subscribed to the event log")
    rows = connection.execute(
        select(EVENTS).where(EVENTS.c.position > position).order_by(EVENTS.c.position).limit(limit)
    )
    return [LoggedEvent(row.position, row.at, row.topic, row.body) for row in rows]


def read_again(connection: Connection, consumer: str, topic: str, since: datetime) -> list[LoggedEvent]:
    """Return the events of a topic since a time that a consumer is done with, oldest first, as far as they are kept."""
    done = select(OFFSETS.c.position).where(OFFSETS.c.consumer == consumer).scalar_subquery()
    wanted = (EVENTS.c.position <= done) & (EVENTS.c.topic == topic) & (EVENTS.c.at >= since)
    rows = connection.execute(select(EVENTS).where(wanted).order_by(EVENTS.c.position))
    return [LoggedEvent(row.position, row.at, row.topic, row.body) for row in rows]


def commit(connection: Connection, consumer: str, position: int) -> None:
    """Record that a consumer is done with everything up to a position."""
    connection.execute(update(OFFSETS).where(OFFSETS.c.consumer == consumer).values(position=position))


def prune(connection: Connection, before: datetime) -> int:
    """Remove events that are older than ``before`` and read by every consumer; return how many."""
    consumed = select(func.coalesce(func.min(OFFSETS.c.position), newest_position(connection))).scalar_subquery()
    return connection.execute(delete(EVENTS).where(EVENTS.c.at < before, EVENTS.c.position <= consumed)).rowcount
