"""
The quarantine: rows of state that can't be read, and items that are skipped because processing them fails.

A reader goes through `readable_rows`. A row that it can't read is left out, and in the same transaction moved to the
table ``quarantine`` as it is, counted and reported: one row never ends the process, and nothing is deleted. Where
state can't be written the row stays where it is, and is left out again.
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

FOUND: Final = "toban.unreadable"
"""Under what the rows that a transaction could not read are noted in ``connection.info``."""
MOVED: Final = "toban.moved"
"""Under what stands there when they are moved; nothing where they stay."""

LOOK_EVERY: Final = timedelta(seconds=15)
REMEMBERED: Final = timedelta(minutes=15)
"""How long a skipped item is reported that nobody has tried again."""
LISTED: Final = 5
"""How many items a health status names."""
MOST: Final = 1_000
"""How many skipped items are remembered at most."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that could not be read: its table, its primary key, and why."""

    table: Table
    key: Mapping[str, Any]
    error: str

    @property
    def name(self) -> str:
        """Its key in a line."""
        return " ".join(str(value) for value in self.key.values())


class NotMovedError(StateError):
    """A row that can't be read could not be moved either."""


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row in quarantine: where it was, its content as text, and why it could not be read."""

    id: int
    at: datetime
    source: str
    key: str
    content: str
    error: str


def readable_rows(connection: Connection, table: Table, rows: Iterable[R], read: Callable[[R], T]) -> list[T]:
    """
    Return what ``read`` makes of each row; leave out those of which it makes nothing but an exception.

    ``rows`` have the fields of the table's primary key. ``read`` only reads: it has no effects. Raises
    ``NotMovedError``: the transaction begins anew then, and leaves such rows where they are.
    """
    found: list[T] = []
    unreadable: list[UnreadableRow] = []
    for row in rows:
        try:
            if isinstance(row, tuple):
                _whole(row)
            found.append(read(row))
        except Exception as error:
            key = {column.name: getattr(row, column.name) for column in table.primary_key}
            unreadable.append(UnreadableRow(table, key, _says(error)))
    if unreadable:
        connection.info.setdefault(FOUND, []).extend(unreadable)
        if (now := connection.info.get(MOVED)) is not None:
            try:
                move(connection, unreadable, now)
            except Exception as error:
                raise NotMovedError(_says(error)) from error
    return found


def _whole(row: tuple[Any, ...]) -> None:
    for value in row:
        if isinstance(value, UnreadableValue):
            raise value.error


def keep(connection: Connection, source: str, key: str, content: object, error: Exception | str, now: datetime) -> None:
    """Put something that can't be read in quarantine; who calls it removes it from where it was."""
    text = content if isinstance(content, str) else json.dumps(content, default=repr, ensure_ascii=False)
    said = error if isinstance(error, str) else _says(error)
    row = {"source": source, "key": key[:1000], "content": repair_surrogates(text), "error": said[:1000]}
    connection.execute(insert(QUARANTINE).values(at=now, **row))


def move(connection: Connection, found: Iterable[UnreadableRow], now: datetime) -> None:
    """Move rows to the quarantine, as they are."""
    for one in found:
        chosen = [column == one.key[column.name] for column in one.table.primary_key]
        raw = [cast(column, Text).label(column.name) for column in one.table.columns]
        row = connection.execute(select(*raw).where(*chosen)).mappings().first()
        if row is not None:
            keep(connection, one.table.name, one.name, dict(row), one.error, now)
            connection.execute(delete(one.table).where(*chosen))


def is_kept(connection: Connection, source: str, key: str) -> bool:
    """Tell whether something is in quarantine already, by where it was and its key."""
    query = select(QUARANTINE.c.id).where(QUARANTINE.c.source == source, QUARANTINE.c.key == key)
    return connection.execute(query.limit(1)).first() is not None


def rows(connection: Connection, limit: int = 100) -> Sequence[QuarantinedRow]:
    """Return the newest rows in quarantine, newest first."""
    found = connection.execute(select(QUARANTINE).order_by(QUARANTINE.c.id.desc()).limit(limit))
    return [QuarantinedRow(row.id, row.at, row.source, row.key, row.content, row.error) for row in found]


def forget(connection: Connection, number: int) -> bool:
    """Delete a row that is in quarantine; return whether it was there."""
    return connection.execute(delete(QUARANTINE).where(QUARANTINE.c.id == number)).rowcount > 0


def counts(connection: Connection) -> dict[str, int]:
    """Return how many rows are in quarantine, by where they were."""
    query = select(QUARANTINE.c.source, func.count().label("many")).group_by(QUARANTINE.c.source)
    return {row.source: row.many for row in connection.execute(query)}


def _says(error: Exception) -> str:
    return repair_surrogates(f"{type(error).__name__}: {error}")[:1000]


class Quarantine:
    """
    Knows what is in quarantine and what is skipped, for health, metrics and toban's alert about itself.

    A skipped item is reported for as long as it fails each time; what is in quarantine until somebody has looked at
    it: `toban quarantine`.
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
        """Count what is in quarantine, until cancelled."""
        await run_periodically(self.name, LOOK_EVERY, self.refresh, clock=self._clock, meters=self._meters)

    async def refresh(self) -> None:
        """Count what is in quarantine now."""
        try:
            now = await self._transaction(counts)
        except StateError:
            return  # told and remembered where it was met
        for source in self._rows.keys() - now.keys():
            self._meters.set(ROWS, 0, source=source)
        for source, many in now.items():
            self._meters.set(ROWS, many, source=source)
        self._rows = now

    def report(self, owner: str, failures: Iterable[ItemFailure]) -> None:
        """Note what one part of toban skips now: all of it, so that what it no longer skips is well again."""
        now, found = self._clock.now(), {(owner, it.part, it.item): it for it in failures}
        for key, failure in found.items():
            if key not in self._skipped and len(self._skipped) < MOST:
                self._meters.add(SKIPPED, part=failure.part)
                told = {"part": failure.part, "item": failure.item, "error": failure.error}
                log.error("skipped", **told, exc_info=failure.cause)
            self._skipped[key] = replace(failure, cause=None), now
        for key in [key for key in list(self._skipped) if key[0] == owner and key not in found]:
            failure, _ = self._skipped.pop(key)
            log.info("no longer skipped", part=failure.part, item=failure.item)

    def health(self) -> HealthStatus:
        """Say what is skipped and what is in quarantine."""
        oldest = self._clock.now() - REMEMBERED
        skipped = [failure for failure, at in list(self._skipped.values()) if at > oldest]
        said = [f"{it.part} {it.item} is skipped: {it.error}" for it in skipped[:LISTED]]
        if len(skipped) > LISTED:
            said.append(f"{len(skipped) - LISTED} more items are skipped")
        if self._rows:
            where = ", ".join(f"{many} of {source}" for source, many in sorted(self._rows.items()))
            said.append(f"rows of state can't be read ({where}): see `toban quarantine`")
        return HealthStatus(not said, "; ".join(said) or "nothing is skipped, all of state can be read")
