"""The shop's tables, written by a real Vendure whose processes and whose database live in different time zones."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import numpy as np
import psycopg
import pytest

from tests.fakes import FakeClock, sample_values
from tests.integration.scraping import collector_tools
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, api_key, place_orders, run_vendure
from toban.collect.collector import Scraper, ScrapeResult
from toban.collect.collectors.vendure_db.vendure_db import VendureDb
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, is_stale
from toban.demo.ground_truth import GroundTruth
from toban.shop.grants import COLUMNS, grants, missing_grants
from toban.shop.settings import ShopSettings
from toban.state.backends import SqliteBackend
from toban.state.database import State

pytestmark = SLOW

ZONE = "Asia/Tokyo"


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    with run_vendure(ShopVariant(zone=ZONE, database_zone="America/New_York")) as it:
        yield it


class ReopenedState(State):
    """State that is opened anew for each transaction: only what lies in its file goes on."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self._path = path
        self._fake_clock = clock

    async def transaction(self, work):
        async with State(SqliteBackend(self._path), self._fake_clock, MetricRegistry()) as state:
            return await state.transaction(work)


@dataclass
class ShopScraping:
    """A look after the other, with toban's state in a file."""

    tools: CollectorTools
    path: Path
    collector: VendureDb
    batches: list[Batch]
    scraper: Scraper | None = None

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self.tools.clock, FakeClock)
        return self.tools.clock

    async def scrape(self) -> dict[str, float]:
        """Look once as after a start: state is opened anew, and nothing is remembered but what lies in it."""
        async with State(SqliteBackend(self.path), self.clock, MetricRegistry()) as state:
            return self._taken(await self.collector.collect(replace(self.tools, state=state)))

    async def scrape_again(self) -> dict[str, float]:
        """Look once with the same scraper, which knows what the store has; state is opened anew all the same."""
        if self.scraper is None:
            self.scraper = self.collector.open(replace(self.tools, state=ReopenedState(self.path, self.clock)))
        return self._taken(ScrapeResult.of(await self.scraper.collect()))

    def _taken(self, found: ScrapeResult) -> dict[str, float]:
        assert not found.error
        assert found.stored
        found.stored()
        self.batches += found.batches
        self.samples = {str(sample.family.name): sample.value for sample in found.samples}
        return {name: value for name, value in sample_values(found.batches).items() if isinstance(value, float)}


@pytest.fixture
async def scraping(shop: ShopProcesses, tmp_path: Path) -> AsyncIterator[ShopScraping]:
    async with collector_tools(database=shop.database_url) as tools:
        settings = ShopSettings.model_validate({"timezone": ZONE, "precision": 2})
        tools = replace(tools, clock=FakeClock(datetime.now(UTC)), shop=replace(tools.shop, settings=settings))
        yield ShopScraping(tools, tmp_path / "toban.db", VendureDb(instance="db"), [])


def numbers(found: dict[str, float], name: str) -> dict[tuple[str, ...], float]:
    """Return the series of a metric, by their labels' values."""
    parts = {key: value for key, value in found.items() if key.startswith(name + "{")}
    return {
        tuple(
            pair.split("=")[1].strip('"')
            for pair in key.removeprefix(name + "{").rstrip("}").split(", ")
            if not pair.startswith(("instance=", "job="))
        ): value
        for key, value in parts.items()
        if value
    }


def amounts(ground_truth: GroundTruth, by: str) -> dict[tuple[str, ...], float]:
    totals: Counter[tuple[str, ...]] = Counter()
    for order in ground_truth.orders:
        totals[(getattr(order, by), order.currency) if by == "channel" else (getattr(order, by),)] += order.net
    return {key: round(total / 100, 6) for key, total in totals.items()}


async def test_all_metrics_equal_the_ground_truth(shop: ShopProcesses, scraping: ShopScraping):
    """
    Orders by channel and type, revenue by currency, states at placement, campaigns, payments that failed, and, a
    quarter of an hour later, orders that did. A restart at each look changes nothing.
    """
    before = await scraping.scrape()
    ground_truth = await place_orders(shop, seed=7, orders=15)
    scraping.clock.advance((datetime.now(UTC) - scraping.clock.now()).total_seconds())
    after = await scraping.scrape()
    assert before == {}

    created = Counter((order.channel, order.customer_type) for order in ground_truth.orders)
    assert numbers(after, "vendure_orders_created_total") == dict(created)
    assert numbers(after, "vendure_revenue_total") == pytest.approx(amounts(ground_truth, "channel"))
    assert numbers(after, "vendure_order_total_amount_sum") == pytest.approx(amounts(ground_truth, "state"))
    classes = {"Declined": "declined", "Error": "error"}
    failed = Counter(
        (classes[state], method) for (method, state), many in ground_truth.failed_attempts.items() for _ in range(many)
    )
    assert {key[::-1][0]: 0 for key in numbers(after, "vendure_payments_failed_total")}.keys() == {m for _, m in failed}
    assert sum(numbers(after, "vendure_payments_failed_total").values()) == sum(failed.values())
    used = [order for order in ground_truth.orders if order.discount]
    assert sum(numbers(after, "vendure_campaign_usage_total").values()) == len(used)
    assert sum(numbers(after, "vendure_campaign_discount_amount_sum").values()) == pytest.approx(
        sum(order.discount for order in used) / 100
    )
    assert numbers(after, "vendure_orders_failed_total") == {}

    scraping.clock.advance(timedelta(minutes=16).total_seconds())
    late = await scraping.scrape()
    assert sum(numbers(late, "vendure_orders_failed_total").values()) == len(ground_truth.unpaid)
    again = await scraping.scrape()
    assert {name: value for name, value in again.items() if late.get(name) != value} == {}


async def test_history_and_downtime_are_counted_at_their_own_times(shop: ShopProcesses, scraping: ShopScraping):
    """
    Orders of the last days, read at a first start, rise where they were placed; so do those of three hours away.
    """
    with psycopg.connect(shop.database_url.replace("toban@", "postgres@"), autocommit=True) as owner:
        owner.execute(
            """INSERT INTO "order" (type, code, state, active, "orderPlacedAt", "couponCodes", "shippingAddress",
                 "billingAddress", "currencyCode", "subTotal", "subTotalWithTax", shipping, "shippingWithTax")
               SELECT 'Regular', 'OLD' || n, 'Delivered', false,
                 (now() - n * interval '1 minute') AT TIME ZONE %s, '', '{}', '{}', 'USD', 1000, 1200, 0, 0
               FROM generate_series(60, 60 + 9999) n""",
            [ZONE],
        )
    for _ in range(20):
        await scraping.scrape_again()
        if scraping.samples["vendure_db_behind_seconds"] == 0:
            break
    assert scraping.samples["vendure_db_behind_seconds"] == 0

    assert (
        len({labels for batch in scraping.batches for labels in batch.layout.series}) < scraping.collector.sample_limit
    )

    rises = Counter[int]()
    last = 0.0
    for batch in sorted(scraping.batches, key=lambda batch: batch.at):
        now = sum(
            value
            for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True)
            if labels.name == "vendure_orders_created_total" and not is_stale(np.array([value]))[0]
        )
        if now > last:
            rises[batch.at // 3_600_000] += int(now - last)
            last = now
    full = sorted(rises)[1:-3]
    assert len(full) > 160
    assert all(55 <= rises[hour] <= 65 for hour in full)
    with psycopg.connect(shop.database_url.replace("toban@", "postgres@"), autocommit=True) as owner:
        owner.execute("""DELETE FROM "order" WHERE code LIKE 'OLD%'""")


async def test_an_order_visible_late_counts_once(shop: ShopProcesses, scraping: ShopScraping):
    """
    Its own time lies before what was read already.
    """
    await scraping.scrape_again()
    count = 'INSERT INTO "order" (type, code, state, active, "orderPlacedAt", "couponCodes", "shippingAddress", "billingAddress", "currencyCode", "subTotal", "subTotalWithTax", shipping, "shippingWithTax") VALUES (%s, %s, \'PaymentSettled\', false, (now() - interval \'20 minutes\') AT TIME ZONE %s, \'\', \'{}\', \'{}\', \'USD\', 1000, 1200, 0, 0)'  # noqa: E501
    scraping.clock.advance(30)
    was = sum(numbers(await scraping.scrape_again(), "vendure_orders_created_total").values())
    with psycopg.connect(shop.database_url.replace("toban@", "postgres@"), autocommit=True) as owner:
        owner.execute(count, ["Regular", "LATE1", ZONE])
        owner.execute(count, ["Seller", "LATE2", ZONE])
        for _ in range(3):
            scraping.clock.advance(30)
            now = sum(numbers(await scraping.scrape_again(), "vendure_orders_created_total").values())
        owner.execute("""DELETE FROM "order" WHERE code LIKE 'LATE%'""")

    assert now == was + 1


async def test_missing_grants_are_named(shop: ShopProcesses, scraping: ShopScraping):
    """
    Customers' data and secrets are not among it.
    """
    with psycopg.connect(shop.database_url.replace("toban@", "postgres@"), autocommit=True) as owner:
        owner.execute("CREATE ROLE stranger LOGIN")
        owner.execute('GRANT SELECT (id) ON "order" TO stranger')
        async with collector_tools(database=shop.database_url.replace("toban@", "stranger@")) as tools:
            found = await VendureDb().collect(replace(tools, clock=scraping.clock))
            assert tools.shop.database
            for statement in await missing_grants(tools.shop.database, "customerStatus"):
                owner.execute(statement)
            settings = ShopSettings.model_validate({"timezone": ZONE})
            tools = replace(tools, clock=scraping.clock, shop=replace(tools.shop, settings=settings))
            tried = await VendureDb().open(tools).check()
            assert await missing_grants(tools.shop.database, "customerStatus") == []
            owner.execute("DROP OWNED BY stranger")
        columns = owner.execute(COLUMNS).fetchall()
        owner.execute("DROP OWNED BY stranger")
        owner.execute("DROP ROLE stranger")

    assert isinstance(found, ScrapeResult)
    assert found.error.startswith("may not read channel (id, code), customer (id, customFieldsCustomerstatus), ")
    assert "toban init" in found.error
    assert {sample.family.name for sample in tried.samples} >= {"vendure_jobs_waiting", "vendure_stock_low"}
    assert tried.notes == []
    granted = "\n".join(grants(columns, "toban"))
    assert '"emailAddress"' not in granted
    assert '"token"' not in granted.split('ON "session"')[0].rsplit("GRANT", 1)[1]


async def test_a_wrong_time_zone_is_named(shop: ShopProcesses, scraping: ShopScraping):
    """
    The newest order can't lie nine hours in the future.
    """
    await place_orders(shop, seed=3, orders=1)
    wrong = replace(scraping.tools.shop, settings=ShopSettings())
    found = await VendureDb().open(replace(scraping.tools, shop=wrong)).check()

    assert any("9 h ahead of UTC: set shop.timezone" in note for note in found.notes)


async def test_the_precision_of_money_is_read_from_the_admin_api(tmp_path: Path):
    """
    With an API key the shop itself says that its yen have none; with a wrong one orders wait rather than be guessed.
    """
    with run_vendure(ShopVariant(precision=0)) as shop:
        async with httpx2.AsyncClient() as http:
            key = await api_key(http, shop)
        ground_truth = await place_orders(shop, seed=4, orders=2)
        for secret, place in ((key, "right.db"), ("1:nonsense", "wrong.db")):
            async with collector_tools(database=shop.database_url) as tools:
                settings = ShopSettings.model_validate({"admin_api": shop.admin_api, "admin_api_key": secret})
                shop_connections = replace(tools.shop, settings=settings)
                clock = FakeClock(datetime.now(UTC))
                scraping = ShopScraping(
                    replace(tools, clock=clock, shop=shop_connections), tmp_path / place, VendureDb(), []
                )
                found = await scraping.scrape()
            sums = numbers(found, "vendure_revenue_total")
            expected = Counter[tuple[str, ...]]()
            for order in ground_truth.orders:
                expected[order.channel, order.currency] += order.net
            assert sums == (dict(expected) if secret == key else {})
            assert any("vendure_jobs" in name or "vendure_payments" in name for name in found)


async def test_payment_outcomes_of_the_last_minutes_are_reported(shop: ShopProcesses, scraping: ShopScraping):
    """
    By method, how they ended and window, with zeros; orders in a row that failed; those who try again and again.
    """
    statement = """INSERT INTO payment (method, amount, state, "createdAt", "orderId", metadata)
        SELECT %s, 4200, %s, localtimestamp - %s::interval,
          (SELECT id FROM "order" ORDER BY id OFFSET %s LIMIT 1), '{}'"""
    owner = shop.database_url.replace("toban@", "postgres@")
    with psycopg.connect(owner, autocommit=True) as connection:
        for order in ("FIRST", "SECOND"):
            connection.execute(
                """INSERT INTO "order" (type, code, state, active, "couponCodes", "shippingAddress", "billingAddress",
                     "currencyCode", "subTotal", "subTotalWithTax", shipping, "shippingWithTax")
                   VALUES ('Regular', %s, 'ArrangingPayment', true, '', '{}', '{}', 'USD', 4200, 4200, 0, 0)""",
                [order],
            )
        last = connection.execute("""SELECT count(*) FROM "order" """).fetchone()[0] - 1
        for state, age, place in (
            ("Settled", "20 minutes", last),
            ("Declined", "10 minutes", last),
            *[("Error", "1 minute", last)] * 5,
            ("Declined", "2 minutes", last - 1),
            ("Created", "1 minute", last),
        ):
            connection.execute(statement, ["konbini", state, age, place])
        try:
            await scraping.scrape()
            found = await scraping.collector.collect(scraping.tools)
        finally:
            connection.execute("DELETE FROM payment WHERE method = 'konbini'")
            connection.execute("""DELETE FROM "order" WHERE code IN ('FIRST', 'SECOND')""")

    def of(name: str, **labels: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(value for label, value in sample.labels.items() if label not in labels): sample.value
            for sample in found.samples
            if sample.family.name == name and labels.items() <= sample.labels.items()
        }

    assert of("vendure_payments_recent", method="konbini") == {
        ("declined", "30m"): 2,
        ("declined", "3m"): 1,
        ("error", "30m"): 5,
        ("error", "3m"): 5,
        ("succeeded", "30m"): 1,
        ("succeeded", "3m"): 0,
    }
    assert of("vendure_payments_failing_orders", method="konbini") == {(): 2}
    assert of("vendure_payments_of_order_highest")[()] >= 6
    assert of("vendure_payments_of_order_repeated")[()] >= 1
    assert of("vendure_payment_attempts", order="SECOND") == {("USD",): 6}
    assert of("vendure_payment_attempts_amount", order="SECOND") == {("USD",): 42}
    assert of("vendure_refunds") == {("Failed",): 0, ("Pending",): 0}
    assert of("vendure_variants_free") == {(): 0}
