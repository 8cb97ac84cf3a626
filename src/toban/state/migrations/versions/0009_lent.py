"""The spool knows which parcels are lent: who is alone takes back at once what a crash left lent."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("spool", sa.Column("lent", sa.Boolean(), nullable=False, server_default=sa.false()))
