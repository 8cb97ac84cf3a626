"""What is counted in the shop has a book of its own: orders, payments, jobs. Before the first release: it renames."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

AGAIN = 1000
"""How many payments before the newest one known were read again so far."""


def upgrade() -> None:
    with op.batch_alter_table("shop_read") as table:
        table.alter_column("payment", new_column_name="top", existing_type=sa.BigInteger(), existing_nullable=False)
        table.add_column(sa.Column("floor", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(f"UPDATE shop_read SET floor = CASE WHEN top > {AGAIN} THEN top - {AGAIN} ELSE 0 END")  # noqa: S608  # a number
    op.execute(
        "INSERT INTO shop_read (book, began, until, top, floor)"
        " SELECT 'vendure_db_payments', began, until, top, floor FROM shop_read WHERE book = 'vendure_db'"
    )
    op.execute(
        "UPDATE tally SET book = 'vendure_db_payments' WHERE book = 'vendure_db'"
        " AND family IN ('vendure_payments_failed_total', 'vendure_orders_failed_total')"
    )
    op.add_column("shop_attempt", sa.Column("failed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("DELETE FROM shop_attempt WHERE \"order\" IN (SELECT id FROM shop_seen WHERE sort = 'failure')")
    op.execute(
        'INSERT INTO shop_attempt ("order", method, at, failed)'
        " SELECT id, '', at, true FROM shop_seen WHERE sort = 'failure'"
    )
    op.execute("DELETE FROM shop_seen WHERE sort = 'failure'")
    with op.batch_alter_table("shop_seen") as table:
        table.alter_column("sort", new_column_name="book", existing_type=sa.String(20), type_=sa.String(50))
        table.alter_column("id", existing_type=sa.String(100), type_=sa.String(200))
    for sort, book in (("order", "vendure_db"), ("payment", "vendure_db_payments"), ("decline", "declines")):
        op.execute(sa.text("UPDATE shop_seen SET book = :book WHERE book = :sort").bindparams(book=book, sort=sort))
    op.create_index("shop_seen_at", "shop_seen", ["book", "at"])
