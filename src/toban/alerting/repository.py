"""What alerting must remember: alerts as they stand, which rules ever had something to judge, what was watched."""

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
from toban.state import event_log
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
    Column("seen", Timestamp, nullable=False),
)
TARGET: Final = Table("alert_target", metadata, Column("name", SafeString(200), primary_key=True))
CAUGHT_UP: Final = Table(
    "alert_caught_up",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One line of what is to be written: an alert as it stands now (or no more), and the change to tell of it."""

    rule: str
    fingerprint: str
    standing: ActiveAlert | None
    change: AlertChange | None = None

    def line(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "rule": self.rule,
            "fingerprint": self.fingerprint,
            "standing": dump_alert(self.standing) if self.standing else None,
            "change": self.change.as_dict() if self.change else None,
        }

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """Return the entry that `line` wrote down."""
        standing, change = line["standing"], line["change"]
        return cls(
            line["rule"],
            line["fingerprint"],
            parse_alert(standing) if standing else None,
            AlertChange.from_dict(change) if change else None,
        )


def dump_alert(standing: ActiveAlert) -> dict[str, Any]:
    """Return a standing as plain data."""
    return {**standing.alert.as_dict(), "quiet": standing.unmet_since.isoformat() if standing.unmet_since else None}


def parse_alert(body: Mapping[str, Any]) -> ActiveAlert:
    """Return the standing that `written` wrote down."""
    quiet = body.get("quiet")
    return ActiveAlert(Alert.from_dict(body), datetime.fromisoformat(quiet) if quiet else None)


def load(connection: Connection) -> dict[str, dict[Labels, ActiveAlert]]:
    """Return all alerts, by rule."""
    found: dict[str, dict[Labels, ActiveAlert]] = {}
    rows = connection.execute(select(ALERT))
    for rule, standing in readable_rows(connection, ALERT, rows, lambda row: (row.rule, parse_alert(row.body))):
        found.setdefault(rule, {})[standing.alert.labels] = standing
    return found


def save(connection: Connection, entries: Iterable[AlertRecord]) -> None:
    """Write entries, and tell the feed of their changes."""
    entries = list(entries)
    # Of several entries for one alert the last counts; each change is told.
    newest = {(entry.rule, entry.fingerprint): entry for entry in entries}
    if not newest:
        return
    connection.execute(
        delete(ALERT).where(ALERT.c.rule == bindparam("of"), ALERT.c.fingerprint == bindparam("named")),
        [{"of": rule, "named": fingerprint} for rule, fingerprint in newest],
    )
    rows = [
        {"rule": entry.rule, "fingerprint": entry.fingerprint, "body": dump_alert(entry.standing)}
        for entry in newest.values()
        if entry.standing
    ]
    if rows:
        connection.execute(insert(ALERT), rows)
    event_log.append_all(connection, TOPIC, [(it.change.as_dict(), it.change.at) for it in entries if it.change])


def caught_up(connection: Connection) -> int:
    """Return the number of the last entry that came from the file beside state."""
    return int(connection.execute(select(CAUGHT_UP.c.entry)).scalar() or 0)


def catch_up(connection: Connection, number: int) -> None:
    """Note that everything in the file beside state up to this entry is in state."""
    if connection.execute(update(CAUGHT_UP).where(CAUGHT_UP.c.one == 1).values(entry=number)).rowcount == 0:
        connection.execute(insert(CAUGHT_UP).values(one=1, entry=number))


def rules_with_data(connection: Connection) -> dict[str, datetime]:
    """Return which rules ever had something to judge, and since when."""
    return dict(readable_rows(connection, RULE, connection.execute(select(RULE)), lambda row: (row.rule, row.seen)))


def record_rule_with_data(connection: Connection, rule: str, at: datetime | None) -> None:
    """Note that a rule has something to judge from now on; or, without a time, that it never had."""
    connection.execute(delete(RULE).where(RULE.c.rule == rule))
    if at:
        connection.execute(insert(RULE).values(rule=rule, seen=at))


def replace_targets(connection: Connection, names: Iterable[str]) -> set[str]:
    """Note what is watched now, and return what was watched before and is no longer."""
    before = set(connection.execute(select(TARGET.c.name)).scalars())
    now = set(names)
    connection.execute(delete(TARGET))
    if now:
        connection.execute(insert(TARGET), [{"name": name} for name in sorted(now)])
    return before - now
