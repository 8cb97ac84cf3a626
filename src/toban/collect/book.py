"""What is remembered of the shop's tables: how far they were read, what was counted lately, and what is still open."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Table, delete, insert, select, update

from toban.state.quarantine import readable
from toban.state.tables import Moment, SafeString, metadata

READ: Final = Table(
    "shop_read",
    metadata,
    Column("book", SafeString(50), primary_key=True),
    Column("began", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("top", BigInteger(), nullable=False),
    Column("floor", BigInteger(), nullable=False),
)
SEEN: Final = Table(
    "shop_seen",
    metadata,
    Column("book", SafeString(50), primary_key=True),
    Column("id", SafeString(200), primary_key=True),
    Column("at", Moment, nullable=False),
    Index("shop_seen_at", "book", "at"),
)
ATTEMPT: Final = Table(
    "shop_attempt",
    metadata,
    Column("order", SafeString(100), primary_key=True),
    Column("method", SafeString(200), nullable=False),
    Column("at", Moment, nullable=False),
    Column("failed", Boolean(), nullable=False),
)

FAILED_KEPT: Final = timedelta(days=90)
"""How long it is remembered that an order failed: it fails once."""


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far something was read: since when and until when.

    Where rows are found by number, those above ``top`` are new, and those from ``floor`` on are looked at again.
    """

    began: datetime
    until: datetime
    top: int = 0
    floor: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The newest attempt to pay for an order (its code) that failed, and whether the order has failed with it."""

    order: str
    method: str
    at: datetime
    failed: bool = False


def position(connection: Connection, book: str, began: datetime) -> Position:
    """Return how far something was read: it begins at ``began``."""
    rows = connection.execute(select(READ).where(READ.c.book == book))
    found = readable(connection, READ, rows, lambda row: Position(row.began, row.until, row.top, row.floor))
    return found[0] if found else Position(began, began)


def is_open(connection: Connection) -> bool:
    """Tell whether anything of a shop was ever read."""
    return connection.execute(select(READ.c.book).limit(1)).first() is not None


def note(connection: Connection, book: str, now: Position) -> None:
    """Note how far something was read."""
    values = {"began": now.began, "until": now.until, "top": now.top, "floor": now.floor}
    if connection.execute(update(READ).where(READ.c.book == book).values(**values)).rowcount == 0:
        connection.execute(insert(READ).values(book=book, **values))


def seen(connection: Connection, book: str) -> dict[str, datetime]:
    """Return what was counted lately, and when it happened."""
    rows = connection.execute(select(SEEN).where(SEEN.c.book == book))
    return dict(readable(connection, SEEN, rows, lambda row: (row.id, row.at)))


def remember(connection: Connection, book: str, found: Mapping[str, datetime], before: datetime) -> None:
    """Note what was counted, none of which is known yet, and forget what happened before a time."""
    connection.execute(delete(SEEN).where(SEEN.c.book == book, SEEN.c.at < before))
    rows = [{"book": book, "id": key, "at": at} for key, at in found.items() if at >= before]
    if rows:
        connection.execute(insert(SEEN), rows)


def attempts(connection: Connection) -> dict[str, Attempt]:
    """Return the attempts of which it isn't known how their orders end, by order."""
    rows = connection.execute(select(ATTEMPT).where(ATTEMPT.c.failed.is_(False)))
    found = readable(connection, ATTEMPT, rows, lambda row: Attempt(row.order, row.method, row.at))
    return {attempt.order: attempt for attempt in found}


def attempted(connection: Connection, attempt: Attempt) -> None:
    """Note an attempt that failed: the newest for an order counts, until the order has failed."""
    row = connection.execute(select(ATTEMPT).where(ATTEMPT.c.order == attempt.order)).first()
    if row is None:
        connection.execute(
            insert(ATTEMPT).values(order=attempt.order, method=attempt.method, at=attempt.at, failed=False)
        )
    elif not row.failed and row.at < attempt.at:
        of_order = update(ATTEMPT).where(ATTEMPT.c.order == attempt.order)
        connection.execute(of_order.values(method=attempt.method, at=attempt.at))


def failed(connection: Connection, orders: Iterable[str]) -> None:
    """Note that some orders have failed."""
    for order in orders:
        connection.execute(update(ATTEMPT).where(ATTEMPT.c.order == order).values(failed=True))


def settled(connection: Connection, orders: Iterable[str], before: datetime) -> None:
    """Let go of the attempts of orders that were placed, and of those that failed before a time."""
    for order in orders:
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.order == order, ATTEMPT.c.failed.is_(False)))
    connection.execute(delete(ATTEMPT).where(ATTEMPT.c.failed.is_(True), ATTEMPT.c.at < before))


def moved(position: Position, until: datetime, top: int, floor: int) -> Position:
    """Return a position further on: it never goes back."""
    return replace(
        position,
        until=max(position.until, until),
        top=max(position.top, top),
        floor=max(position.floor, floor),
    )
