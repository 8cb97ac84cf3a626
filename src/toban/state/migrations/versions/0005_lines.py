"""Parcels of one line leave in order."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("spool", sa.Column("line", sa.String(200), nullable=False, server_default=""))
    op.create_index("spool_line", "spool", ["lane", "line", "id"])
