"""What notify must remember: alerts as heard, threads, what channels keep of them, silences, and why."""

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

from toban.core.item_isolation import Failure
from toban.notify.channel import Attempt, Handle
from toban.notify.flap_detection import Heard
from toban.notify.matcher_syntax import matchers
from toban.notify.muting import Silence
from toban.notify.notification_group import Thread
from toban.notify.pipeline import Note, Picture
from toban.state.column_types import Id, Json, Moment, SafeString, metadata
from toban.state.quarantine import Found, is_kept, move, readable

HEARD: Final = Table(
    "notify_alert",
    metadata,
    Column("fingerprint", SafeString(16), primary_key=True),
    Column("body", Json, nullable=False),
)
THREAD: Final = Table(
    "notify_thread",
    metadata,
    Column("id", SafeString(40), primary_key=True),
    Column("body", Json, nullable=False),
)
HANDLE: Final = Table(
    "notify_handle",
    metadata,
    Column("thread", SafeString(40), primary_key=True),
    Column("channel", SafeString(200), primary_key=True),
    Column("body", Json, nullable=False),
    Column("touched", Moment, nullable=False),
)
SILENCE: Final = Table(
    "notify_silence",
    metadata,
    Column("id", SafeString(36), primary_key=True),
    Column("matchers", Json, nullable=False),
    Column("starts", Moment, nullable=False),
    Column("ends", Moment, nullable=False),
    Column("by", SafeString(200), nullable=False),
    Column("comment", SafeString(2000), nullable=False),
    Column("updated", Moment, nullable=False),
    Column("noticed", Boolean, nullable=False),
)
TROUBLE: Final = Table(
    "notify_trouble",
    metadata,
    Column("channel", SafeString(200), primary_key=True),
    Column("since", Moment, nullable=False),
    Column("says", SafeString(1000), nullable=False),
    Column("permanent", Boolean, nullable=False),
)
REROUTED: Final = Table(
    "notify_rerouted",
    metadata,
    Column("key", SafeString(300), primary_key=True),
    Column("at", Moment, nullable=False),
)
NOTE: Final = Table(
    "notify_note",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("fingerprint", SafeString(16), nullable=False),
    Column("at", Moment, nullable=False),
    Column("stage", SafeString(20), nullable=False),
    Column("says", SafeString(1000), nullable=False),
    Index("notify_note_alert", "fingerprint", "id"),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """That a channel can't be reached: since when, why, and whether another try would end the same."""

    channel: str
    since: datetime
    says: str
    permanent: bool


def load(connection: Connection) -> Picture:
    """Return alerts as heard and open threads."""
    alerts, threads = connection.execute(select(HEARD)), connection.execute(select(THREAD))
    return Picture(
        dict(readable(connection, HEARD, alerts, lambda row: (row.fingerprint, Heard.read(row.body)))),
        dict(readable(connection, THREAD, threads, lambda row: (row.id, Thread.read(row.body)))),
    )


def save(connection: Connection, before: Picture, after: Picture) -> None:
    """Write what differs between two pictures."""
    _save(connection, HEARD, HEARD.c.fingerprint, before.heard, after.heard)
    _save(connection, THREAD, THREAD.c.id, before.threads, after.threads)


def set_aside(connection: Connection, failures: Iterable[Failure], now: datetime) -> None:
    """Move threads that can't be decided about to the quarantine; one that is there by its name only ends."""
    for it in failures:
        if is_kept(connection, THREAD.name, it.item):
            connection.execute(delete(THREAD).where(THREAD.c.id == it.item))
        else:
            move(connection, [Found(THREAD, {"id": it.item}, it.error)], now)


def _save(
    connection: Connection, table: Table, key: Column[str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    gone = [name for name in before if name not in after]
    new = [{key.name: name, "body": it.body()} for name, it in after.items() if name not in before]
    changed = [
        {"name": name, "now": it.body()}
        for name, it in after.items()
        if name in before and before[name] is not it and before[name] != it
    ]
    if gone:
        connection.execute(delete(table).where(key == bindparam("name")), [{"name": name} for name in gone])
    if new:
        connection.execute(insert(table), new)
    if changed:
        connection.execute(update(table).where(key == bindparam("name")).values(body=bindparam("now")), changed)


def handle(connection: Connection, thread: str, channel: str) -> Handle:
    """Return what a channel remembers of a thread; nothing at its beginning."""
    row = (HANDLE.c.thread == thread) & (HANDLE.c.channel == channel)
    found = readable(connection, HANDLE, connection.execute(select(HANDLE).where(row)), lambda row: dict(row.body))
    return found[0] if found else {}


def keep_handle(connection: Connection, thread: str, channel: str, body: Handle, now: datetime) -> None:
    """Keep what a channel wants to remember of a thread."""
    connection.execute(delete(HANDLE).where(HANDLE.c.thread == thread, HANDLE.c.channel == channel))
    connection.execute(insert(HANDLE).values(thread=thread, channel=channel, body=dict(body), touched=now))


@dataclass(frozen=True, slots=True)
class RefusedRecipient:
    """That one recipient of a channel is refused: since when, the receiver's words, and whether that is final."""

    name: str
    since: datetime
    says: str
    permanent: bool


_RECIPIENTS: Final = ""
"""Stands for the thread in what a channel keeps of its recipients, which belongs to no thread."""


def refused_recipients(connection: Connection, channel: str) -> dict[str, RefusedRecipient]:
    """Return which recipients of a channel were refused when it sent to them last."""
    found = {}
    for name, it in handle(connection, _RECIPIENTS, channel).items():
        found[name] = RefusedRecipient(name, datetime.fromisoformat(it["since"]), it["says"], it["permanent"])
    return found


def note_recipients(connection: Connection, channel: str, attempt: Attempt, now: datetime) -> None:
    """Note which recipients a try reached, and which were refused; since when stays what it was."""
    before = handle(connection, _RECIPIENTS, channel)
    after = {name: it for name, it in before.items() if name not in attempt.accepted}
    for name, refusal in attempt.refused.items():
        since = before.get(name, {}).get("since", now.isoformat())
        after[name] = {"since": since, "says": refusal.says, "permanent": refusal.permanent}
    if after != before:
        keep_handle(connection, _RECIPIENTS, channel, after, now)


def reached(connection: Connection, threads: Sequence[str], channel: str, since: datetime) -> bool:
    """Tell whether a channel took a message of one of some threads since a time."""
    row = (HANDLE.c.thread.in_(threads)) & (HANDLE.c.channel == channel) & (HANDLE.c.touched >= since)
    return connection.execute(select(HANDLE.c.thread).where(row).limit(1)).first() is not None


def silences(connection: Connection, now: datetime | None = None) -> list[Silence]:
    """Return all silences, or those that have not ended."""
    query = select(SILENCE).order_by(SILENCE.c.starts, SILENCE.c.id)
    rows = connection.execute(query if now is None else query.where(SILENCE.c.ends > now))
    return readable(
        connection,
        SILENCE,
        rows,
        lambda row: Silence(
            row.id, tuple(matchers(row.matchers)), row.starts, row.ends, row.by, row.comment, row.updated
        ),
    )


def keep_silence(connection: Connection, silence: Silence) -> None:
    """Keep a silence, a new one or a changed one."""
    connection.execute(delete(SILENCE).where(SILENCE.c.id == silence.id))
    connection.execute(
        insert(SILENCE).values(
            id=silence.id,
            matchers=[str(condition) for condition in silence.matchers],
            starts=silence.starts,
            ends=silence.ends,
            by=silence.by,
            comment=silence.comment,
            updated=silence.updated,
            noticed=False,
        )
    )


def many_silences(connection: Connection, now: datetime) -> int:
    """Return how many silences have not ended."""
    return int(connection.execute(select(func.count()).where(SILENCE.c.ends > now)).scalar_one())


def unnoticed(connection: Connection, before: datetime) -> set[str]:
    """Return the silences that end before a time and whose end was not announced."""
    rows = connection.execute(select(SILENCE.c.id).where(SILENCE.c.ends <= before, SILENCE.c.noticed.is_(False)))
    return set(rows.scalars())


def notice(connection: Connection, silence: str) -> None:
    """Note that the end of a silence was announced."""
    connection.execute(update(SILENCE).where(SILENCE.c.id == silence).values(noticed=True))


def troubles(connection: Connection) -> dict[str, Trouble]:
    """Return which channels can't be reached."""
    rows = connection.execute(select(TROUBLE))
    found = readable(connection, TROUBLE, rows, lambda row: Trouble(row.channel, row.since, row.says, row.permanent))
    return {trouble.channel: trouble for trouble in found}


def note_trouble(connection: Connection, channel: str, says: str, now: datetime, *, permanent: bool) -> None:
    """Note that a channel can't be reached; since when stays what it was."""
    says = says[:1000]
    changed = update(TROUBLE).where(TROUBLE.c.channel == channel).values(says=says, permanent=permanent)
    if connection.execute(changed).rowcount == 0:
        connection.execute(insert(TROUBLE).values(channel=channel, since=now, says=says, permanent=permanent))


def note_well(connection: Connection, channel: str) -> None:
    """Note that a channel was reached."""
    connection.execute(delete(TROUBLE).where(TROUBLE.c.channel == channel))


def reroute(connection: Connection, key: str, now: datetime) -> bool:
    """Note that a message goes to another channel too; false when it was noted before."""
    if connection.execute(select(REROUTED.c.key).where(REROUTED.c.key == key)).first():
        return False
    connection.execute(insert(REROUTED).values(key=key, at=now))
    return True


def keep_notes(connection: Connection, notes: Iterable[tuple[str, Note]], now: datetime) -> None:
    """Keep notes of why alerts were or weren't told."""
    rows = [{"fingerprint": name, "at": now, "stage": note.stage, "says": note.says[:1000]} for name, note in notes]
    if rows:
        connection.execute(insert(NOTE), rows)


def notes(connection: Connection, fingerprint: str, limit: int = 100) -> Sequence[tuple[datetime, Note]]:
    """Return the newest notes of an alert, oldest first."""
    rows = connection.execute(
        select(NOTE).where(NOTE.c.fingerprint == fingerprint).order_by(NOTE.c.id.desc()).limit(limit)
    )
    return readable(connection, NOTE, rows, lambda row: (row.at, Note(row.stage, row.says)))[::-1]


def prune(connection: Connection, before: datetime) -> None:
    """Remove what nobody will ask for any more."""
    connection.execute(delete(NOTE).where(NOTE.c.at < before))
    connection.execute(delete(REROUTED).where(REROUTED.c.at < before))
    connection.execute(delete(SILENCE).where(SILENCE.c.ends < before))
    open_threads = select(THREAD.c.id)
    closed = HANDLE.c.thread.not_in(open_threads) & (HANDLE.c.thread != _RECIPIENTS)
    connection.execute(delete(HANDLE).where(HANDLE.c.touched < before, closed))
