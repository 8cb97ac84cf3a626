"""The shop's tables with many or unusual rows: history, downtime, lateness, zones, ids, grants."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import yaml

from tests import servers
from tests.fakes import FakeClock, ListSink
from tests.integration.scraping import collector_tools
from tests.vendure import READER, Vendure, vendure
from toban.collect.collector import ScrapeResult
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.collectors.vendure_db.vendure_db import VendureDb
from toban.collect.service import ScrapeLoop
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import is_stale, milliseconds
from toban.shop.settings import ShopSettings
from toban.state.backends import SqliteBackend
from toban.state.database import State

EVERY = timedelta(seconds=30)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLACED = (("AddingItems", "ArrangingPayment"), ("ArrangingPayment", "PaymentSettled"))


@pytest.fixture
def shop(postgres: servers.Postgres) -> Iterator[Vendure]:
    with vendure(postgres) as it:
        yield it


@dataclass
class ShopMonitoring:
    """toban looking at a shop, with what it stored."""

    tools: CollectorTools
    scraping: ScrapeLoop
    sink: ListSink
    collector: VendureDb
    _read: int = field(default=0)

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self.tools.clock, FakeClock)
        return self.tools.clock

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def scrape(self, after: timedelta = EVERY) -> None:
        """Look once, a while later."""
        self.clock.advance(after.total_seconds())
        await self.scraping.collect()

    async def catch_up(self) -> int:
        """Look until nothing is behind, and return how many looks it took."""
        scrapes = 1
        await self.scrape()
        while self.value("vendure_db_behind_seconds"):
            assert self.scraping.status.up, self.scraping.status.error
            await self.scrape()
            scrapes += 1
        return scrapes

    def points(self, name: str, **labels: str) -> list[tuple[int, float]]:
        """Return what was stored of a metric, summed over its series at each time; the later append counts."""
        wanted = {("job", "vendure_db"), *labels.items()}
        by_series: dict[str, dict[int, float]] = {}
        for batch in self.sink.batches:
            for series, value, stale in zip(
                batch.layout.series, batch.values.tolist(), is_stale(batch.values).tolist(), strict=True
            ):
                if series.name == name and wanted <= set(series.items()) and not stale:
                    by_series.setdefault(str(series), {})[batch.at] = value
        changes: dict[int, float] = {}
        for points in by_series.values():
            before = 0.0
            for at in sorted(points):
                changes[at] = changes.get(at, 0.0) + points[at] - before
                before = points[at]
        total, found = 0.0, []
        for at in sorted(changes):
            total = round(total + changes[at], 6)
            found.append((at, total))
        return found

    def value(self, name: str, **labels: str) -> float:
        """Return the newest of a metric."""
        points = self.points(name, **labels)
        return points[-1][1] if points else 0.0

    def has_now(self, name: str) -> bool:
        """Tell whether a metric has a number of now."""
        return any(at == milliseconds(self.now) for at, _ in self.points(name))


def rises(points: Sequence[tuple[int, float]], step: timedelta) -> Counter[int]:
    """Return how much a counter rose in each step of time."""
    found: Counter[int] = Counter()
    before = 0.0
    for at, value in points:
        if value > before:
            found[(at - 1) // (step // timedelta(milliseconds=1))] += round(value - before)
        assert value >= before, "a counter never falls"
        before = value
    return found


@asynccontextmanager
async def on_duty(
    shop: Vendure, path: Path, *, at: datetime = NOON, url: str = "", sink: ListSink | None = None, **settings: object
) -> AsyncIterator[ShopMonitoring]:
    """Look at a shop; with the same path toban was there before."""
    clock = FakeClock(at)
    given = ShopSettings.model_validate({"timezone": shop.zone, "precision": 2, **settings})
    async with (
        collector_tools(database=url or shop.url) as tools,
        State(SqliteBackend(path), clock, MetricRegistry()) as state,
    ):
        tools = replace(tools, clock=clock, state=state, shop=replace(tools.shop, settings=given))
        collector = VendureDb(interval=EVERY)
        sink = sink or ListSink()
        yield ShopMonitoring(tools, ScrapeLoop(collector, sink, tools), sink, collector)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "toban.db"


async def test_a_first_start_backfills_old_orders_at_their_own_times(shop: Vendure, state: Path, record_property):
    """
    100,000 orders of the last 80 days: each day rises by what was placed on it, in major units, and no look is a spike.
    """
    channel = shop.channel("__default_channel__")
    start = NOON - timedelta(days=80)
    shop.execute(
        """INSERT INTO "order" (type, code, state, active, "orderPlacedAt", "couponCodes", "shippingAddress",
             "billingAddress", "currencyCode", "subTotal", "subTotalWithTax", shipping, "shippingWithTax")
           SELECT 'Regular', 'OLD' || n, 'Delivered', false, %s::timestamp + n * (interval '80 days' / 100001.0), '',
             '{}', '{}', 'USD', 100, 120, 0, 0 FROM generate_series(1, 100000) n""",
        [shop.written(start)],
    )
    shop.execute('INSERT INTO order_channels_channel SELECT id, %s FROM "order"', [channel])
    shop.execute("ANALYZE")
    ground_truth = Counter(
        {
            int(day.timestamp()) // 86400: many
            for day, many in shop.execute(
                """SELECT date_trunc('day', "orderPlacedAt") AT TIME ZONE 'UTC', count(*) FROM "order" GROUP BY 1"""
            )
        }
    )
    async with on_duty(shop, state) as duty:
        scrapes = await duty.catch_up()
        record_property("first start beside 100,000 orders: looks", scrapes)
        assert duty.scraping.status.up, duty.scraping.status.error
        assert duty.value("vendure_orders_created_total", channel="default", customerType="general") == 100_000
        assert duty.value("vendure_revenue_total", currency="USD") == pytest.approx(100_000)
        found = rises(duty.points("vendure_orders_created_total"), timedelta(days=1))
        assert set(found) == set(ground_truth)
        # An order of the last minutes of a day may be told at the first step of the next.
        assert all(abs(found[day] - many) <= 5 for day, many in ground_truth.items())
        assert max(rises(duty.points("vendure_orders_created_total"), timedelta(minutes=5)).values()) <= 10


async def test_three_hours_of_downtime_are_no_spike(shop: Vendure, state: Path):
    """
    What was placed meanwhile, and failed, is told at its own time; nothing is told of now before all is read.
    """
    for minute in range(20):
        shop.order(f"B{minute}", NOON - timedelta(minutes=minute, seconds=10))
    sink = ListSink()
    async with on_duty(shop, state, sink=sink) as duty:
        await duty.catch_up()
        assert duty.value("vendure_orders_created_total") == 20
    for minute in range(2, 180):
        order = shop.order(f"C{minute}", NOON + timedelta(minutes=minute, seconds=10))
        if minute % 10 == 0:
            shop.payment(order, NOON + timedelta(minutes=minute))
    async with on_duty(shop, state, at=NOON + timedelta(hours=3), sink=sink) as duty:
        await duty.catch_up()
        assert duty.value("vendure_orders_created_total") == 198
        by_quarter = rises(duty.points("vendure_orders_created_total"), timedelta(minutes=15))
        assert max(by_quarter.values()) <= 21
        away = [at for at, _ in duty.points("vendure_orders_created_total") if at > milliseconds(NOON)]
        gaps = {later - earlier for earlier, later in pairwise(away)}
        assert max(gaps) <= 60_000
        assert duty.value("vendure_payments_failed_total") == 17
        assert max(rises(duty.points("vendure_payments_failed_total"), timedelta(minutes=15)).values()) <= 2
        assert duty.value("vendure_orders_failed_total") == 0


async def test_rows_visible_late_or_out_of_order_count_once(shop: Vendure, state: Path):
    """
    Within an hour, by the order's own time; orders and payments, through restarts.
    """
    async with on_duty(shop, state) as duty:
        await duty.catch_up()
        now = duty.now
    for number, minutes in enumerate((50, 5, 30, 1)):
        order = shop.order(f"L{number}", now - timedelta(minutes=minutes))
        shop.payment(order, now - timedelta(minutes=minutes), "Error")
        async with on_duty(shop, state, at=now + number * EVERY) as duty:
            for _ in range(3):
                await duty.scrape(timedelta(seconds=5))
            assert duty.value("vendure_orders_created_total") == number + 1
            assert duty.value("vendure_payments_failed_total") == number + 1


@pytest.mark.parametrize("ids", ["integer", "uuid"])
async def test_each_order_counts_as_it_was_when_it_was_placed(postgres: servers.Postgres, state: Path, ids: str):
    """
    Second channels once and by their name, sellers' parts not at all, states by the history, types by the customer.
    """
    with vendure(postgres, ids=ids) as shop:
        at = NOON - timedelta(minutes=10)
        both = ("__default_channel__", "b2b")
        shop.order("A", at, state="Shipped", history=PLACED, channels=both, status="gold", currency="EUR", net=123456)
        shop.order("B", at, state="Cancelled", history=[*PLACED[:1], ("ArrangingPayment", "PaymentAuthorized")])
        back = [("ArrangingPayment", "AddingItems"), *PLACED]
        shop.order("C", at, state="Delivered", history=back)
        shop.order("D", at, type="Seller", channels=("__default_channel__", "seller"))
        shop.order("E", at, type="Aggregate", state="PaymentSettled")
        shop.order("F")
        async with on_duty(shop, state) as duty:
            await duty.catch_up()
            value = duty.value
            assert value("vendure_orders_created_total", channel="b2b", customerType="gold") == 1
            assert value("vendure_orders_created_total", channel="default", customerType="general") == 3
            assert value("vendure_orders_created_total") == 4
            assert value("vendure_revenue_total", channel="b2b", currency="EUR") == 1234.56
            assert value("vendure_order_total_amount_count", status="PaymentSettled") == 3
            assert value("vendure_order_total_amount_sum", status="PaymentAuthorized") == 10
            assert value("vendure_order_total_amount_count", status="Shipped") == 0


async def test_precision_and_tax_are_settings(shop: Vendure, state: Path):
    """
    The precision and the tax are settings.
    """
    shop.order("Y", NOON - timedelta(minutes=1), net=1000, gross=1100, currency="JPY")
    async with on_duty(shop, state, precision=0, tax="with") as duty:
        await duty.catch_up()
        assert duty.value("vendure_revenue_total", currency="JPY") == 1100


@pytest.mark.parametrize(
    ("zone", "at", "minutes"),
    [
        ("Asia/Tokyo", NOON, 30),
        # From the middle of the hour that comes twice (0 to 2 UTC) until after it.
        ("Europe/Berlin", datetime(2026, 10, 25, 0, 28, tzinfo=UTC), 100),
        ("America/New_York", datetime(2026, 3, 8, 6, 58, tzinfo=UTC), 70),
    ],
)
async def test_an_order_a_minute_is_counted_in_any_zone(
    postgres: servers.Postgres, state: Path, zone: str, at: datetime, minutes: int
):
    """
    Also through the hour that comes twice, and the one that never comes; the database has a zone of its own.
    """
    with vendure(postgres, zone=zone, database_zone="Asia/Kolkata") as shop:
        async with on_duty(shop, state, at=at) as duty:
            await duty.catch_up()
            for minute in range(minutes):
                order = shop.order(f"Z{minute}", duty.now)
                shop.payment(order, duty.now)
                await duty.scrape(timedelta(minutes=1))
                assert duty.value("vendure_db_behind_seconds") == 0
            assert duty.scraping.status.up
            assert [value for _, value in duty.points("vendure_orders_created_total")][-1] == minutes
            assert duty.value("vendure_payments_failed_total") == minutes


@pytest.mark.parametrize("ids", ["integer", "uuid"])
async def test_an_order_fails_once_15_minutes_after_its_last_attempt(postgres: servers.Postgres, state: Path, ids: str):
    """
    By the method that failed last; one that was paid in the end did not fail; restarts change nothing.
    """
    with vendure(postgres, ids=ids) as shop:
        start = NOON
        lost, paid = shop.order("LOST"), shop.order("PAID", start + timedelta(minutes=9))
        shop.payment(lost, start + timedelta(minutes=1), "Error", "ETIMEDOUT")
        shop.payment(lost, start + timedelta(minutes=5), "Declined", "Insufficient funds", method="invoice")
        shop.payment(paid, start + timedelta(minutes=2), "Declined")
        shop.payment(paid, start + timedelta(minutes=9), "Settled")
        failed = {}
        for minute in range(10, 60, 2):
            async with on_duty(shop, state, at=start + timedelta(minutes=minute)) as duty:
                await duty.catch_up()
                failed[minute] = duty.value("vendure_orders_failed_total")
        assert failed == {minute: float(minute >= 21) for minute in failed}
        assert duty.value("vendure_orders_failed_total", method="invoice") == 1
        classes = ("timeout", "insufficient_funds", "declined")
        assert [duty.value("vendure_payments_failed_total", error=name) for name in classes] == [1, 1, 1]
        # What is tried after the order has failed is an attempt, and no second failure.
        shop.payment(lost, start + timedelta(minutes=61), "Declined")
        async with on_duty(shop, state, at=start + timedelta(minutes=90)) as duty:
            await duty.catch_up()
            assert duty.value("vendure_payments_failed_total") == 4
            assert duty.value("vendure_orders_failed_total") == 1


async def test_the_order_of_a_reported_decline_fails_like_any_other(shop: Vendure, state: Path):
    """
    The word was counted where it came in; a quarter of an hour later the order has failed by its method.
    """
    shop.order("WORD")
    async with on_duty(shop, state) as duty:
        await duty.catch_up()
        assert duty.tools.state
        declining = PaymentDeclineCounter(duty.tools.state, duty.clock, MetricRegistry(), "events")
        for order in ("WORD", "WORD", "OTHER"):
            await declining.record(order, "stripe", "Your card was declined.", duty.now)
        for _ in range(40):
            await duty.scrape()
        assert duty.value("vendure_orders_failed_total", method="stripe") == 2


async def test_campaigns_are_promotions_with_their_discounts(shop: Vendure, state: Path):
    """
    Of lines and of shipping, net also where prices hold the tax; one that took nothing was used all the same.
    """
    order = shop.order("P", NOON - timedelta(minutes=1))
    taken = (
        (1, 2, '[{"adjustmentSource":"PROMOTION:1","type":"PROMOTION","amount":-500}]', '[{"taxRate":20}]', False),
        (2, 2, '[{"adjustmentSource":"PROMOTION:1","amount":-120},{"adjustmentSource":"PROMOTION:2","amount":-60}]',
         '[{"taxRate":20}]', True),
    )  # fmt: skip  # a line of the order each
    shop.execute("SET session_replication_role = replica")  # without the products that these lines are of
    for number, quantity, adjustments, taxes, with_tax in taken:
        shop.execute(
            """INSERT INTO order_line (quantity, "orderPlacedQuantity", "listPriceIncludesTax", adjustments, "taxLines",
                 "productVariantId", "listPrice", "orderId") VALUES (%s, %s, %s, %s, %s, %s, 1000, %s)""",
            [quantity, quantity, with_tax, adjustments, taxes, number, order],
        )
    for promotion in (1, 2, 3):
        shop.execute("INSERT INTO order_promotions_promotion VALUES (%s, %s)", [order, promotion])
    async with on_duty(shop, state) as duty:
        await duty.catch_up()
        used = [duty.value("vendure_campaign_usage_total", campaignId=str(number)) for number in (1, 2, 3)]
        off = [duty.value("vendure_campaign_discount_amount_sum", campaignId=str(number)) for number in (1, 2, 3)]
        assert used == [1, 1, 1]
        assert off == [6.0, 0.5, 0.0]


async def test_jobs_are_counted_by_queue(shop: Vendure, state: Path):
    """
    How many wait and how long, and, exactly, how many were done, given up, and tried again.
    """
    at = NOON - timedelta(minutes=5)
    for queue, job_state, attempts in (
        ("mail", "COMPLETED", 1), ("mail", "COMPLETED", 3), ("mail", "FAILED", 4), ("index", "CANCELLED", 1),
    ):  # fmt: skip  # a job each
        shop.job(queue, job_state, at, ended=at + timedelta(minutes=1), attempts=attempts)
    shop.job("mail", "PENDING", NOON - timedelta(minutes=2), attempts=0)
    shop.job("mail", "RUNNING", at)
    shop.job("index", "RETRYING", at)
    async with on_duty(shop, state) as duty:
        await duty.catch_up()
        names = ("waiting", "running", "retrying", "completed_total", "failed_total", "retried_total")
        mail = {name: duty.value(f"vendure_jobs_{name}", queue="mail") for name in names}
        assert mail == dict(zip(names, (1, 1, 0, 2, 1, 5), strict=True))
        assert duty.value("vendure_jobs_oldest_waiting_seconds", queue="index") == 0
        assert duty.value("vendure_jobs_retrying", queue="index") == 1
        shop.execute("DELETE FROM job_record")  # as Vendure's own clean-up does
        await duty.scrape()
        assert duty.value("vendure_jobs_completed_total", queue="mail") == 2


async def test_totals_are_exact_after_a_kill_between_counting_and_storing(shop: Vendure, state: Path):
    """
    The store missed one look; the counters in state did not.
    """
    sink = ListSink()
    async with on_duty(shop, state, sink=sink) as duty:
        await duty.catch_up()
        shop.order("K1", duty.now)
        duty.clock.advance(30)
        await duty.scraping.scraper.collect()  # counted, and killed before it was told
    shop.order("K2", duty.now + timedelta(seconds=10))
    async with on_duty(shop, state, at=duty.now, sink=sink) as duty:
        await duty.catch_up()
        assert duty.value("vendure_orders_created_total") == 2


async def test_a_missing_column_means_general_and_a_hidden_one_is_an_error(postgres: servers.Postgres, state: Path):
    """
    The error names the grant; what else can be read is read, and when it is granted all is well.
    """
    with vendure(postgres) as shop:
        shop.order("T", NOON - timedelta(minutes=1), status="gold")
        shop.execute(f'REVOKE SELECT ("customFieldsCustomerstatus") ON customer FROM {READER}')
        async with on_duty(shop, state) as duty:
            await duty.scrape()
            grant = f'GRANT SELECT ("customFieldsCustomerstatus") ON "customer" TO "{READER}";'
            assert not duty.scraping.status.up
            assert grant in duty.scraping.status.error
            assert duty.has_now("vendure_newest_order_age_seconds")
            assert not duty.has_now("vendure_orders_created_total")
            shop.execute(grant)
            await duty.catch_up()
            assert duty.scraping.status.up
            assert duty.value("vendure_orders_created_total", customerType="gold") == 1
    with vendure(postgres) as shop:
        shop.execute('ALTER TABLE customer DROP COLUMN "customFieldsCustomerstatus"')
        shop.order("T", NOON - timedelta(minutes=1))
        async with on_duty(shop, state.with_name("other.db")) as duty:
            await duty.catch_up()
            assert duty.value("vendure_orders_created_total", customerType="general") == 1
            found = await VendureDb().open(replace(duty.tools, state=None)).check()
            assert "customers have no custom field customerStatus: all of them are `general`" in found.notes


async def test_the_printed_grants_suffice(postgres: servers.Postgres, state: Path):
    """
    Without any it is told which; with them every number is there, and no customer's name, secret or job's data.
    """
    with vendure(postgres, granted=False) as shop:
        shop.order("G", NOON - timedelta(minutes=1))
        async with on_duty(shop, state) as duty:
            found = await VendureDb().open(replace(duty.tools, state=None)).check()
            assert "`toban init` prints all" in found.error
            await duty.scrape()
            assert not duty.scraping.status.up
            shop.grant()
            await duty.catch_up()
            assert duty.scraping.status.up, duty.scraping.status.error
            found = await VendureDb().open(replace(duty.tools, state=None)).check()
            assert not found.error
            for column, table in (
                ("data", "job_record"), ("token", "session"), ('"emailAddress"', "customer"), ("metadata", "payment"),
            ):  # fmt: skip  # what stays home
                ((may,),) = shop.execute(
                    f"SELECT has_column_privilege('{READER}', '{table}', '{column.strip(chr(34))}', 'SELECT')"
                )
                assert not may


async def test_a_database_without_shop_has_no_samples_and_a_former_shop_is_down(
    postgres: servers.Postgres, state: Path
):
    """
    Tables that were there and are gone are trouble; that there never were any is none.
    """
    with vendure(postgres) as shop:
        async with on_duty(shop, state.with_name("plain.db"), url=postgres.address("postgres")) as duty:
            await duty.scrape()
            assert duty.scraping.status.up
            assert duty.scraping.status.samples == 0
        async with on_duty(shop, state) as duty:
            await duty.catch_up()
            shop.execute("DROP SCHEMA public CASCADE")
            shop.execute("CREATE SCHEMA public")
            await duty.scrape(timedelta(minutes=10))
            await duty.scrape()
            assert not duty.scraping.status.up
            assert "gone" in duty.scraping.status.error


async def test_layouts_are_reused(shop: Vendure, state: Path):
    """
    The store knows series by the identity of their layout: a look that finds nothing new brings the same.
    """
    shop.order("A", NOON - timedelta(minutes=1), status="gold")
    async with on_duty(shop, state) as duty:
        await duty.catch_up()
        seen = []
        for _ in range(3):
            duty.clock.advance(30)
            found = await duty.scraping.scraper.collect()
            assert isinstance(found, ScrapeResult)
            seen.append({id(batch.layout): batch for batch in found.batches})
        assert seen[1].keys() == seen[2].keys()


async def test_payment_attempts_are_counted_over_all_methods(shop: Vendure, state: Path):
    """
    Eight orders, each by a method of its own, are eight in a row; one that succeeds ends that.
    """
    now = datetime.now(UTC)
    placed = shop.order("PAID", at=now - timedelta(hours=2))
    shop.payment(placed, now - timedelta(hours=2), state="Settled", method="card")
    for place in range(8):
        order = shop.order(f"A{place}", state="ArrangingPayment")
        shop.payment(order, now - timedelta(minutes=40 - place), method=f"method-{place}")
    async with on_duty(shop, state, at=now) as duty:
        await duty.scrape()
        assert duty.value("vendure_payments_failing_orders", method="method-3") == 1
        assert duty.value("vendure_payments_overall_failing_orders") == 8
        assert duty.value("vendure_payments_overall_newest_failed") == 8
        shop.payment(order, now - timedelta(minutes=1), state="Settled", method="card")
        await duty.scrape()
        assert duty.value("vendure_payments_overall_failing_orders") == 0
        assert duty.value("vendure_payments_overall_newest_failed") == 8


async def test_countries_of_checkouts_as_documented(shop: Vendure):
    """
    By a view that shows the country alone: the reader still may not see an address.
    """
    text = (Path(__file__).parents[2] / "docs/watch-a-shop.md").read_text("utf-8")
    view, metric = re.search(r"```sql\n(.*?)```\s*```yaml\n(.*?)```", text, re.DOTALL).groups()  # type: ignore[union-attr]  # it is there
    shop.order("A", state="ArrangingPayment")
    shop.order("B", state="ArrangingPayment")
    shop.execute("""UPDATE "order" SET "shippingAddress" = '{"fullName": "Somebody", "countryCode": "NO"}'""")
    shop.execute(view.replace("TO toban;", f"TO {READER};"))
    query = yaml.safe_load(metric)["collect"][0]["metrics"][0]["query"]
    with psycopg.connect(shop.url) as reader:
        assert reader.execute(query).fetchall() == [("NO", "shipping", 2)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute('SELECT "shippingAddress" FROM "order"')
