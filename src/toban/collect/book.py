"""What is remembered of the shop's tables: how far they were read, and what is still open."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, String, Table, delete, insert, select, update

from toban.state.tables import Moment, metadata

READ: Final = Table(
    "shop_read",
    metadata,
    Column("book", String(50), primary_key=True),
    Column("began", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("payment", BigInteger(), nullable=False),
)
SEEN: Final = Table(
    "shop_seen",
    metadata,
    Column("sort", String(20), primary_key=True),
    Column("id", String(100), primary_key=True),
    Column("at", Moment, nullable=False),
)
ATTEMPT: Final = Table(
    "shop_attempt",
    metadata,
    Column("order", String(100), primary_key=True),
    Column("method", String(200), nullable=False),
    Column("at", Moment, nullable=False),
)

FAILED_KEPT: Final = timedelta(days=90)
"""How long it is remembered that an order failed: it fails once."""


@dataclass(frozen=True, slots=True)
class Read:
    """How far the tables were read: since when payments are counted, until when, and the newest payment's number."""

    began: datetime
    until: datetime
    payment: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The newest attempt to pay for an order (its code) that failed, while it isn't known how the order ends."""

    order: str
    method: str
    at: datetime


def read(connection: Connection, book: str) -> Read | None:
    """Return how far the tables were read, or nothing before the first time."""
    row = connection.execute(select(READ).where(READ.c.book == book)).first()
    return Read(row.began, row.until, row.payment) if row else None


def note(connection: Connection, book: str, now: Read) -> None:
    """Note how far the tables were read."""
    values = {"began": now.began, "until": now.until, "payment": now.payment}
    if connection.execute(update(READ).where(READ.c.book == book).values(**values)).rowcount == 0:
        connection.execute(insert(READ).values(book=book, **values))


def seen(connection: Connection, sort: str) -> set[str]:
    """Return what was counted lately."""
    return set(connection.execute(select(SEEN.c.id).where(SEEN.c.sort == sort)).scalars())


def remember(connection: Connection, sort: str, found: Iterable[tuple[str, datetime]], before: datetime) -> None:
    """Note what was counted, and forget what is older than ``before``."""
    connection.execute(delete(SEEN).where(SEEN.c.sort == sort, SEEN.c.at < before))
    rows = [{"sort": sort, "id": key, "at": at} for key, at in found if at >= before]
    if rows:
        connection.execute(insert(SEEN), rows)


def attempts(connection: Connection) -> dict[str, Attempt]:
    """Return the open attempts by order."""
    return {row.order: Attempt(row.order, row.method, row.at) for row in connection.execute(select(ATTEMPT))}


def attempted(connection: Connection, attempt: Attempt) -> None:
    """Note an attempt that failed; of several for an order the newest counts."""
    values = {"method": attempt.method, "at": attempt.at}
    known = connection.execute(select(ATTEMPT.c.at).where(ATTEMPT.c.order == attempt.order)).scalar()
    if known is None:
        connection.execute(insert(ATTEMPT).values(order=attempt.order, **values))
    elif known < attempt.at:
        connection.execute(update(ATTEMPT).where(ATTEMPT.c.order == attempt.order).values(**values))


def settled(connection: Connection, orders: Iterable[str]) -> None:
    """Let go of the attempts of orders of which it is known how they ended."""
    for order in orders:
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.order == order))
