"""Incidents, their timelines, and the alerts that have not opened one yet."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "incident",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("priority", sa.String(2), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("resolved", sa.BigInteger()),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("incident_state", "incident", ["state", "resolved"])
    op.create_table(
        "incident_timeline",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("incident", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
    )
    op.create_index("incident_timeline_incident", "incident_timeline", ["incident", "id"])
    op.create_table(
        "incident_waiting_alert",
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
