"""How far the shop's tables were read."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "shop_read",
        sa.Column("book", sa.String(50), primary_key=True),
        sa.Column("began", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("payment", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "shop_seen",
        sa.Column("sort", sa.String(20), primary_key=True),
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "shop_attempt",
        sa.Column("order", sa.String(100), primary_key=True),
        sa.Column("method", sa.String(200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
