"""Runs of runbooks, and the stop switch."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "runbook_run",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("runbook", sa.String(100), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("runbook_run_started", "runbook_run", ["started"])
    op.create_table(
        "runbook_switch",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("is_stopped", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
    )
