"""Counters that must be exact."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "tally",
        sa.Column("book", sa.String(50), primary_key=True),
        sa.Column("family", sa.String(200), primary_key=True),
        sa.Column("labels", sa.String(1000), primary_key=True),
        sa.Column("numbers", sa.String(1000), nullable=False),
    )
