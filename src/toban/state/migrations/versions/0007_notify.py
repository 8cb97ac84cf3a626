"""Who heard of what."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "notify_alert",
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "notify_thread",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "notify_handle",
        sa.Column("thread", sa.String(40), primary_key=True),
        sa.Column("channel", sa.String(200), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("touched", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "notify_silence",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("comment", sa.String(2000), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("noticed", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "notify_trouble",
        sa.Column("channel", sa.String(200), primary_key=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("says", sa.String(1000), nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "notify_rerouted",
        sa.Column("key", sa.String(300), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "notify_note",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.String(20), nullable=False),
        sa.Column("says", sa.String(1000), nullable=False),
    )
    op.create_index("notify_note_alert", "notify_note", ["fingerprint", "id"])
