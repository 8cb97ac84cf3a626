"""Tables of notify: tracked alerts, groups, channel handles, silences, channel failures, stage notes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from toban.core.item_isolation import ItemFailure
from toban.core.matcher_syntax import parse_matchers
from toban.notify.channel import Handle
from toban.notify.delivery_attempt import DeliveryAttempt
from toban.notify.flap_detection import TrackedAlert
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import PipelineState, StageNote
from toban.notify.silences import Silence
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import UnreadableRow, is_kept, move, readable_rows

TRACKED_ALERTS: Final = Table(
    "notify_alert",
    metadata,
    Column("fingerprint", SafeString(16), primary_key=True),
    Column("body", Json, nullable=False),
)
GROUPS: Final = Table(
    "notify_group",
    metadata,
    Column("id", SafeString(40), primary_key=True),
    Column("body", Json, nullable=False),
)
HANDLE: Final = Table(
    "notify_handle",
    metadata,
    Column("group_id", SafeString(40), primary_key=True),
    Column("channel", SafeString(200), primary_key=True),
    Column("body", Json, nullable=False),
    Column("updated", Timestamp, nullable=False),
)
SILENCE: Final = Table(
    "notify_silence",
    metadata,
    Column("id", SafeString(36), primary_key=True),
    Column("matchers", Json, nullable=False),
    Column("starts", Timestamp, nullable=False),
    Column("ends", Timestamp, nullable=False),
    Column("by", SafeString(200), nullable=False),
    Column("comment", SafeString(2000), nullable=False),
    Column("updated", Timestamp, nullable=False),
    Column("announced", Boolean, nullable=False),
)
CHANNEL_FAILURES: Final = Table(
    "notify_channel_failure",
    metadata,
    Column("channel", SafeString(200), primary_key=True),
    Column("since", Timestamp, nullable=False),
    Column("error", SafeString(1000), nullable=False),
    Column("permanent", Boolean, nullable=False),
)
REROUTED: Final = Table(
    "notify_reroute",
    metadata,
    Column("key", SafeString(300), primary_key=True),
    Column("at", Timestamp, nullable=False),
)
NOTE: Final = Table(
    "notify_stage_note",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("fingerprint", SafeString(16), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("stage", SafeString(20), nullable=False),
    Column("reason", SafeString(1000), nullable=False),
    Index("notify_stage_note_alert", "fingerprint", "id"),
)


@dataclass(frozen=True, slots=True)
class ChannelFailure:
    """A channel whose last delivery failed: since when, why, and whether permanently."""

    channel: str
    since: datetime
    message: str
    permanent: bool


def load(connection: Connection) -> PipelineState:
    """Return tracked alerts and open groups."""
    alerts, groups = connection.execute(select(TRACKED_ALERTS)), connection.execute(select(GROUPS))
    return PipelineState(
        dict(
            readable_rows(
                connection, TRACKED_ALERTS, alerts, lambda row: (row.fingerprint, TrackedAlert.from_dict(row.body))
            )
        ),
        dict(readable_rows(connection, GROUPS, groups, lambda row: (row.id, NotificationGroup.from_dict(row.body)))),
    )


def save(connection: Connection, before: PipelineState, after: PipelineState) -> None:
    """Write the differences between two states."""
    _save(connection, TRACKED_ALERTS, TRACKED_ALERTS.c.fingerprint, before.alerts, after.alerts)
    _save(connection, GROUPS, GROUPS.c.id, before.groups, after.groups)


def set_aside(connection: Connection, failures: Iterable[ItemFailure], now: datetime) -> None:
    """Move groups that can't be decided about to quarantine; one that is there already is only deleted."""
    for it in failures:
        if is_kept(connection, GROUPS.name, it.item):
            connection.execute(delete(GROUPS).where(GROUPS.c.id == it.item))
        else:
            move(connection, [UnreadableRow(GROUPS, {"id": it.item}, it.error)], now)


def _save(
    connection: Connection, table: Table, key: Column[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    gone = [name for name in before if name not in after]
    new = [{key.name: name, "body": it.as_dict()} for name, it in after.items() if name not in before]
    changed = [
        {"name": name, "now": it.as_dict()}
        for name, it in after.items()
        if name in before and before[name] is not it and before[name] != it
    ]
    if gone:
        connection.execute(delete(table).where(key == bindparam("name")), [{"name": name} for name in gone])
    if new:
        connection.execute(insert(table), new)
    if changed:
        connection.execute(update(table).where(key == bindparam("name")).values(body=bindparam("now")), changed)


def load_handle(connection: Connection, group_id: str, channel: str) -> Handle:
    """Return a channel's handle of a group; empty before its first message."""
    row = (HANDLE.c.group_id == group_id) & (HANDLE.c.channel == channel)
    found = readable_rows(connection, HANDLE, connection.execute(select(HANDLE).where(row)), lambda row: dict(row.body))
    return found[0] if found else {}


def save_handle(connection: Connection, group_id: str, channel: str, body: Handle, now: datetime) -> None:
    """Store a channel's handle of a group."""
    connection.execute(delete(HANDLE).where(HANDLE.c.group_id == group_id, HANDLE.c.channel == channel))
    connection.execute(insert(HANDLE).values(group_id=group_id, channel=channel, body=dict(body), updated=now))


@dataclass(frozen=True, slots=True)
class RefusedRecipient:
    """A recipient whose messages are rejected: since when, the receiver's words, and whether permanently."""

    name: str
    since: datetime
    message: str
    permanent: bool


_RECIPIENTS: Final = ""
"""The group id under which a channel stores its recipients, which belong to no group."""


def refused_recipients(connection: Connection, channel: str) -> dict[str, RefusedRecipient]:
    """Return the recipients of a channel whose last message was rejected."""
    found = {}
    for name, it in load_handle(connection, _RECIPIENTS, channel).items():
        found[name] = RefusedRecipient(name, datetime.fromisoformat(it["since"]), it["says"], it["permanent"])
    return found


def record_recipients(connection: Connection, channel: str, attempt: DeliveryAttempt, now: datetime) -> None:
    """Record which recipients an attempt reached, and which rejected it; since when stays what it was."""
    before = load_handle(connection, _RECIPIENTS, channel)
    after = {name: it for name, it in before.items() if name not in attempt.accepted}
    for name, refusal in attempt.refused.items():
        since = before.get(name, {}).get("since", now.isoformat())
        after[name] = {"since": since, "says": refusal.message, "permanent": refusal.permanent}
    if after != before:
        save_handle(connection, _RECIPIENTS, channel, after, now)


def was_delivered(connection: Connection, groups: Sequence[str], channel: str, since: datetime) -> bool:
    """Tell whether a channel accepted a message of some groups since a time."""
    row = (HANDLE.c.group_id.in_(groups)) & (HANDLE.c.channel == channel) & (HANDLE.c.updated >= since)
    return connection.execute(select(HANDLE.c.group_id).where(row).limit(1)).first() is not None


def silences(connection: Connection, now: datetime | None = None) -> list[Silence]:
    """Return all silences, or those that have not expired."""
    query = select(SILENCE).order_by(SILENCE.c.starts, SILENCE.c.id)
    rows = connection.execute(query if now is None else query.where(SILENCE.c.ends > now))
    return readable_rows(
        connection,
        SILENCE,
        rows,
        lambda row: Silence(
            row.id, tuple(parse_matchers(row.matchers)), row.starts, row.ends, row.by, row.comment, row.updated
        ),
    )


def save_silence(connection: Connection, silence: Silence) -> None:
    """Store a silence, a new or a changed one."""
    connection.execute(delete(SILENCE).where(SILENCE.c.id == silence.id))
    connection.execute(
        insert(SILENCE).values(
            id=silence.id,
            matchers=[str(matcher) for matcher in silence.matchers],
            starts=silence.starts,
            ends=silence.ends,
            by=silence.by,
            comment=silence.comment,
            updated=silence.updated,
            announced=False,
        )
    )


def many_silences(connection: Connection, now: datetime) -> int:
    """Return how many silences have not expired."""
    return int(connection.execute(select(func.count()).where(SILENCE.c.ends > now)).scalar_one())


def unannounced_silences(connection: Connection, before: datetime) -> set[str]:
    """Return the silences that end before a time and whose end was not announced."""
    rows = connection.execute(select(SILENCE.c.id).where(SILENCE.c.ends <= before, SILENCE.c.announced.is_(False)))
    return set(rows.scalars())


def mark_announced(connection: Connection, silence: str) -> None:
    """Record that the end of a silence was announced."""
    connection.execute(update(SILENCE).where(SILENCE.c.id == silence).values(announced=True))


def channel_failures(connection: Connection) -> dict[str, ChannelFailure]:
    """Return the channels whose last delivery failed."""
    rows = connection.execute(select(CHANNEL_FAILURES))
    found = readable_rows(
        connection, CHANNEL_FAILURES, rows, lambda row: ChannelFailure(row.channel, row.since, row.error, row.permanent)
    )
    return {failure.channel: failure for failure in found}


def record_channel_failure(connection: Connection, channel: str, error: str, now: datetime, *, permanent: bool) -> None:
    """Record that a channel's delivery failed; since when stays what it was."""
    error = error[:1000]
    changed = (
        update(CHANNEL_FAILURES).where(CHANNEL_FAILURES.c.channel == channel).values(error=error, permanent=permanent)
    )
    if connection.execute(changed).rowcount == 0:
        connection.execute(
            insert(CHANNEL_FAILURES).values(channel=channel, since=now, error=error, permanent=permanent)
        )


def clear_channel_failure(connection: Connection, channel: str) -> None:
    """Record that a channel delivered."""
    connection.execute(delete(CHANNEL_FAILURES).where(CHANNEL_FAILURES.c.channel == channel))


def claim_reroute(connection: Connection, key: str, now: datetime) -> bool:
    """Record that a message is rerouted; false when it was recorded before."""
    if connection.execute(select(REROUTED.c.key).where(REROUTED.c.key == key)).first():
        return False
    connection.execute(insert(REROUTED).values(key=key, at=now))
    return True


def save_notes(connection: Connection, notes: Iterable[tuple[str, StageNote]], now: datetime) -> None:
    """Store what the stages did with alerts."""
    rows = [{"fingerprint": name, "at": now, "stage": note.stage, "reason": note.reason[:1000]} for name, note in notes]
    if rows:
        connection.execute(insert(NOTE), rows)


def notes(connection: Connection, fingerprint: str, limit: int = 100) -> Sequence[tuple[datetime, StageNote]]:
    """Return the newest stage notes of an alert, oldest first."""
    rows = connection.execute(
        select(NOTE).where(NOTE.c.fingerprint == fingerprint).order_by(NOTE.c.id.desc()).limit(limit)
    )
    return readable_rows(connection, NOTE, rows, lambda row: (row.at, StageNote(row.stage, row.reason)))[::-1]


def prune(connection: Connection, before: datetime) -> None:
    """Delete stage notes, reroutes, expired silences and closed groups' handles from before a time."""
    connection.execute(delete(NOTE).where(NOTE.c.at < before))
    connection.execute(delete(REROUTED).where(REROUTED.c.at < before))
    connection.execute(delete(SILENCE).where(SILENCE.c.ends < before))
    open_groups = select(GROUPS.c.id)
    closed = HANDLE.c.group_id.not_in(open_groups) & (HANDLE.c.group_id != _RECIPIENTS)
    connection.execute(delete(HANDLE).where(HANDLE.c.updated < before, closed))
