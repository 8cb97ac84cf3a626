"""Failed payment attempts whose orders may still be placed, and the orders that failed with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Boolean, Column, Connection, Table, delete, insert, select, update

from toban.state.column_types import SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

ATTEMPT: Final = Table(
    "failed_payment_attempt",
    metadata,
    Column("order", SafeString(100), primary_key=True),
    Column("method", SafeString(200), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("failed", Boolean(), nullable=False),
)

FAILED_KEPT: Final = timedelta(days=90)
"""How long a failed order is kept: an order fails once."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """The newest failed payment attempt of an order (its code), and whether the order has failed with it."""

    order: str
    method: str
    at: datetime
    failed: bool = False


def open_attempts(connection: Connection) -> dict[str, FailedAttempt]:
    """Return the attempts whose orders have neither been placed nor failed, by order."""
    rows = connection.execute(select(ATTEMPT).where(ATTEMPT.c.failed.is_(False)))
    found = readable_rows(connection, ATTEMPT, rows, lambda row: FailedAttempt(row.order, row.method, row.at))
    return {attempt.order: attempt for attempt in found}


def record_attempt(connection: Connection, attempt: FailedAttempt) -> None:
    """Store a failed attempt: the newest of an order counts, until the order has failed."""
    row = connection.execute(select(ATTEMPT).where(ATTEMPT.c.order == attempt.order)).first()
    if row is None:
        connection.execute(
            insert(ATTEMPT).values(order=attempt.order, method=attempt.method, at=attempt.at, failed=False)
        )
    elif not row.failed and row.at < attempt.at:
        of_order = update(ATTEMPT).where(ATTEMPT.c.order == attempt.order)
        connection.execute(of_order.values(method=attempt.method, at=attempt.at))


def mark_failed(connection: Connection, orders: Iterable[str]) -> None:
    """Mark orders as failed."""
    for order in orders:
        connection.execute(update(ATTEMPT).where(ATTEMPT.c.order == order).values(failed=True))


def remove_attempts(connection: Connection, orders: Iterable[str], before: datetime) -> None:
    """Delete the attempts of orders that were placed, and of those that failed before a time."""
    for order in orders:
        connection.execute(delete(ATTEMPT).where(ATTEMPT.c.order == order, ATTEMPT.c.failed.is_(False)))
    connection.execute(delete(ATTEMPT).where(ATTEMPT.c.failed.is_(True), ATTEMPT.c.at < before))
