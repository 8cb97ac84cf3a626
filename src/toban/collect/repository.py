"""What is remembered of the shop's tables: how far they were read, what was counted lately, and what is still open."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Table, Text, delete, insert, select, update

from toban.core.samples import Batch
from toban.state.column_types import Id, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

READ: Final = Table(
    "shop_read",
    metadata,
    Column("book", SafeString(50), primary_key=True),
    Column("began", Timestamp, nullable=False),
    Column("until", Timestamp, nullable=False),
    Column("top", BigInteger(), nullable=False),
    Column("floor", BigInteger(), nullable=False),
    Column("read", Timestamp),
)
SEEN: Final = Table(
    "shop_seen",
    metadata,
    Column("book", SafeString(50), primary_key=True),
    Column("id", SafeString(200), primary_key=True),
    Column("at", Timestamp, nullable=False),
    Index("shop_seen_at", "book", "at"),
)
ATTEMPT: Final = Table(
    "shop_attempt",
    metadata,
    Column("order", SafeString(100), primary_key=True),
    Column("method", SafeString(200), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("failed", Boolean(), nullable=False),
)
PENDING: Final = Table(
    "shop_pending",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("book", SafeString(50), nullable=False, index=True),
    Column("samples", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice: it is let go of by its number
)
"""Totals that were counted, and whose samples the store may not have yet."""

FAILED_KEPT: Final = timedelta(days=90)
"""How long it is remembered that an order failed: it fails once."""


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """
    How far something was read: since when and until when.

    Where the clock was set back since, ``read`` is how far by the new time. Where rows are found by number, those
    above ``top`` are new, and those from ``floor`` on are looked at again.
    """

    began: datetime
    until: datetime
    top: int = 0
    floor: int = 0
    read: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The newest attempt to pay for an order (its code) that failed, and whether the order has failed with it."""

    order: str
    method: str
    at: datetime
    failed: bool = False


def position(connection: Connection, book: str, began: datetime) -> ReadPosition:
    """Return how far something was read: it begins at ``began``."""
    rows = connection.execute(select(READ).where(READ.c.book == book))
    found = readable_rows(
        connection, READ, rows, lambda row: ReadPosition(row.began, row.until, row.top, row.floor, row.read)
    )
    return found[0] if found else ReadPosition(began, began)


def was_read(connection: Connection, name: str) -> bool:
    """Tell whether anything was ever read for the books whose names begin so."""
    return connection.execute(select(READ.c.book).where(READ.c.book.startswith(name)).limit(1)).first() is not None


def save_position(connection: Connection, book: str, now: ReadPosition) -> None:
    """Note how far something was read."""
    values = {"began": now.began, "until": now.until, "top": now.top, "floor": now.floor, "read": now.read}
    if connection.execute(update(READ).where(READ.c.book == book).values(**values)).rowcount == 0:
        connection.execute(insert(READ).values(book=book, **values))


def recently_counted(connection: Connection, book: str) -> dict[str, datetime]:
    """Return what was counted lately, and when it happened."""
    rows = connection.execute(select(SEEN).where(SEEN.c.book == book))
    return dict(readable_rows(connection, SEEN, rows, lambda row: (row.id, row.at)))


def record_counted(connection: Connection, book: str, found: Mapping[str, datetime], before: datetime) -> None:
    """Note what was counted, none of which is known yet, and forget what happened before a time."""
    connection.execute(delete(SEEN).where(SEEN.c.book == book, SEEN.c.at < before))
    rows = [{"book": book, "id": key, "at": at} for key, at in found.items() if at >= before]
    if rows:
        connection.execute(insert(SEEN), rows)


def open_attempts(connection: Connection) -> dict[str, FailedAttempt]:
    """Return the attempts of which it isn't known how their orders end, by order."""
    rows = connection.execute(select(ATTEMPT).where(ATTEMPT.c.failed.is_(False)))
    found = readable_rows(connection, ATTEMPT, rows, lambda row: FailedAttempt(row.order, row.method, row.at))
    return {attempt.order: attempt for attempt in found}


def record_attempt(connection: Connection, attempt: FailedAttempt) -> None:
    """Note an attempt that failed: the newest for an order counts, until the order has failed."""
    row = connection.execute(select(ATTEMPT).where(ATTEMPT.c.order == attempt.order)).first()
    if row is None:
        connection.execute(
            insert(ATTEMPT).values(order=attempt.order, method=attempt.method, at=attempt.at, failed=False)
        )
    elif not row.failed and row.at < attempt.at:
        of_order = update(ATTEMPT).where(ATTEMPT.c.order == attempt.order)
        connection.execute(of_order.values(method=attempt.method, at=attempt.at))


def mark_failed(connection: Connection, orders: Iterable[str]) -> None:
    """Note that some orders have failed."""
    for order in orders:
        connection.execute(update(ATTEMPT).where(ATTEMPT.c.order == order).values(failed=True))


def remove_attempts(connection: Connection, orders: Iterable[str], before: datetime) -> None:
    """Let go of the attempts of orders that were placed, and of those that failed before a time."""
    for order in orders:
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.order == order, ATTEMPT.c.failed.is_(False)))
    connection.execute(delete(ATTEMPT).where(ATTEMPT.c.failed.is_(True), ATTEMPT.c.at < before))


def moved_position(
    position: ReadPosition, until: datetime, top: int, floor: int, read: datetime | None = None
) -> ReadPosition:
    """Return a position further on: it never goes back, whatever the clock does."""
    return replace(
        position,
        until=max(position.until, until),
        top=max(position.top, top),
        floor=max(position.floor, floor),
        read=read,
    )


def save_samples(connection: Connection, book: str, samples: str) -> int:
    """Keep samples that were counted until the store has them; return their number."""
    found = connection.execute(insert(PENDING).values(book=book, samples=samples).returning(PENDING.c.id))
    return int(found.scalar_one())


def pending_samples(
    connection: Connection, book: str, stored: Collection[int], read: Callable[[str], Sequence[Batch]]
) -> list[tuple[int, Sequence[Batch]]]:
    """Let go of the samples that the store has, by their numbers; return the others."""
    connection.execute(delete(PENDING).where(PENDING.c.id.in_(stored)))
    rows = connection.execute(select(PENDING).where(PENDING.c.book == book).order_by(PENDING.c.id))
    return readable_rows(connection, PENDING, rows, lambda row: (row.id, read(row.samples)))
