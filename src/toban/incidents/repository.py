"""Tables of incidents: the incidents, their timelines, and the alerts that have not opened one yet."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Index, Row, Table, delete, func, insert, or_, select, update

from toban.core.alerts import Alert
from toban.incidents.book import IncidentBook
from toban.incidents.incident import EntryKind, Incident, IncidentState, TimelineEntry
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

INCIDENTS: Final = Table(
    "incident",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("state", SafeString(20), nullable=False),
    Column("priority", SafeString(2), nullable=False),
    Column("opened", Timestamp, nullable=False),
    Column("resolved", Timestamp),
    Column("body", Json, nullable=False),
    Index("incident_state", "state", "resolved"),
)
TIMELINE: Final = Table(
    "incident_timeline",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("incident", Id, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("kind", SafeString(30), nullable=False),
    Column("actor", SafeString(200), nullable=False),
    Column("facts", Json, nullable=False),
    Index("incident_timeline_incident", "incident", "id"),
)
WAITING: Final = Table(
    "incident_waiting_alert",
    metadata,
    Column("fingerprint", SafeString(16), primary_key=True),
    Column("body", Json, nullable=False),
)


def load(connection: Connection, resolved_since: datetime) -> IncidentBook:
    """Return the incidents that are open, or were resolved since a time, and the waiting alerts."""
    is_recent = or_(INCIDENTS.c.state != IncidentState.RESOLVED.value, INCIDENTS.c.resolved >= resolved_since)
    found = _incidents(connection, connection.execute(select(INCIDENTS).where(is_recent).order_by(INCIDENTS.c.id)))
    rows = connection.execute(select(WAITING))
    waiting = readable_rows(connection, WAITING, rows, lambda row: (row.fingerprint, Alert.from_dict(row.body)))
    newest = connection.execute(select(func.max(INCIDENTS.c.id))).scalar() or 0
    return IncidentBook({it.id: it for it in found}, dict(waiting), int(newest) + 1)


def save(connection: Connection, before: IncidentBook, after: IncidentBook) -> None:
    """Write the differences between two books."""
    for number, incident in after.incidents.items():
        known = before.incidents.get(number)
        if known is not incident and known != incident:
            save_incident(connection, incident)
    gone = [name for name in before.waiting if name not in after.waiting]
    if gone:
        connection.execute(delete(WAITING).where(WAITING.c.fingerprint.in_(gone)))
    for name, alert in after.waiting.items():
        waited = before.waiting.get(name)
        if waited is not alert and waited != alert:
            connection.execute(delete(WAITING).where(WAITING.c.fingerprint == name))
            connection.execute(insert(WAITING).values(fingerprint=name, body=alert.as_dict()))


def save_incident(connection: Connection, incident: Incident) -> None:
    """Write an incident, a new or a changed one."""
    values = {
        "state": incident.state.value,
        "priority": incident.priority,
        "opened": incident.opened,
        "resolved": incident.resolved,
        "body": incident.as_dict(),
    }
    if connection.execute(update(INCIDENTS).where(INCIDENTS.c.id == incident.id).values(**values)).rowcount == 0:
        connection.execute(insert(INCIDENTS).values(id=incident.id, **values))


def incidents(connection: Connection, limit: int, before: int | None = None) -> list[Incident]:
    """Return the newest incidents, newest first: with a number below ``before``, if that is given."""
    query = select(INCIDENTS).order_by(INCIDENTS.c.id.desc()).limit(limit)
    return _incidents(connection, connection.execute(query if before is None else query.where(INCIDENTS.c.id < before)))


def incidents_between(connection: Connection, since: datetime, until: datetime) -> list[Incident]:
    """Return the incidents that were open at some time between two times, oldest first; merged ones are left out."""
    was_open = (INCIDENTS.c.opened < until) & or_(INCIDENTS.c.resolved.is_(None), INCIDENTS.c.resolved >= since)
    found = _incidents(connection, connection.execute(select(INCIDENTS).where(was_open).order_by(INCIDENTS.c.id)))
    return [it for it in found if not it.merged_into]


def incident(connection: Connection, number: int) -> Incident | None:
    """Return one incident."""
    found = _incidents(connection, connection.execute(select(INCIDENTS).where(INCIDENTS.c.id == number)))
    return found[0] if found else None


def add_entries(connection: Connection, entries: Iterable[TimelineEntry]) -> None:
    """Write entries of timelines."""
    rows = [
        {"incident": it.incident, "at": it.at, "kind": it.kind.value, "actor": it.actor, "facts": dict(it.facts)}
        for it in entries
    ]
    if rows:
        connection.execute(insert(TIMELINE), rows)


def timeline(connection: Connection, number: int, limit: int = 1_000) -> list[TimelineEntry]:
    """Return the newest entries of an incident's timeline, oldest first."""
    query = select(TIMELINE).where(TIMELINE.c.incident == number).order_by(TIMELINE.c.id.desc()).limit(limit)
    return readable_rows(connection, TIMELINE, connection.execute(query), _entry)[::-1]


def timelines_between(
    connection: Connection, since: datetime, until: datetime, kinds: Iterable[EntryKind], limit: int = 10_000
) -> list[TimelineEntry]:
    """Return the newest entries of some kinds of the incidents that were open at some time between two times."""
    was_open = (INCIDENTS.c.opened < until) & or_(INCIDENTS.c.resolved.is_(None), INCIDENTS.c.resolved >= since)
    query = (
        select(TIMELINE)
        .where(TIMELINE.c.incident.in_(select(INCIDENTS.c.id).where(was_open)))
        .where(TIMELINE.c.kind.in_([it.value for it in kinds]))
        .order_by(TIMELINE.c.id.desc())
        .limit(limit)
    )
    return readable_rows(connection, TIMELINE, connection.execute(query), _entry)[::-1]


def move_entries(connection: Connection, source: int, target: int) -> None:
    """Move the timeline of one incident to another."""
    connection.execute(update(TIMELINE).where(TIMELINE.c.incident == source).values(incident=target))


def prune(connection: Connection, before: datetime) -> None:
    """Delete incidents that were resolved before a time, and their timelines."""
    old = select(INCIDENTS.c.id).where(INCIDENTS.c.resolved < before)
    connection.execute(delete(TIMELINE).where(TIMELINE.c.incident.in_(old)))
    connection.execute(delete(INCIDENTS).where(INCIDENTS.c.resolved < before))


def _incidents(connection: Connection, rows: Iterable[Row[Any]]) -> list[Incident]:
    return readable_rows(connection, INCIDENTS, rows, lambda row: Incident.from_dict(row.id, row.body))


def _entry(row: Row[Any]) -> TimelineEntry:
    facts: Mapping[str, Any] = dict(row.facts)
    return TimelineEntry(row.incident, row.at, EntryKind(row.kind), row.actor, facts, row.id)
