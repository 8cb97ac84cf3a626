"""Counters, positions of event streams, the audit log and alerts are called as their code calls them."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = {
    "tally": "durable_counter",
    "journal": "audit_log",
    "alert_caught_up": "alert_fallback_position",
    "shop_read": "stream_position",
    "shop_seen": "stream_counted_event",
    "shop_pending": "stream_pending_samples",
    "shop_attempt": "failed_payment_attempt",
}
COLUMNS = {
    "durable_counter": {"book": "owner", "numbers": "sample_values"},
    "audit_log": {"who": "actor", "what": "action"},
    "alert_rule": {"seen": "has_data_since"},
    "alert_fallback_position": {"one": "id", "entry": "record"},
    "stream_position": {"book": "stream"},
    "stream_counted_event": {"book": "stream"},
    "stream_pending_samples": {"book": "stream"},
}
INDEXES = [
    ("journal_who", "audit_log_actor", "audit_log", ["actor", "id"]),
    ("shop_seen_at", "stream_counted_event_at", "stream_counted_event", ["stream", "at"]),
    ("ix_shop_pending_book", "ix_stream_pending_samples_stream", "stream_pending_samples", ["stream"]),
]


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
    _rewrite_alerts()


def _rewrite_alerts() -> None:
    """Rename a key of alerts; a body that can't be read stays as it is, and is found by who reads it."""
    connection = op.get_bind()
    rows = sa.table("alert", sa.column("rule"), sa.column("fingerprint"), sa.column("body", sa.JSON()))
    texts = sa.table("alert", sa.column("rule"), sa.column("fingerprint"), sa.column("body", sa.Text()))
    for rule, fingerprint, text in connection.execute(
        sa.select(texts.c.rule, texts.c.fingerprint, sa.cast(texts.c.body, sa.Text()))
    ).all():
        try:
            body = json.loads(text)
            body["unmet_since"] = body.pop("quiet")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        chosen = rows.c.rule == rule, rows.c.fingerprint == fingerprint
        connection.execute(sa.update(rows).where(*chosen).values(body=body))
