"""What toban's role may read of the shop's tables: no secrets, and nothing about customers."""

from collections.abc import Iterable, Mapping
from typing import Final

READ: Final = (
    *("customer_group", "customer_groups_customer_group", "global_settings", "history_entry"),
    *("order_channels_channel", "order_line", "order_promotions_promotion", "product", "product_translation"),
    *("product_variant", "product_variant_price", "product_variant_translation", "promotion", "promotion_translation"),
    *("refund", "scheduled_task_record", "search_index_item", "shipping_line", "stock_level", "stock_location"),
    "stock_movement",
)
"""Tables of Vendure that hold neither."""

READ_WITHOUT: Final[Mapping[str, frozenset[str]]] = {
    "channel": frozenset({"token"}),
    "customer": frozenset({"firstName", "lastName", "emailAddress", "phoneNumber", "title"}),
    "job_record": frozenset({"data", "result"}),
    "order": frozenset({"shippingAddress", "billingAddress"}),
    "payment": frozenset({"metadata", "transactionId"}),
    "session": frozenset({"token"}),
}
"""Tables that hold some, and in which columns. Custom fields of a customer may be anything: see ``grants``."""

COLUMNS: Final = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
"""The question for the columns that there are, to be asked by the tables' owner."""


def custom_column(field: str) -> str:
    """Return the column of a custom field, as TypeORM names what is embedded: first letter up, the rest down."""
    return f"customFields{field[:1].upper()}{field[1:].lower()}"


def grants(columns: Iterable[tuple[str, str]], role: str, customer_fields: Iterable[str] = ()) -> list[str]:
    """
    Return the statements that let a role read what toban reads, of the tables and columns that this shop really has.

    Of a customer's custom fields only those named in ``customer_fields`` (columns) are granted.
    """
    wanted: dict[str, list[str]] = {}
    fields = set(customer_fields)
    for table, column in columns:
        if column in READ_WITHOUT.get(table, ()):
            continue
        if table == "customer" and column.startswith("customFields") and column not in fields:
            continue
        wanted.setdefault(table, []).append(f'"{column}"')
    return [
        f'GRANT SELECT ({", ".join(wanted[table])}) ON "{table}" TO {role}'
        for table in (*READ, *READ_WITHOUT)
        if table in wanted
    ]


def role(name: str, columns: Iterable[tuple[str, str]], customer_fields: Iterable[str] = ()) -> list[str]:
    """Return the statements that make a role for toban; its password is the reader's to choose."""
    return [
        f"CREATE ROLE {name} LOGIN PASSWORD '...'",
        f"ALTER ROLE {name} SET default_transaction_read_only = on",
        f"GRANT pg_monitor TO {name}",
        f"GRANT USAGE ON SCHEMA public TO {name}",
        *grants(columns, name, customer_fields),
    ]
