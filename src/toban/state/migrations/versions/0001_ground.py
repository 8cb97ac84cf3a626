"""Feed, spool and journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("position", ID, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.String(100), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_table(
        "feed_cursor",
        sa.Column("reader", sa.String(100), primary_key=True),
        sa.Column("position", ID, nullable=False),
    )
    op.create_table(
        "feed_end",
        sa.Column("one", ID, primary_key=True, autoincrement=False),
        sa.Column("position", ID, nullable=False),
    )
    op.create_table(
        "spool",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("lane", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("put", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("trouble", sa.String(1000), nullable=False),
    )
    op.create_index("spool_due", "spool", ["lane", "due", "id"])
    op.create_table(
        "spool_ended",
        sa.Column("lane", sa.String(200), primary_key=True),
        sa.Column("outcome", sa.String(200), primary_key=True),
        sa.Column("many", ID, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
    )
    op.create_index("journal_who", "journal", ["who", "id"])
