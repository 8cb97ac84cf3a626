"""Tables of the on-call schedule: overrides and swaps, the last copies of calendars, the tokens of feeds."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Column, Connection, Index, Row, Table, Text, delete, insert, select, update

from toban.oncall.calendar_source import CalendarCopy
from toban.oncall.schedule import StoredOverride
from toban.state.column_types import Id, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

OVERRIDES: Final = Table(
    "oncall_override",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("starts", Timestamp, nullable=False),
    Column("ends", Timestamp, nullable=False),
    Column("decided", Timestamp, nullable=False),
    Column("person", SafeString(200), nullable=False),
    Column("instead_of", SafeString(200), nullable=False),
    Column("is_swap", Boolean, nullable=False),
    Column("created_by", SafeString(200), nullable=False),
    Column("comment", SafeString(2000), nullable=False),
    Index("oncall_override_ends", "ends"),
)
CALENDARS: Final = Table(
    "oncall_calendar",
    metadata,
    Column("key", SafeString(64), primary_key=True),
    Column("read", Timestamp, nullable=False),
    Column("etag", SafeString(1000), nullable=False),
    Column("content", Text, nullable=False),
)
FEEDS: Final = Table(
    "oncall_feed",
    metadata,
    Column("person", SafeString(200), primary_key=True),
    Column("digest", SafeString(64), nullable=False),
    Column("created", Timestamp, nullable=False),
)
TOLD: Final = Table(
    "oncall_told_shift",
    metadata,
    Column("person", SafeString(200), primary_key=True),
    Column("starts", Timestamp, nullable=False),
)


def overrides(connection: Connection, since: datetime) -> list[StoredOverride]:
    """Return the overrides that end after a time, in the order in which they are applied."""
    query = select(OVERRIDES).where(OVERRIDES.c.ends > since).order_by(OVERRIDES.c.decided, OVERRIDES.c.id)
    return readable_rows(connection, OVERRIDES, connection.execute(query), _override)


def override(connection: Connection, number: int) -> StoredOverride | None:
    """Return one override."""
    rows = connection.execute(select(OVERRIDES).where(OVERRIDES.c.id == number))
    return next(iter(readable_rows(connection, OVERRIDES, rows, _override)), None)


def add_override(connection: Connection, made: StoredOverride) -> StoredOverride:
    """Store a new override; return it with its number."""
    values = {
        "starts": made.starts,
        "ends": made.ends,
        "decided": made.decided,
        "person": made.person,
        "instead_of": made.instead_of,
        "is_swap": made.is_swap,
        "created_by": made.created_by,
        "comment": made.comment,
    }
    (number,) = connection.execute(insert(OVERRIDES).values(**values)).inserted_primary_key or (0,)
    return StoredOverride(id=int(number), **values)  # type: ignore[arg-type]  # the values are those of the fields


def take(connection: Connection, number: int, person: str, at: datetime) -> None:
    """Store who has taken a swap."""
    connection.execute(update(OVERRIDES).where(OVERRIDES.c.id == number).values(person=person, decided=at))


def end_override(connection: Connection, number: int, at: datetime) -> None:
    """Let an override end at a time."""
    connection.execute(update(OVERRIDES).where(OVERRIDES.c.id == number).values(ends=at))


def delete_override(connection: Connection, number: int) -> None:
    """Delete an override."""
    connection.execute(delete(OVERRIDES).where(OVERRIDES.c.id == number))


def prune(connection: Connection, before: datetime) -> None:
    """Delete the overrides that ended before a time."""
    connection.execute(delete(OVERRIDES).where(OVERRIDES.c.ends < before))


def calendars(connection: Connection, keys: Collection[str]) -> Sequence[CalendarCopy]:
    """Return the last copies of some calendars."""
    rows = connection.execute(select(CALENDARS).where(CALENDARS.c.key.in_(keys)))
    return readable_rows(
        connection, CALENDARS, rows, lambda row: CalendarCopy(row.key, row.read, row.etag, str(row.content))
    )


def save_calendar(connection: Connection, copy: CalendarCopy) -> None:
    """Store the copy of a calendar, in place of the last one."""
    connection.execute(delete(CALENDARS).where(CALENDARS.c.key == copy.key))
    values = {"key": copy.key, "read": copy.read, "etag": copy.etag, "content": copy.content}
    connection.execute(insert(CALENDARS).values(**values))


def note_calendar_read(connection: Connection, key: str, at: datetime) -> None:
    """Store that a calendar was read, and is as it was."""
    connection.execute(update(CALENDARS).where(CALENDARS.c.key == key).values(read=at))


def delete_calendars(connection: Connection, keys: Collection[str]) -> None:
    """Delete the copies of all calendars but some."""
    connection.execute(delete(CALENDARS).where(CALENDARS.c.key.not_in(keys)))


def save_feed(connection: Connection, person: str, digest: str, at: datetime) -> None:
    """Store the digest of the token of a person's feed, in place of the last one."""
    connection.execute(delete(FEEDS).where(FEEDS.c.person == person))
    connection.execute(insert(FEEDS).values(person=person, digest=digest, created=at))


def feed_owner(connection: Connection, digest: str) -> str:
    """Return whose feed has a token with a digest; empty for nobody's."""
    found = connection.execute(select(FEEDS.c.person).where(FEEDS.c.digest == digest)).scalar()
    return str(found) if found else ""


def told_shifts(connection: Connection) -> dict[str, datetime]:
    """Return when the last shift began that each person was told of."""
    rows = readable_rows(connection, TOLD, connection.execute(select(TOLD)), lambda row: (str(row.person), row.starts))
    return dict(rows)


def note_told(connection: Connection, person: str, starts: datetime) -> None:
    """Write that a person was told of a shift."""
    connection.execute(delete(TOLD).where(TOLD.c.person == person))
    connection.execute(insert(TOLD).values(person=person, starts=starts))


def _override(row: Row[Any]) -> StoredOverride:
    return StoredOverride(
        row.id,
        row.starts,
        row.ends,
        row.decided,
        row.person,
        row.instead_of,
        bool(row.is_swap),
        row.created_by,
        row.comment,
    )
