"""
The checks of `vendure_integrity`: each a query whose rows contradict something that holds in a sound Vendure.

Each row has `id`, a `text` that says what is wrong, and `total`, the number of all such rows. Times that the shop's
processes write are in their zone, ``%(zone)s``; those that PostgreSQL writes are compared with a margin of a day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toban.maintenance.task import Severity

SHOWN: Final = 5
"""Rows that a finding names."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it finds, how much that matters, what to do, the columns that it reads, and its query."""

    name: str
    title: str
    severity: Severity
    remedy: str
    needed: Mapping[str, Sequence[str]]
    query: str


NEGATIVE_STOCK: Final = Check(
    "negative_stock",
    "stock levels below zero",
    Severity.WARNING,
    "count the stock, and set it in the Admin UI: a movement is written with it",
    {
        "stock_level": ("productVariantId", "stockLocationId", "stockOnHand", "stockAllocated"),
        "product_variant": ("id", "sku", "deletedAt"),
    },
    """
SELECT v.id::text AS id, count(*) OVER () AS total,
       v.sku || ': ' || l."stockOnHand" || ' on hand, ' || l."stockAllocated" || ' allocated' AS text
FROM stock_level l JOIN product_variant v ON v.id = l."productVariantId"
WHERE v."deletedAt" IS NULL AND (l."stockOnHand" < 0 OR l."stockAllocated" < 0)
ORDER BY least(l."stockOnHand", l."stockAllocated"), v.id LIMIT %(shown)s
""",
)

# Vendure writes the whole quantity of a sale at each of its locations, so that the sums agree in shops with one only.
STOCK_MOVEMENTS: Final = Check(
    "stock_movements",
    "stock levels that differ from the sum of their movements",
    Severity.WARNING,
    "somebody wrote the stock past Vendure, or two orders at once: count it, and set it in the Admin UI",
    {
        "stock_level": ("productVariantId", "stockLocationId", "stockOnHand", "updatedAt"),
        "stock_movement": ("productVariantId", "stockLocationId", "type", "quantity"),
        "product_variant": ("id", "sku", "deletedAt", "trackInventory"),
        "global_settings": ("trackInventory",),
        "stock_location": ("id",),
    },
    """
SELECT v.id::text AS id, count(*) OVER () AS total,
       v.sku || ': ' || l."stockOnHand" || ' on hand, ' || coalesce(m.sum, 0) || ' by its movements' AS text
FROM stock_level l JOIN product_variant v ON v.id = l."productVariantId"
LEFT JOIN (SELECT "productVariantId" AS variant, "stockLocationId" AS location,
                  sum(quantity) FILTER (WHERE type IN ('ADJUSTMENT', 'SALE', 'CANCELLATION')) AS sum
           FROM stock_movement GROUP BY 1, 2) m
  ON m.variant = l."productVariantId" AND m.location = l."stockLocationId"
WHERE v."deletedAt" IS NULL AND l."stockOnHand" <> coalesce(m.sum, 0)
  AND (SELECT count(*) FROM stock_location) = 1
  AND (v."trackInventory" = 'TRUE'
       OR (v."trackInventory" = 'INHERIT' AND (SELECT bool_or("trackInventory") FROM global_settings)))
ORDER BY abs(l."stockOnHand" - coalesce(m.sum, 0)) DESC, v.id LIMIT %(shown)s
""",
)

ENDED_PROMOTIONS: Final = Check(
    "ended_promotions",
    "promotions that are enabled past their end",
    Severity.INFO,
    "disable them: each is looked at for every order all the same",
    {"promotion": ("id", "couponCode", "enabled", "endsAt", "deletedAt")},
    """
SELECT id::text AS id, count(*) OVER () AS total, 'ended at ' || to_char("endsAt", 'YYYY-MM-DD HH24:MI') AS text
FROM promotion
WHERE enabled AND "deletedAt" IS NULL AND "endsAt" < (now() AT TIME ZONE %(zone)s)
ORDER BY "endsAt", id LIMIT %(shown)s
""",
)

# With UUIDs as ids, the search index has them as text.
MISSING_IN_SEARCH: Final = Check(
    "missing_in_search",
    "variants that customers can buy and the search does not find",
    Severity.WARNING,
    "rebuild the search index: `reindex` of the Admin API, or the runbook action vendure_reindex",
    {
        "search_index_item": ("productVariantId",),
        "product_variant": ("id", "sku", "enabled", "deletedAt", "productId", "updatedAt"),
        "product": ("id", "enabled", "deletedAt", "updatedAt"),
    },
    """
SELECT v.id::text AS id, count(*) OVER () AS total, v.sku AS text
FROM product_variant v JOIN product p ON p.id = v."productId"
WHERE v.enabled AND p.enabled AND v."deletedAt" IS NULL AND p."deletedAt" IS NULL
  AND greatest(v."updatedAt", p."updatedAt") < localtimestamp - interval '1 day'
  AND EXISTS (SELECT FROM search_index_item)
  AND NOT EXISTS (SELECT FROM search_index_item s WHERE s."productVariantId"::text = v.id::text)
ORDER BY v.id LIMIT %(shown)s
""",
)

STALE_IN_SEARCH: Final = Check(
    "stale_in_search",
    "entries of the search index that are not as the catalogue",
    Severity.WARNING,
    "rebuild the search index: `reindex` of the Admin API, or the runbook action vendure_reindex",
    {
        "search_index_item": ("productVariantId", "sku", "enabled"),
        "product_variant": ("id", "sku", "enabled", "deletedAt", "productId", "updatedAt"),
        "product": ("id", "enabled", "deletedAt", "updatedAt"),
    },
    """
SELECT s."productVariantId"::text AS id, count(*) OVER () AS total,
       s.sku || CASE WHEN v.id IS NULL OR v."deletedAt" IS NOT NULL OR p."deletedAt" IS NOT NULL THEN ' was deleted'
                     WHEN s.sku <> v.sku THEN ' is ' || v.sku || ' now'
                     WHEN s.enabled THEN ' was disabled' ELSE ' was enabled' END AS text
FROM (SELECT DISTINCT "productVariantId", sku, enabled FROM search_index_item) s
LEFT JOIN product_variant v ON v.id::text = s."productVariantId"::text LEFT JOIN product p ON p.id = v."productId"
WHERE s."productVariantId"::text <> '0'
  AND (v.id IS NULL OR greatest(v."updatedAt", p."updatedAt") < localtimestamp - interval '1 day')
  AND (v.id IS NULL OR v."deletedAt" IS NOT NULL OR p."deletedAt" IS NOT NULL OR s.sku <> v.sku
       OR s.enabled <> (v.enabled AND p.enabled))
ORDER BY s."productVariantId" LIMIT %(shown)s
""",
)

# Discounts are spread over the quantity that was ordered: of a line that was cancelled in part, only a part counts.
# Lines and the subtotal are compared where prices are as they are listed, with or without tax, so that no rate matters;
# each line may be rounded.
ORDER_TOTALS: Final = Check(
    "order_totals",
    "placed orders of the last 30 days whose subtotal is not that of their lines",
    Severity.WARNING,
    "look at the order's history in the Admin UI: somebody wrote to it past Vendure, or a price strategy is wrong",
    {
        "order": ("id", "code", "type", "orderPlacedAt", "subTotal", "subTotalWithTax"),
        "order_line": (
            *("orderId", "quantity", "orderPlacedQuantity", "listPrice", "listPriceIncludesTax", "adjustments"),
        ),
        "surcharge": ("orderId", "listPrice", "listPriceIncludesTax"),
    },
    """
WITH lines AS (
  SELECT l."orderId" AS id, bool_and(l."listPriceIncludesTax") AS gross, bool_or(l."listPriceIncludesTax") AS any_gross,
         sum(l."listPrice" * l.quantity + coalesce((
           SELECT sum((it ->> 'amount')::numeric) FROM json_array_elements(l.adjustments::json) it), 0)
             * l.quantity / greatest(l.quantity, l."orderPlacedQuantity", 1)) AS total,
         count(*) + sum(l.quantity) AS parts
  FROM order_line l JOIN "order" o ON o.id = l."orderId"
  WHERE o."orderPlacedAt" > (now() AT TIME ZONE %(zone)s) - interval '30 days' AND o.type <> 'Aggregate'
  GROUP BY 1
), extras AS (
  SELECT "orderId" AS id, sum("listPrice") AS total, bool_and("listPriceIncludesTax") AS gross,
         bool_or("listPriceIncludesTax") AS any_gross
  FROM surcharge WHERE "orderId" IN (SELECT id FROM lines) GROUP BY 1
), compared AS (
  SELECT o.id, o.code, CASE WHEN l.gross THEN o."subTotalWithTax" ELSE o."subTotal" END AS subtotal,
         l.total + coalesce(e.total, 0) AS lines, l.parts
  FROM lines l JOIN "order" o ON o.id = l.id LEFT JOIN extras e ON e.id = l.id
  WHERE l.gross = l.any_gross AND (e.id IS NULL OR (e.gross = l.gross AND e.any_gross = l.gross))
)
SELECT id::text AS id, count(*) OVER () AS total, code || ': ' || subtotal || ', its lines ' || round(lines) AS text
FROM compared WHERE abs(subtotal - lines) > parts ORDER BY abs(subtotal - lines) DESC, id LIMIT %(shown)s
""",
)

PAID_NOT_PLACED: Final = Check(
    "paid_not_placed",
    "orders that are paid and were not placed for an hour",
    Severity.CRITICAL,
    "the customer has paid: look at the payment and the order in the Admin UI, and place it or refund it",
    {
        "order": ("id", "code", "state", "active", "orderPlacedAt", "updatedAt", "subTotalWithTax", "shippingWithTax"),
        "payment": ("orderId", "state", "amount", "createdAt"),
    },
    """
SELECT o.id::text AS id, count(*) OVER () AS total, o.code || ' in ' || o.state AS text
FROM "order" o
WHERE o.active AND o."orderPlacedAt" IS NULL
  AND (SELECT sum(p.amount) FROM payment p WHERE p."orderId" = o.id AND p.state IN ('Settled', 'Authorized')
         AND p."createdAt" < localtimestamp - interval '1 hour')
      >= o."subTotalWithTax" + o."shippingWithTax"
ORDER BY o.id LIMIT %(shown)s
""",
)

STUCK_ORDERS: Final = Check(
    "stuck_orders",
    "orders that wait for their payment for more than a day",
    Severity.INFO,
    "many of one payment method mean that it fails: see payments that failed; the carts themselves do no harm",
    {"order": ("id", "code", "state", "active", "orderPlacedAt", "updatedAt")},
    """
SELECT id::text AS id, count(*) OVER () AS total, code || ' since ' || to_char("updatedAt", 'YYYY-MM-DD') AS text
FROM "order"
WHERE active AND "orderPlacedAt" IS NULL AND state NOT IN ('Created', 'AddingItems', 'Draft')
  AND "updatedAt" BETWEEN localtimestamp - interval '30 days' AND localtimestamp - interval '1 day'
ORDER BY "updatedAt" DESC, id LIMIT %(shown)s
""",
)

ACTIVE_PLACED: Final = Check(
    "active_placed",
    "placed orders that are still active carts",
    Severity.WARNING,
    "the customer's next items go into an order that is placed: look at it in the Admin UI",
    {"order": ("id", "code", "state", "active", "orderPlacedAt")},
    """
SELECT id::text AS id, count(*) OVER () AS total, code || ' in ' || state AS text FROM "order"
WHERE active AND "orderPlacedAt" < (now() AT TIME ZONE %(zone)s) - interval '1 hour'
  AND state NOT IN ('Modifying', 'ArrangingAdditionalPayment')
ORDER BY "orderPlacedAt" DESC, id LIMIT %(shown)s
""",
)

CHECKS: Final = (
    NEGATIVE_STOCK,
    STOCK_MOVEMENTS,
    ENDED_PROMOTIONS,
    MISSING_IN_SEARCH,
    STALE_IN_SEARCH,
    ORDER_TOTALS,
    PAID_NOT_PLACED,
    STUCK_ORDERS,
    ACTIVE_PLACED,
)

REFERENCES: Final = """
SELECT c.conrelid::regclass::text AS table, t.relname AS name, a.attname AS column
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.confrelid = to_regclass('asset') AND t.relname NOT LIKE 'asset\\_%%' AND %(zone)s <> ''
ORDER BY 1, 3
"""
"""The columns that refer to an asset, also those of custom fields; what only describes an asset is left out."""

ORPHANED_ASSETS: Final = """
SELECT a.id::text AS id, count(*) OVER () AS total, a.name AS text FROM (
  SELECT a.id, a."mimeType" || ' of ' || to_char(a."createdAt", 'YYYY-MM-DD') AS name FROM asset a
  WHERE a."createdAt" < localtimestamp - interval '7 days' AND {unreferenced}
) a ORDER BY a.id LIMIT %(shown)s
"""
ORPHANS: Final = Check(
    "orphaned_assets",
    "assets that nothing in the database refers to",
    Severity.INFO,
    "delete them in the Admin UI where no page or mail uses them either: only the database was looked at",
    {
        "asset": ("id", "mimeType", "createdAt"),
        "collection": ("featuredAssetId",),
        "collection_asset": ("assetId",),
        "order_line": ("featuredAssetId",),
        "product": ("featuredAssetId",),
        "product_asset": ("assetId",),
        "product_variant": ("featuredAssetId",),
        "product_variant_asset": ("assetId",),
    },
    ORPHANED_ASSETS,
)
