"""The posts on the status page."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "status_page_post",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
