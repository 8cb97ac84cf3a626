"""Which shift each person was told of last."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_table(
        "oncall_told_shift",
        sa.Column("person", sa.String(200), primary_key=True),
        sa.Column("starts", sa.BigInteger(), nullable=False),
    )
