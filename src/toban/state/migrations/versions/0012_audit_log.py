"""By which way the actor of a row of the audit log came."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("journal", sa.Column("via", sa.String(50), nullable=False, server_default=""))
