"""Stores active alerts, which rules have ever had data, and the targets of the last run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from toban.alerting.states import ActiveAlert
from toban.core.alerts import TOPIC, Alert, AlertChange
from toban.core.labels import Labels
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.column_types import Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

ALERT: Final = Table(
    "alert",
    metadata,
    Column("rule", SafeString(2000), primary_key=True),
    Column("fingerprint", SafeString(16), primary_key=True),
    Column("body", Json, nullable=False),
)
RULE: Final = Table(
    "alert_rule",
    metadata,
    Column("rule", SafeString(2000), primary_key=True),
    Column("has_data_since", Timestamp, nullable=False),
)
TARGET: Final = Table("alert_target", metadata, Column("name", SafeString(200), primary_key=True))
FALLBACK_POSITION: Final = Table(
    "alert_fallback_position",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("record", BigInteger, nullable=False),
)
"""One row: the number of the last record of the fallback file that is in state."""


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One write: an active alert (or that there is none any more), its event, and its row of the audit log."""

    rule: str
    fingerprint: str
    active: ActiveAlert | None
    change: AlertChange | None = None
    audit: AuditEntry | None = None

    def line(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "rule": self.rule,
            "fingerprint": self.fingerprint,
            "active": dump_alert(self.active) if self.active else None,
            "change": self.change.as_dict() if self.change else None,
            "audit": self.audit.as_dict() if self.audit else None,
        }

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """Return the record that `line` wrote."""
        # A file that toban 0.1 left behind calls it `standing`.
        active, change, audit = line.get("active", line.get("standing")), line["change"], line.get("audit")
        return cls(
            line["rule"],
            line["fingerprint"],
            parse_alert(active) if active else None,
            AlertChange.from_dict(change) if change else None,
            AuditEntry.from_dict(audit) if audit else None,
        )


def dump_alert(active: ActiveAlert) -> dict[str, Any]:
    """Return an active alert as plain data."""
    return {**active.alert.as_dict(), "unmet_since": active.unmet_since.isoformat() if active.unmet_since else None}


def parse_alert(body: Mapping[str, Any]) -> ActiveAlert:
    """Return the active alert that `dump_alert` wrote."""
    unmet_since = body.get("unmet_since")
    return ActiveAlert(Alert.from_dict(body), datetime.fromisoformat(unmet_since) if unmet_since else None)


def load(connection: Connection) -> dict[str, dict[Labels, ActiveAlert]]:
    """Return all alerts, by rule."""
    found: dict[str, dict[Labels, ActiveAlert]] = {}
    rows = connection.execute(select(ALERT))
    for rule, active in readable_rows(connection, ALERT, rows, lambda row: (row.rule, parse_alert(row.body))):
        found.setdefault(rule, {})[active.alert.labels] = active
    return found


def save(connection: Connection, entries: Iterable[AlertRecord]) -> None:
    """Write records, with their events and their rows of the audit log."""
    entries = list(entries)
    # Of several records of an alert the last counts; each change is an event.
    newest = {(entry.rule, entry.fingerprint): entry for entry in entries}
    if not newest:
        return
    connection.execute(
        delete(ALERT).where(ALERT.c.rule == bindparam("of"), ALERT.c.fingerprint == bindparam("named")),
        [{"of": rule, "named": fingerprint} for rule, fingerprint in newest],
    )
    rows = [
        {"rule": entry.rule, "fingerprint": entry.fingerprint, "body": dump_alert(entry.active)}
        for entry in newest.values()
        if entry.active
    ]
    if rows:
        connection.execute(insert(ALERT), rows)
    event_log.append_all(connection, TOPIC, [(it.change.as_dict(), it.change.at) for it in entries if it.change])
    for it in entries:
        if it.audit:
            audit_log.record(connection, it.audit)


def last_record(connection: Connection) -> int:
    """Return the number of the last record of the fallback file that is in state."""
    return int(connection.execute(select(FALLBACK_POSITION.c.record)).scalar() or 0)


def save_last_record(connection: Connection, number: int) -> None:
    """Store that the fallback file is in state up to this record."""
    table = FALLBACK_POSITION
    if connection.execute(update(table).where(table.c.id == 1).values(record=number)).rowcount == 0:
        connection.execute(insert(table).values(id=1, record=number))


def rules_with_data(connection: Connection) -> dict[str, datetime]:
    """Return which rules have ever had data, and since when."""
    rows = connection.execute(select(RULE))
    return dict(readable_rows(connection, RULE, rows, lambda row: (row.rule, row.has_data_since)))


def record_rule_with_data(connection: Connection, rule: str, at: datetime | None) -> None:
    """Store since when a rule has data; or, without a time, that it never had any."""
    connection.execute(delete(RULE).where(RULE.c.rule == rule))
    if at:
        connection.execute(insert(RULE).values(rule=rule, has_data_since=at))


def replace_targets(connection: Connection, names: Iterable[str]) -> set[str]:
    """Store the names of the targets, and return those of the last run that are gone."""
    before = set(connection.execute(select(TARGET.c.name)).scalars())
    now = set(names)
    connection.execute(delete(TARGET))
    if now:
        connection.execute(insert(TARGET), [{"name": name} for name in sorted(now)])
    return before - now
