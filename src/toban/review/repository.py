"""The tables of firings and of their sums by month."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Row,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from toban.review.firing import Firing, MonthSum
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

MAX_FIRINGS: Final = 200_000
"""How many firings are kept: of older ones only the sums stay."""

FIRINGS: Final = Table(
    "alert_firing",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("rule", SafeString(200), nullable=False),
    Column("fingerprint", SafeString(16), nullable=False),
    Column("fired", Timestamp, nullable=False),
    Column("ended", Timestamp),
    Column("body", Json, nullable=False),
    UniqueConstraint("fingerprint", "fired", name="alert_firing_once"),
    Index("alert_firing_rule", "rule", "fired"),
    Index("alert_firing_fired", "fired"),
    Index("alert_firing_ended", "ended"),
)
"""An event that comes twice, after a crash, changes the same row: ``fingerprint`` and ``fired`` are unique."""

MONTHS: Final = Table(
    "alert_firing_month",
    metadata,
    Column("month", SafeString(7), primary_key=True),
    Column("rule", SafeString(200), primary_key=True),
    Column("body", Json, nullable=False),
)


def changing(connection: Connection, ended_since: datetime) -> list[Firing]:
    """Return the firings that have not ended, or ended since a time."""
    query = select(FIRINGS).where(or_(FIRINGS.c.ended.is_(None), FIRINGS.c.ended >= ended_since))
    return _firings(connection, query.order_by(FIRINGS.c.id))


def between(
    connection: Connection, begins: datetime, ends: datetime, rule: str = "", limit: int = MAX_FIRINGS
) -> list[Firing]:
    """Return the firings that fired between two times, newest first; of one rule, if one is named."""
    query = select(FIRINGS).where(FIRINGS.c.fired >= begins, FIRINGS.c.fired < ends)
    query = query.where(FIRINGS.c.rule == rule) if rule else query
    return _firings(connection, query.order_by(FIRINGS.c.fired.desc(), FIRINGS.c.id.desc()).limit(limit))


def save(connection: Connection, changes: Iterable[tuple[Firing | None, Firing]]) -> None:
    """Write firings that changed, each with what it was before, and the sums of their months."""
    sums: dict[tuple[str, str], MonthSum] = {}
    for before, after in changes:
        key = after.month, after.rule[:200]
        known = sums[key] if key in sums else _month(connection, *key)
        sums[key] = known.changed(MonthSum.of(before) if before else None, MonthSum.of(after))
        _save(connection, after)
    for (month, rule), total in sums.items():
        connection.execute(delete(MONTHS).where(MONTHS.c.month == month, MONTHS.c.rule == rule))
        connection.execute(insert(MONTHS).values(month=month, rule=rule, body=total.as_dict()))


def months(connection: Connection, since: str, rule: str = "") -> list[tuple[str, str, MonthSum]]:
    """Return the sums since a month, newest month first: month, rule and sum."""
    query = select(MONTHS).where(MONTHS.c.month >= since)
    query = query.where(MONTHS.c.rule == rule) if rule else query
    rows = connection.execute(query.order_by(MONTHS.c.month.desc(), MONTHS.c.rule))
    return readable_rows(connection, MONTHS, rows, lambda row: (row.month, row.rule, MonthSum.from_dict(row.body)))


def prune(connection: Connection, before: datetime, month: str, most: int = MAX_FIRINGS) -> None:
    """Delete firings that ended before a time, the oldest where there are too many, and sums before a month."""
    connection.execute(delete(FIRINGS).where(FIRINGS.c.ended < before))
    newest = int(connection.execute(select(func.max(FIRINGS.c.id))).scalar() or 0)
    connection.execute(delete(FIRINGS).where(FIRINGS.c.id <= newest - most, FIRINGS.c.ended.is_not(None)))
    connection.execute(delete(MONTHS).where(MONTHS.c.month < month))


def _save(connection: Connection, firing: Firing) -> None:
    known = (FIRINGS.c.fingerprint == firing.fingerprint) & (FIRINGS.c.fired == firing.fired)
    values = {"ended": firing.ended, "body": firing.as_dict()}
    if not connection.execute(update(FIRINGS).where(known).values(**values)).rowcount:
        rule = firing.rule[:200]
        connection.execute(
            insert(FIRINGS).values(rule=rule, fingerprint=firing.fingerprint, fired=firing.fired, **values)
        )


def _month(connection: Connection, month: str, rule: str) -> MonthSum:
    query = select(MONTHS).where(MONTHS.c.month == month, MONTHS.c.rule == rule)
    found = readable_rows(connection, MONTHS, connection.execute(query), lambda row: MonthSum.from_dict(row.body))
    return found[0] if found else MonthSum()


def _firings(connection: Connection, query: Any) -> list[Firing]:
    return readable_rows(connection, FIRINGS, connection.execute(query), _firing)


def _firing(row: Row[Any]) -> Firing:
    return Firing.from_row(row.id, row.rule, row.fingerprint, row.fired, row.ended, row.body)
