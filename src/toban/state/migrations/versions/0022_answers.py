"""Answers from Slack and PagerDuty: each is received once."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "received_answer",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(100), nullable=False, unique=True),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done", sa.BigInteger()),
    )
    op.create_index("received_answer_done", "received_answer", ["done", "id"])
    op.create_table(
        "pagerduty_incident",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("incident", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
