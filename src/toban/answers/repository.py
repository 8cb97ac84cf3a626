"""Tables of answers: what was received, each once, and which incident is which at PagerDuty."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Index, Integer, Row, Table, delete, insert, select, update

from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

RECEIVED: Final = Table(
    "received_answer",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("key", SafeString(100), nullable=False, unique=True),
    Column("source", SafeString(200), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("body", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("done", Timestamp),
    Index("received_answer_done", "done", "id"),
)
PAGERDUTY: Final = Table(
    "pagerduty_incident",
    metadata,
    Column("id", SafeString(100), primary_key=True),
    Column("incident", Id, nullable=False),
    Column("at", Timestamp, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ReceivedAnswer:
    """A click, a command or an event as it was received; ``attempts`` were made to execute it."""

    id: int
    source: str
    at: datetime
    body: Mapping[str, Any]
    attempts: int


def add(connection: Connection, key: str, source: str, body: Mapping[str, Any], at: datetime) -> bool:
    """Write what was received; tell whether it is new: the same key may come twice."""
    if connection.execute(select(RECEIVED.c.id).where(RECEIVED.c.key == key)).first():
        return False
    connection.execute(insert(RECEIVED).values(key=key, source=source, at=at, body=dict(body), attempts=0))
    return True


def waiting(connection: Connection, limit: int) -> list[ReceivedAnswer]:
    """Return what is not executed yet, oldest first."""
    rows = connection.execute(select(RECEIVED).where(RECEIVED.c.done.is_(None)).order_by(RECEIVED.c.id).limit(limit))
    return readable_rows(connection, RECEIVED, rows, _received)


def count_attempt(connection: Connection, number: int, attempts: int) -> None:
    """Write that an attempt begins: what ends toban is not tried for ever."""
    connection.execute(update(RECEIVED).where(RECEIVED.c.id == number).values(attempts=attempts))


def finish(connection: Connection, number: int, at: datetime) -> None:
    """Write that it is executed; only that it came is kept."""
    connection.execute(update(RECEIVED).where(RECEIVED.c.id == number).values(done=at, body={}))


def prune(connection: Connection, before: datetime) -> None:
    """Delete what was executed before a time, and incidents at PagerDuty that were last named before it."""
    connection.execute(delete(RECEIVED).where(RECEIVED.c.done < before))
    connection.execute(delete(PAGERDUTY).where(PAGERDUTY.c.at < before))


def remember_pagerduty(connection: Connection, name: str, incident: int, at: datetime) -> None:
    """Write which incident an ID at PagerDuty stands for."""
    connection.execute(delete(PAGERDUTY).where(PAGERDUTY.c.id == name))
    connection.execute(insert(PAGERDUTY).values(id=name, incident=incident, at=at))


def pagerduty_incident(connection: Connection, name: str) -> int | None:
    """Return the incident that an ID at PagerDuty stands for."""
    found = connection.execute(select(PAGERDUTY.c.incident).where(PAGERDUTY.c.id == name)).scalar()
    return None if found is None else int(found)


def _received(row: Row[Any]) -> ReceivedAnswer:
    return ReceivedAnswer(row.id, row.source, row.at, dict(row.body), row.attempts)
