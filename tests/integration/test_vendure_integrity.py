"""Each check of a shop's integrity finds what is planted, and nothing in what is sound."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests import servers
from tests.maintenance_tools import names, tools_for
from tests.vendure import Vendure, vendure
from toban.core.errors import ActionError
from toban.maintenance.task import Finding, TaskTools
from toban.maintenance.tasks.vendure_integrity import FOUND, VendureIntegrity
from toban.shop.connections import open_connections
from toban.shop.settings import ShopSettings

OLD = "localtimestamp - interval '10 days'"


@pytest.fixture(params=["integer", "uuid"])
def shop(postgres: servers.Postgres, request: pytest.FixtureRequest) -> Iterator[Vendure]:
    with vendure(postgres, ids=request.param, zone="Asia/Tokyo", database_zone="America/New_York") as found:
        found.execute(
            """INSERT INTO global_settings ("availableLanguages", "trackInventory", "outOfStockThreshold")
               VALUES ('en', true, 0)"""
        )
        yield found


@asynccontextmanager
async def reading(shop: Vendure, folder: Path):
    async with open_connections(ShopSettings(database=SecretStr(shop.url), timezone=shop.zone)) as connections:
        yield tools_for(connections, folder)


async def found(shop: Vendure, folder: Path) -> dict[str, Finding]:
    async with reading(shop, folder) as tools:
        plan = await VendureIntegrity().plan(tools)
        assert plan.steps == ()
        assert plan.text.startswith("10 checks done")
        return {it.name: it for it in plan.findings}


def location(shop: Vendure) -> object:
    rows = shop.execute("SELECT id FROM stock_location")
    return (
        rows[0][0]
        if rows
        else shop.execute("INSERT INTO stock_location (name, description) VALUES ('Default', '') RETURNING id")[0][0]
    )


def variant(shop: Vendure, sku: str, *, on_hand: int = 10, moved: int = 10, indexed: bool = True) -> object:
    ((product,),) = shop.execute(f'INSERT INTO product (enabled, "updatedAt") VALUES (true, {OLD}) RETURNING id')
    ((it,),) = shop.execute(
        f'INSERT INTO product_variant (sku, "productId", "updatedAt") VALUES (%s, %s, {OLD}) RETURNING id',
        [sku, product],
    )
    at = location(shop)
    shop.execute(
        """INSERT INTO stock_level ("productVariantId", "stockLocationId", "stockOnHand", "stockAllocated")
           VALUES (%s, %s, %s, 0)""",
        [it, at, on_hand],
    )
    shop.execute(
        """INSERT INTO stock_movement (type, quantity, discriminator, "productVariantId", "stockLocationId")
           VALUES ('ADJUSTMENT', %s, 'StockAdjustment', %s, %s), ('ALLOCATION', 3, 'Allocation', %s, %s),
                  ('SALE', -3, 'Sale', %s, %s), ('CANCELLATION', 3, 'Cancellation', %s, %s)""",
        [moved, *[it, at] * 4],
    )
    if indexed:
        shop.execute(
            """INSERT INTO search_index_item ("languageCode", enabled, "productName", "productVariantName", description,
                 slug, sku, "facetIds", "facetValueIds", "collectionIds", "collectionSlugs", "channelIds",
                 "productPreview", "productVariantPreview", "productVariantId", "channelId", "productId", price,
                 "priceWithTax")
               VALUES ('en', true, '', '', '', '', %s, '', '', '', '', '', '', '', %s, %s, %s, 1, 1)""",
            [sku, it, shop.channel("__default_channel__"), product],
        )
    return it


def line(
    shop: Vendure, order: object, item: object, *, price: int, quantity: int, discount: int = 0, ordered: int = 0
) -> None:
    adjustments = f'[{{"amount": {-discount}}}]' if discount else "[]"
    shop.execute(
        """INSERT INTO order_line (quantity, "orderPlacedQuantity", "listPriceIncludesTax", adjustments, "taxLines",
             "productVariantId", "listPrice", "orderId") VALUES (%s, %s, false, %s, '[]', %s, %s, %s)""",
        [quantity, ordered or quantity, adjustments, item, price, order],
    )


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


async def test_a_sound_shop_has_no_findings(shop: Vendure, tmp_path: Path):
    it = variant(shop, "A")
    order = shop.order("O1", at=ago(days=2), net=2500)
    line(shop, order, it, price=1000, quantity=3, discount=500)
    cancelled = shop.order("O2", at=ago(days=2), net=500)
    line(shop, cancelled, it, price=1000, quantity=1, ordered=2, discount=1000)  # one of two was cancelled
    shop.order("cart")
    assert await found(shop, tmp_path) == {}


async def test_stock_below_zero_and_stock_that_nobody_moved(shop: Vendure, tmp_path: Path):
    variant(shop, "LESS", on_hand=-2, moved=-2)
    variant(shop, "OTHER", on_hand=9)
    ordered = variant(shop, "BACKORDER", on_hand=-5, moved=-5)
    backorders = 'UPDATE product_variant SET "useGlobalOutOfStockThreshold" = false, "outOfStockThreshold" = -9'
    shop.execute(f"{backorders} WHERE id = %s", [ordered])
    untracked = variant(shop, "UNTRACKED", on_hand=9)
    shop.execute("UPDATE product_variant SET \"trackInventory\" = 'FALSE' WHERE id = %s", [untracked])
    findings = await found(shop, tmp_path)
    assert names(findings.values()) == ["negative_stock", "stock_movements"]
    assert "LESS: -2 on hand, 0 allocated" in findings["negative_stock"].text
    assert findings["stock_movements"].text.endswith("(OTHER: 9 on hand, 10 by its movements)")
    shop.execute("INSERT INTO stock_location (name, description) VALUES ('Second', '')")
    assert names((await found(shop, tmp_path)).values()) == ["negative_stock"]


async def test_promotions_past_their_end_are_counted_in_the_shops_time(shop: Vendure, tmp_path: Path):
    promotion = """INSERT INTO promotion ("endsAt", enabled, conditions, actions, "priorityScore")
                   VALUES (%s, %s, '[]', '[]', 0)"""
    shop.execute(promotion, [shop.written(ago(minutes=5)), True])
    shop.execute(promotion, [shop.written(ago(minutes=-5)), True])
    shop.execute(promotion, [shop.written(ago(days=5)), False])
    assert (await found(shop, tmp_path))["ended_promotions"].text.startswith("1 promotions")


async def test_a_search_index_that_is_not_the_catalogue(shop: Vendure, tmp_path: Path):
    variant(shop, "SOUND")
    variant(shop, "MISSING", indexed=False)
    deleted, disabled, renamed = (variant(shop, it) for it in ("DELETED", "DISABLED", "RENAMED"))
    shop.execute('UPDATE product_variant SET "deletedAt" = localtimestamp WHERE id = %s', [deleted])
    shop.execute("UPDATE product_variant SET enabled = false WHERE id = %s", [disabled])
    shop.execute("UPDATE product_variant SET sku = 'NEW' WHERE id = %s", [renamed])
    fresh = variant(shop, "FRESH", indexed=False)
    shop.execute('UPDATE product_variant SET "updatedAt" = localtimestamp WHERE id = %s', [fresh])  # a job indexes it
    findings = await found(shop, tmp_path)
    assert names(findings.values()) == ["missing_in_search", "stale_in_search"]
    assert "(MISSING)" in findings["missing_in_search"].text
    assert findings["stale_in_search"].text.startswith("3 entries")
    for text in ("DELETED was deleted", "DISABLED was disabled", "RENAMED is NEW now"):
        assert text in findings["stale_in_search"].text


async def test_totals_that_are_not_those_of_the_lines(shop: Vendure, tmp_path: Path):
    it = variant(shop, "A")
    line(shop, shop.order("WRONG", at=ago(days=2), net=9_900), it, price=1000, quantity=3)
    line(shop, shop.order("ROUNDED", at=ago(days=2), net=3_002), it, price=1000, quantity=3)
    line(shop, shop.order("LONGAGO", at=ago(days=40), net=9_900), it, price=1000, quantity=3)
    finding = (await found(shop, tmp_path))["order_totals"]
    assert finding.text.endswith("(WRONG: 9900, its lines 3000)")
    assert finding.text.startswith("1 placed orders")


async def test_orders_that_are_paid_and_not_placed_or_placed_and_still_carts(shop: Vendure, tmp_path: Path):
    paid = shop.order("PAID", state="ArrangingPayment", net=800, gross=1000)
    shop.payment(paid, ago(hours=2), "Settled")
    partly = shop.order("PARTLY", state="ArrangingPayment", net=2000, gross=2400)
    shop.payment(partly, ago(hours=2), "Settled")
    placed = shop.order("PLACED", at=ago(days=1))
    shop.execute('UPDATE "order" SET active = true WHERE id = %s', [placed])
    stuck = shop.order("STUCK", state="ArrangingPayment")
    shop.execute(f'UPDATE "order" SET "updatedAt" = {OLD} WHERE id = %s', [stuck])
    findings = await found(shop, tmp_path)
    assert names(findings.values()) == ["paid_not_placed", "stuck_orders", "active_placed"]
    assert "1 orders that are paid" in findings["paid_not_placed"].text
    assert "PAID in ArrangingPayment" in findings["paid_not_placed"].text
    assert findings["paid_not_placed"].severity == "critical"
    assert "STUCK since" in findings["stuck_orders"].text
    assert "PLACED in PaymentSettled" in findings["active_placed"].text


async def test_assets_that_nothing_refers_to(shop: Vendure, tmp_path: Path):
    asset = f"""INSERT INTO asset (type, "mimeType", "fileSize", source, preview, name, "createdAt")
                VALUES ('IMAGE', 'image/png', 1, 's', 'p', 'n', {OLD}) RETURNING id"""
    if not shop.execute("SELECT FROM information_schema.columns WHERE table_name = 'asset' AND column_name = 'name'"):
        asset = asset.replace(", name", "").replace(", 'n'", "")
    used, _, featured = (shop.execute(asset)[0][0] for _ in range(3))
    it = variant(shop, "A")
    link = 'INSERT INTO product_variant_asset ("assetId", position, "productVariantId") VALUES (%s, 0, %s)'
    shop.execute(link, [used, it])
    shop.execute('UPDATE product SET "featuredAssetId" = %s', [featured])
    finding = (await found(shop, tmp_path))["orphaned_assets"]
    assert finding.text.startswith("1 assets that nothing in the database refers to")


async def test_many_rows_are_counted_and_a_few_are_named(shop: Vendure, tmp_path: Path):
    for number in range(12):
        variant(shop, f"N{number}", on_hand=-1, moved=-1)
    text = (await found(shop, tmp_path))["negative_stock"].text
    assert text.startswith("12 stock levels below zero: ")
    assert text.endswith(" and others")
    assert text.count("on hand") == 5


async def test_what_this_shop_does_not_have_is_left_out_and_what_is_hidden_is_named(shop: Vendure, tmp_path: Path):
    shop.execute("DROP TABLE search_index_item")
    shop.execute("REVOKE ALL ON promotion FROM toban_reader")
    listed = "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns WHERE table_name = %s"
    ((columns,),) = shop.execute(listed, ["promotion"])
    shop.execute(f"REVOKE SELECT ({columns}) ON promotion FROM toban_reader")
    async with reading(shop, tmp_path) as tools:
        plan = await VendureIntegrity().plan(tools)
        assert names(plan.findings) == ["rights ended_promotions"]
        assert plan.findings[0].remedy.startswith('GRANT SELECT ("id", "couponCode"')
        assert await VendureIntegrity().missing(tools) == plan.findings[0].remedy
        assert "not in this shop: missing_in_search (search_index_item), stale_in_search" in plan.text
        assert plan.figures == {FOUND.name: 0}


async def test_a_database_without_vendure_fails_with_the_reason(postgres: servers.Postgres, tmp_path: Path):
    async with open_connections(ShopSettings(database=SecretStr(postgres.address()))) as connections:
        tools: TaskTools = tools_for(connections, tmp_path)
        with pytest.raises(ActionError, match="no check could be done; this shop has no negative_stock"):
            await VendureIntegrity().plan(tools)
