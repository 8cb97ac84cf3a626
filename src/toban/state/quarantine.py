"""
The quarantine: rows of state that can't be read, and items that are skipped because processing them fails.

Repositories read rows by `readable_rows`. An unreadable row is skipped, and in the same transaction moved to the table
``quarantine`` unchanged, counted and reported: one row never ends the process, and nothing is deleted. If state is
read-only, the row stays in its table and is skipped again.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Column, Connection, Table, Text, cast, delete, func, insert, select

from toban.core.errors import StateError
from toban.core.input_limits import repair_surrogates
from toban.core.item_isolation import ItemFailure
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter, gauge
from toban.state.column_types import Id, SafeString, Timestamp, UnreadableValue, metadata

log = structlog.get_logger("toban.state")
R = TypeVar("R")
T = TypeVar("T")

QUARANTINE: Final = Table(
    "quarantine",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("source", SafeString(100), nullable=False),
    Column("key", SafeString(1000), nullable=False),
    Column("content", Text, nullable=False),
    Column("error", SafeString(1000), nullable=False),
)
ROWS: Final = gauge(
    "toban_quarantine_rows", "Rows of state that can't be read, by the table or file they were in.", labels=("source",)
)
SKIPPED: Final = counter(
    "toban_skipped_items_total", "Items that were skipped because processing them failed.", labels=("part",)
)

UNREADABLE_KEY: Final = "toban.unreadable"
"""The key in ``connection.info`` of the rows that a transaction could not read."""
MOVE_TIME_KEY: Final = "toban.moved"
"""The key there of the time of their move; missing if they stay in their tables."""

CHECK_INTERVAL: Final = timedelta(seconds=15)
REPORTED_FOR: Final = timedelta(minutes=15)
"""How long a skipped item is reported after its last failure."""
MAX_LISTED: Final = 5
"""Items that a health status names."""
MAX_SKIPPED: Final = 1_000
"""Skipped items that are kept in memory."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """An unreadable row: its table, its primary key, and the error."""

    table: Table
    key: Mapping[str, Any]
    error: str

    @property
    def name(self) -> str:
        """Its key in one line."""
        return " ".join(str(value) for value in self.key.values())


class NotMovedError(StateError):
    """An unreadable row could not be moved."""


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row in quarantine: its source, key, content as text, and the error."""

    id: int
    at: datetime
    source: str
    key: str
    content: str
    error: str


def readable_rows(connection: Connection, table: Table, rows: Iterable[R], read: Callable[[R], T]) -> list[T]:
    """
    Return the result of ``read`` for each row, without the rows for which it raises.

    ``rows`` have the fields of the table's primary key. ``read`` has no effects. Raises ``NotMovedError``: the
    transaction is repeated then, and leaves such rows in their tables.
    """
    found: list[T] = []
    unreadable: list[UnreadableRow] = []
    for row in rows:
        try:
            if isinstance(row, tuple):
                _raise_if_unreadable(row)
            found.append(read(row))
        except Exception as error:
            key = {column.name: getattr(row, column.name) for column in table.primary_key}
            unreadable.append(UnreadableRow(table, key, _message(error)))
    if unreadable:
        connection.info.setdefault(UNREADABLE_KEY, []).extend(unreadable)
        if (now := connection.info.get(MOVE_TIME_KEY)) is not None:
            try:
                move(connection, unreadable, now)
            except Exception as error:
                raise NotMovedError(_message(error)) from error
    return found


def _raise_if_unreadable(row: tuple[Any, ...]) -> None:
    for value in row:
        if isinstance(value, UnreadableValue):
            raise value.error


def keep(connection: Connection, source: str, key: str, content: object, error: Exception | str, now: datetime) -> None:
    """Put unreadable content in quarantine; the caller removes it from its source."""
    text = content if isinstance(content, str) else json.dumps(content, default=repr, ensure_ascii=False)
    message = error if isinstance(error, str) else _message(error)
    row = {"source": source, "key": key[:1000], "content": repair_surrogates(text), "error": message[:1000]}
    connection.execute(insert(QUARANTINE).values(at=now, **row))


def move(connection: Connection, found: Iterable[UnreadableRow], now: datetime) -> None:
    """Move rows to the quarantine, unchanged."""
    for one in found:
        chosen = [column == one.key[column.name] for column in one.table.primary_key]
        raw = [cast(column, Text).label(column.name) for column in one.table.columns]
        row = connection.execute(select(*raw).where(*chosen)).mappings().first()
        if row is not None:
            keep(connection, one.table.name, one.name, dict(row), one.error, now)
            connection.execute(delete(one.table).where(*chosen))


def is_kept(connection: Connection, source: str, key: str) -> bool:
    """Return whether something is in quarantine, by its source and key."""
    query = select(QUARANTINE.c.id).where(QUARANTINE.c.source == source, QUARANTINE.c.key == key)
    return connection.execute(query.limit(1)).first() is not None


def rows(connection: Connection, limit: int = 100) -> Sequence[QuarantinedRow]:
    """Return the newest rows in quarantine, newest first."""
    found = connection.execute(select(QUARANTINE).order_by(QUARANTINE.c.id.desc()).limit(limit))
    return [QuarantinedRow(row.id, row.at, row.source, row.key, row.content, row.error) for row in found]


def forget(connection: Connection, number: int) -> bool:
    """Delete a row in quarantine; return whether it existed."""
    return connection.execute(delete(QUARANTINE).where(QUARANTINE.c.id == number)).rowcount > 0


def counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows in quarantine, by source."""
    query = select(QUARANTINE.c.source, func.count().label("number")).group_by(QUARANTINE.c.source)
    return {row.source: row.number for row in connection.execute(query)}


def _message(error: Exception) -> str:
    return repair_surrogates(f"{type(error).__name__}: {error}")[:1000]


class Quarantine:
    """
    Reports rows in quarantine and skipped items, for health, metrics and toban's alert about itself.

    A skipped item is reported while it keeps failing; a row in quarantine until it is deleted (`toban quarantine`).
    """

    name = "quarantine"

    def __init__(
        self, transaction: Callable[[Callable[[Connection], Any]], Awaitable[Any]], clock: Clock, meters: MetricRegistry
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self._meters = meters
        self._rows: dict[str, int] = {}
        self._skipped: dict[tuple[str, str, str], tuple[ItemFailure, datetime]] = {}

    async def run(self) -> None:
        """Count the rows in quarantine periodically, until cancelled."""
        await run_periodically(self.name, CHECK_INTERVAL, self.refresh, clock=self._clock, meters=self._meters)

    async def refresh(self) -> None:
        """Count the rows in quarantine."""
        try:
            now = await self._transaction(counts)
        except StateError:
            return  # the state itself reports it
        for source in self._rows.keys() - now.keys():
            self._meters.set(ROWS, 0, source=source)
        for source, number in now.items():
            self._meters.set(ROWS, number, source=source)
        self._rows = now

    def report(self, owner: str, failures: Iterable[ItemFailure]) -> None:
        """Record all items that one part of toban skips now; those that it skipped before have recovered."""
        now, found = self._clock.now(), {(owner, it.part, it.item): it for it in failures}
        for key, failure in found.items():
            if key not in self._skipped and len(self._skipped) < MAX_SKIPPED:
                self._meters.add(SKIPPED, part=failure.part)
                fields = {"part": failure.part, "item": failure.item, "error": failure.error}
                log.error("item skipped", **fields, exc_info=failure.cause)
            self._skipped[key] = replace(failure, cause=None), now
        for key in [key for key in list(self._skipped) if key[0] == owner and key not in found]:
            failure, _ = self._skipped.pop(key)
            log.info("skipped item recovered", part=failure.part, item=failure.item)

    def health(self) -> HealthStatus:
        """Return a status that names skipped items and rows in quarantine."""
        oldest = self._clock.now() - REPORTED_FOR
        skipped = [failure for failure, at in list(self._skipped.values()) if at > oldest]
        messages = [f"{it.part} {it.item} is skipped: {it.error}" for it in skipped[:MAX_LISTED]]
        if len(skipped) > MAX_LISTED:
            messages.append(f"{len(skipped) - MAX_LISTED} more items are skipped")
        if self._rows:
            sources = ", ".join(f"{number} of {source}" for source, number in sorted(self._rows.items()))
            messages.append(f"rows of state can't be read ({sources}): see `toban quarantine`")
        return HealthStatus(not messages, "; ".join(messages) or "nothing is skipped, all of state can be read")
