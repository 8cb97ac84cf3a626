"""Rows that can't be read; samples of what was counted, which wait until the store has them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("key", sa.String(1000), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("error", sa.String(1000), nullable=False),
    )
    op.create_table(
        "shop_pending",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("book", sa.String(50), nullable=False),
        sa.Column("samples", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_shop_pending_book", "shop_pending", ["book"])
    op.add_column("shop_read", sa.Column("read", sa.BigInteger(), nullable=True))
