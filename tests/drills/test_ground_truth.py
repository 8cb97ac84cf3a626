"""A real shop and the whole program: every metric equals the ground truth of the traffic."""

import asyncio
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.counter_decreases import ALL_COUNTERS, api_samples, decreases
from tests.program import Program, eventually, toban
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, place_orders, run_vendure
from toban.demo.ground_truth import GroundTruth
from toban.demo.servers import free_port
from toban.instruments.error_classes import responsible_party

pytestmark = SLOW

OFTEN = """
shop: {check: {}, services: {}}
notify: {timezone: "%s"}
collect:
  - {kind: vendure_db, interval: 1s}
  - {kind: bullmq, interval: 1s}
  - {kind: telemetry, interval: 1s}
  - {kind: shop_api, name: vendure, url: "%s", interval: 1s}
"""
# Where it is about noon, midnight does not come in the middle of a test.
ZONE = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
OURS = {"TobanCatalogue", "TobanSearch", "TobanProduct"}


def monitored(tmp_path: Path, shop: ShopProcesses, port: int, **more: str):
    configuration = tmp_path / "toban.yaml"
    configuration.write_text(OFTEN % (ZONE, shop.shop_api))
    arguments = ("--listen", f"127.0.0.1:{port}", "--config", str(configuration))
    return toban(tmp_path / "data", *arguments, DATABASE_URL=shop.database_url, SHOP_API_URL=shop.shop_api, **more)


def metric_values(program: Program, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
    """Return a metric's numbers by some of its labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for series in program.query(metric):
        found[tuple(series["metric"].get(label, "") for label in labels)] += round(float(series["value"][1]))
    return found


def counted(program: Program, ground_truth: GroundTruth) -> None:
    """Wait until everything that was asked has been told, and hold it against the books."""
    operations = Counter({(name or "(none)",): many for name, many in ground_truth.requests.items() if name})

    def requests() -> Counter[tuple[str, ...]]:
        found = metric_values(program, "vendure_graphql_duration_seconds_count", "operation")
        found.pop(("Catalogue",), None)
        return found

    eventually(requests, lambda found: found == operations)
    statuses = metric_values(program, 'vendure_api_requests_total{endpoint="/shop-api"}', "status")
    catalogue = Counter({("200",): 1})
    assert statuses == Counter({(str(status),): many for status, many in ground_truth.statuses.items()}) + catalogue

    created = Counter((order.channel, order.customer_type) for order in ground_truth.orders)
    eventually(
        lambda: metric_values(program, "vendure_orders_created_total", "channel", "customerType"),
        lambda it: it == created,
    )
    revenue = Counter[tuple[str, ...]]()
    for order in ground_truth.orders:
        revenue[order.channel, order.currency] += order.net
    assert metric_values(program, "vendure_revenue_total * 100", "channel", "currency") == revenue
    failed_is(program, sum(ground_truth.failed_attempts.values()))


def report_equals(program: Program, ground_truth: GroundTruth) -> None:
    """Hold the owner's report of today against the books."""
    today = datetime.now(ZoneInfo(ZONE)).date()
    report = json.loads(program.run("report", "--period", "day", "--day", str(today), "--format", "json").stdout)
    sales, revenue = report["sales"], Counter[str]()
    for (_, currency), net in ground_truth.revenue.items():
        revenue[currency] += net
    assert sales["orders"]["value"] == len(ground_truth.orders) == sum(it["orders"] or 0 for it in sales["slots"])
    assert {of: round(it["value"] * 100) for of, it in sales["revenue"].items()} == revenue
    failed = Counter[str]()
    for (method, _), many in ground_truth.failed_attempts.items():
        failed[method] += many
    assert {it["method"]: it["failed"] for it in report["payments"]} == failed
    requests = {it["operation"]: it["requests"] for it in report["speed"] if it["operation"] in ground_truth.requests}
    assert len(requests) >= 5
    assert requests == {name: ground_truth.requests[name] for name in requests}


def failed_is(program: Program, many: int) -> None:
    """Wait until so many payments are known to have failed."""
    eventually(lambda: metric_values(program, "sum(vendure_payments_failed_total)")[()], lambda found: found == many)


async def test_metrics_of_enriched_telemetry_and_tables_equal_the_ground_truth(tmp_path):
    """
    Requests by operation and status, errors and error_results by code, views, orders, revenue, payments.
    """
    port = free_port()
    with (
        run_vendure(ShopVariant(telemetry="enriched"), f"http://127.0.0.1:{port}") as shop,
        monitored(tmp_path, shop, port) as program,
    ):
        assert program.url
        ground_truth = await place_orders(shop, seed=11, orders=20)
        counted(program, ground_truth)

        errors = Counter(
            (name or "(none)", code, responsible_party(code))
            for (name, code), n in ground_truth.errors.items()
            for _ in range(n)
        )
        assert metric_values(program, "vendure_graphql_errors_total", "operation", "code", "fault") == errors
        error_results = Counter({(name, code): many for (name, code), many in ground_truth.error_results.items()})
        assert metric_values(program, "vendure_error_results_total", "operation", "code") == error_results
        views = Counter({(product,): many for product, many in ground_truth.views.items()})
        assert metric_values(program, "vendure_product_views_total", "productId") == views
        # The process tells of its memory too, so all of the original's checks of health can be made.
        eventually(lambda: program.health()[1], lambda found: found.get("memory_rss") == "up")
        assert not OURS & {
            name for (name,) in metric_values(program, "vendure_graphql_duration_seconds_count", "operation")
        }

        assert not decreases(api_samples(program.query(ALL_COUNTERS)))
        report_equals(program, ground_truth)

        # PostgreSQL stops under the running shop: HTTP goes on saying 200, toban does not.
        shop.postgres.kill()
        eventually(lambda: program.value('up{job="vendure"}'), lambda found: found == 0)
        eventually(
            lambda: program.query('vendure_graphql_errors_total{fault="shop"}') or program.health()[0] == 503, bool
        )
        shop.postgres.start()
        eventually(lambda: program.value('up{job="vendure"}'), lambda found: found == 1)
        assert program.stop() == 0


async def test_plain_telemetry_and_a_kill_lose_no_order(tmp_path):
    """
    The plugin alone, ids that are no numbers, and toban killed while customers shop: what must be exact still is.
    """
    port = free_port()
    with run_vendure(ShopVariant(telemetry="plain", ids="uuid"), f"http://127.0.0.1:{port}") as shop:
        with monitored(tmp_path, shop, port) as program:
            assert program.url
            ground_truth = await place_orders(shop, seed=12, orders=8)
            counted(program, ground_truth)
            program.kill()
        again = round(time.time() * 1000)
        away = await place_orders(shop, seed=13, orders=3)
        with monitored(tmp_path, shop, port) as program:
            created = Counter((one.channel, one.customer_type) for one in [*ground_truth.orders, *away.orders])
            eventually(
                lambda: metric_values(program, "vendure_orders_created_total", "channel", "customerType"),
                lambda found: found == created,
            )
            failed_is(program, sum((ground_truth.failed_attempts + away.failed_attempts).values()))
            assert not decreases(api_samples(program.query(ALL_COUNTERS)), [again])
            assert program.stop() == 0


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.soak)])
async def test_totals_equal_the_ground_truth_however_often_toban_is_killed(tmp_path, kills, record_property):
    """
    At any moment while customers shop; each life goes on where the one before was cut off.
    """
    chance, ground_truths, begun = random.Random(kills), list[GroundTruth](), list[int]()
    with run_vendure(ShopVariant(jobs="bullmq")) as shop:

        def lives() -> None:
            for _ in range(kills):
                begun.append(round(time.time() * 1000))
                with monitored(tmp_path, shop, free_port(), REDIS_URL=shop.redis_url or "") as program:
                    time.sleep(chance.uniform(0.3, 4))
                    program.kill()

        killing = asyncio.get_running_loop().run_in_executor(None, lives)
        while not killing.done():
            ground_truths.append(await place_orders(shop, seed=len(ground_truths), orders=3))
        await killing
        orders = [order for ground_truth in ground_truths for order in ground_truth.orders]
        begun.append(round(time.time() * 1000))
        record_property("killed while so many orders were placed", len(orders))
        with monitored(tmp_path, shop, free_port(), REDIS_URL=shop.redis_url or "") as program:
            created = Counter((one.channel, one.customer_type) for one in orders)
            eventually(
                lambda: metric_values(program, "vendure_orders_created_total", "channel", "customerType"),
                lambda found: found == created,
            )
            revenue = Counter[tuple[str, ...]]()
            for order in orders:
                revenue[order.channel, order.currency] += order.net
            assert metric_values(program, "vendure_revenue_total * 100", "channel", "currency") == revenue
            failed_is(program, sum(sum(ground_truth.failed_attempts.values()) for ground_truth in ground_truths))
            done = metric_values(program, 'sum(vendure_jobs_completed_total{queue="update-search-index"})')
            assert done[()] == len(orders)
            assert not decreases(api_samples(program.query(ALL_COUNTERS)), begun)
            assert program.stop() == 0
