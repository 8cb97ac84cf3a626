"""Maintenance: its runs."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "maintenance_run",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("task", sa.String(100), nullable=False),
        sa.Column("due", sa.BigInteger()),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("renewed", sa.BigInteger(), nullable=False),
        sa.Column("canceled_by", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.UniqueConstraint("task", "due", name="maintenance_run_once"),
    )
    op.create_index("maintenance_run_started", "maintenance_run", ["started"])
