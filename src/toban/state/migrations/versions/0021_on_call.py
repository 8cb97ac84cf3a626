"""The on-call schedule: overrides and swaps, the last copies of calendars, the tokens of feeds."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "oncall_override",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("decided", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("instead_of", sa.String(200), nullable=False),
        sa.Column("is_swap", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("comment", sa.String(2000), nullable=False),
    )
    op.create_index("oncall_override_ends", "oncall_override", ["ends"])
    op.create_table(
        "oncall_calendar",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(1000), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
    )
    op.create_table(
        "oncall_feed",
        sa.Column("person", sa.String(200), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
    )
