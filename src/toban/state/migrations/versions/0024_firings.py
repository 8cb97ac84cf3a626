"""The history of firing alerts, and its sums by month."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "alert_firing",
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("rule", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("fired", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger()),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.UniqueConstraint("fingerprint", "fired", name="alert_firing_once"),
    )
    op.create_index("alert_firing_rule", "alert_firing", ["rule", "fired"])
    op.create_index("alert_firing_fired", "alert_firing", ["fired"])
    op.create_index("alert_firing_ended", "alert_firing", ["ended"])
    op.create_table(
        "alert_firing_month",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("rule", sa.String(200), primary_key=True),
        sa.Column("body", sa.JSON(), nullable=False),
    )
