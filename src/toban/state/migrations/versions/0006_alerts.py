"""Alerts as they stand."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("rule", sa.String(2000), primary_key=True),
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "alert_rule",
        sa.Column("rule", sa.String(2000), primary_key=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
    )
    op.create_table("alert_target", sa.Column("name", sa.String(200), primary_key=True))
    op.create_table(
        "alert_caught_up",
        sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
    )
