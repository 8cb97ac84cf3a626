"""Tables and columns are called as their code calls them. Before the first release: it renames."""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = {
    "feed": "event",
    "feed_cursor": "event_offset",
    "feed_end": "event_log_end",
    "spool": "outbox",
    "spool_ended": "outbox_finished",
    "notify_thread": "notify_group",
    "notify_trouble": "notify_channel_failure",
    "notify_rerouted": "notify_reroute",
    "notify_note": "notify_stage_note",
}
COLUMNS = {
    "event_offset": {"reader": "consumer"},
    "event_log_end": {"one": "id"},
    "outbox": {
        "lane": "queue",
        "put": "enqueued",
        "tries": "attempts",
        "trouble": "error",
        "line": "ordering_key",
        "lent": "leased",
    },
    "outbox_finished": {"lane": "queue", "many": "messages"},
    "notify_handle": {"thread": "group_id", "touched": "updated"},
    "notify_silence": {"noticed": "announced"},
    "notify_channel_failure": {"says": "error"},
    "notify_stage_note": {"says": "reason"},
}
INDEXES = [
    ("spool_due", "outbox_due", "outbox", ["queue", "due", "id"]),
    ("spool_line", "outbox_ordering_key", "outbox", ["queue", "ordering_key", "id"]),
    ("notify_note_alert", "notify_stage_note_alert", "notify_stage_note", ["fingerprint", "id"]),
]
REPORTS = {"over": "resolved", "unstable": "flapping"}


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
        op.execute(sa.text("UPDATE quarantine SET source = :new WHERE source = :old").bindparams(new=new, old=old))
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f'ALTER TABLE {table} RENAME COLUMN "{old}" TO "{new}"')
    for old, new, table, indexed in INDEXES:
        op.drop_index(old, table)
        op.create_index(new, table, indexed)
    _rewrite("outbox", "id", _notification)
    _rewrite("notify_group", "id", _group)
    _rewrite("notify_alert", "fingerprint", _tracked_alert)
    op.execute("UPDATE outbox_finished SET outcome = 'dropped: rejected' WHERE outcome = 'dropped: refused'")


def _rewrite(table: str, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the bodies of a table; one that can't be read stays as it is, and is found by who reads it."""
    connection = op.get_bind()
    rows = sa.table(table, sa.column(key), sa.column("body", sa.JSON()))
    texts = sa.table(table, sa.column(key), sa.column("body", sa.Text()))
    for name, text in connection.execute(sa.select(texts.c[key], sa.cast(texts.c.body, sa.Text()))).all():
        try:
            body = json.loads(text)
            change(body)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        connection.execute(sa.update(rows).where(rows.c[key] == name).values(body=body))


def _notification(body: dict[str, Any]) -> None:
    if "thread" in body:
        body["group_id"] = body.pop("thread")
        body["group_labels"] = body.pop("group")
        body["recipients"] = body.pop("only", [])
        body["unconfirmed"] = body.pop("unsure", 0)
        body["kind"] = REPORTS.get(body["kind"], body["kind"])


def _group(body: dict[str, Any]) -> None:
    body["reported"] = {name: REPORTS.get(it, it) for name, it in body.pop("told").items()}
    body["notified"] = body.pop("spoken")
    body["labels"] = body.pop("group")


def _tracked_alert(body: dict[str, Any]) -> None:
    body["flapping"] = body.pop("unstable")
