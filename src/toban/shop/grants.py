"""The grants of toban's role in the shop's database: no secrets, and as little personal data as possible."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from toban.shop.admin_database import quoted

if TYPE_CHECKING:
    from toban.shop.database import ShopDatabase

READ: Final = (
    *("asset", "collection", "collection_asset", "customer_group", "customer_groups_customer_group"),
    *("global_settings", "history_entry"),
    *("order_channels_channel", "order_line", "order_promotions_promotion", "product", "product_asset"),
    *("product_translation", "product_variant_asset", "surcharge"),
    *("product_variant", "product_variant_price", "product_variant_translation", "promotion", "promotion_translation"),
    *("refund", "scheduled_task_record", "search_index_item", "shipping_line", "stock_level", "stock_location"),
    "stock_movement",
)
"""
Tables of Vendure that are granted whole. They hold neither secrets nor personal data, except `history_entry`: its
`data` has the state in which an order was placed, and in a customer's own entries the address that was changed. toban
reads only entries of orders.
"""

READ_WITHOUT: Final[Mapping[str, frozenset[str]]] = {
    "channel": frozenset({"token"}),
    "customer": frozenset({"firstName", "lastName", "emailAddress", "phoneNumber", "title"}),
    "job_record": frozenset({"data", "result"}),
    "order": frozenset({"shippingAddress", "billingAddress"}),
    "payment": frozenset({"metadata", "transactionId"}),
    "session": frozenset({"token"}),
}
"""
Tables with secrets or personal data, and the columns of these. Custom fields of customers may be anything: see
``grants``.
"""

COLUMNS: Final = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
"""The query for all columns, for the tables' owner to run."""


def custom_column(field: str) -> str:
    """Return the column of a custom field, as TypeORM names it: first letter in upper case, others in lower."""
    return f"customFields{field[:1].upper()}{field[1:].lower()}"


def grants(columns: Iterable[tuple[str, str]], role: str, customer_fields: Iterable[str] = ()) -> list[str]:
    """
    Return the statements that let a role read what toban reads, of the tables and columns that this shop has.

    Of a customer's custom fields only those named in ``customer_fields`` (columns) are granted.
    """
    granted: dict[str, list[str]] = {}
    fields = set(customer_fields)
    for table, column in columns:
        if column in READ_WITHOUT.get(table, ()):
            continue
        if table == "customer" and column.startswith("customFields") and column not in fields:
            continue
        granted.setdefault(table, []).append(f'"{column}"')
    return [
        f'GRANT SELECT ({", ".join(granted[table])}) ON "{table}" TO {role}'
        for table in (*READ, *READ_WITHOUT)
        if table in granted
    ]


# The catalogue lists all columns, also those that may not be read.
HIDDEN_COLUMNS_QUERY: Final = """
SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY 1, a.attnum
"""


async def missing_grants(database: "ShopDatabase", customer_field: str) -> list[str]:
    """
    Return the statements, for the tables' owner to run, that let toban's role read what it can't read yet.

    ``customer_field`` is the custom field with the type of a customer. Raises ``DatabaseError``.
    """
    async with database.transaction() as cursor:
        await cursor.execute(HIDDEN_COLUMNS_QUERY)
        columns = await cursor.fetchall()
        await cursor.execute("SELECT quote_ident(current_user)")
        row = await cursor.fetchone()
    role = str(row[0]) if row else "toban"
    return grants([(table, column) for table, column in columns], role, [custom_column(customer_field)])


NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "channel": ("id", "code"),
    "customer": ("id",),
    "global_settings": ("createdAt", "trackInventory", "outOfStockThreshold"),
    "history_entry": ("type", "data", "createdAt", "orderId"),
    "job_record": ("id", "createdAt", "queueName", "state", "startedAt", "settledAt", "isSettled", "attempts"),
    "order": (
        *("id", "updatedAt", "type", "code", "state", "active", "orderPlacedAt", "currencyCode", "customerId"),
        *("subTotal", "subTotalWithTax", "shipping", "shippingWithTax"),
    ),
    "order_channels_channel": ("orderId", "channelId"),
    "order_line": ("orderId", "adjustments", "taxLines", "listPriceIncludesTax", "quantity"),
    "order_promotions_promotion": ("orderId", "promotionId"),
    "payment": ("id", "createdAt", "method", "state", "amount", "errorMessage", "orderId"),
    "product": ("id", "deletedAt", "enabled"),
    "product_variant": (
        *("id", "deletedAt", "enabled", "sku", "productId", "trackInventory", "outOfStockThreshold"),
        "useGlobalOutOfStockThreshold",
    ),
    "product_variant_price": ("variantId", "price"),
    "refund": ("state", "createdAt"),
    "scheduled_task_record": ("taskId", "enabled", "lockedAt", "lastExecutedAt", "lastResult"),
    "search_index_item": ("productVariantId",),
    "session": ("type", "expires"),
    "shipping_line": ("orderId", "adjustments", "taxLines", "listPriceIncludesTax"),
    "stock_level": ("productVariantId", "stockOnHand", "stockAllocated"),
}
"""The columns that toban's queries read, by table."""

# information_schema shows only what may be read: only the catalogue tells a missing column from a hidden one.
COLUMNS_QUERY: Final = """
SELECT tables.relname::text, columns.attname::text, format_type(columns.atttypid, NULL),
    has_column_privilege(tables.oid, columns.attnum, 'SELECT')
FROM unnest(%(tables)s::text[]) AS wanted (name)
JOIN pg_class AS tables ON tables.oid = to_regclass(quote_ident(wanted.name))
JOIN pg_attribute AS columns ON columns.attrelid = tables.oid AND columns.attnum > 0 AND NOT columns.attisdropped
"""
"""The query for the columns of the tables in `NEEDED`, for any role to run."""


@dataclass(frozen=True, slots=True)
class Column:
    """An existing column: its type, and whether this role may read it."""

    type: str
    readable: bool


Tables = Mapping[str, Mapping[str, Column]]
"""The existing columns, by table."""


def parse_tables(rows: Iterable[Sequence[Any]]) -> Tables:
    """Return the result of `COLUMNS_QUERY`; empty where there is no Vendure."""
    found: dict[str, dict[str, Column]] = {}
    for table, column, type_, readable in rows:
        found.setdefault(table, {})[column] = Column(type_, readable)
    return found if "orderPlacedAt" in found.get("order", {}) else {}


def hidden(tables: Tables, customer_type: str) -> dict[str, list[str]]:
    """Return the existing columns that toban needs and this role may not read, by table."""
    found: dict[str, list[str]] = {}
    for table, needed in NEEDED.items():
        more = (custom_column(customer_type),) if table == "customer" else ()
        existing = tables.get(table, {})
        if missing := [name for name in (*needed, *more) if name in existing and not existing[name].readable]:
            found[table] = missing
    return found


def missing(tables: Tables, role: str, customer_type: str) -> list[str]:
    """Return the statements that let a role read what it needs and can't read yet; empty, when none is missing."""
    return [
        f'GRANT SELECT ({", ".join(map(quoted, columns))}) ON "{table}" TO {quoted(role)};'
        for table, columns in hidden(tables, customer_type).items()
    ]
