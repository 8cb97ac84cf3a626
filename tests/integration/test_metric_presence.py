"""
Which metrics are transient: the declarations of the queries against idle and busy servers.

A rule that reads one that comes and goes must say what it is while it is away; so none may be forgotten.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from tests import servers
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools
from tests.vendure import Vendure, vendure
from toban.collect.collector import Collector
from toban.collect.collectors import postgres
from toban.collect.collectors.vendure_db import vendure_db
from toban.collect.sql_metrics import SqlQuery, suitable_queries
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.shop.settings import ShopSettings
from toban.state.backends import SqliteBackend
from toban.state.database import State

AS_SET_UP = {"postgres_database_checksum_failures_total"}
"""What a server has or has not, whatever happens on it."""


async def seen(collector: Collector, tools: CollectorTools) -> set[str]:
    found = await collector.collect(tools)
    assert not getattr(found, "error", "")
    return {sample.family.name for sample in found.samples}  # type: ignore[union-attr]  # a look


def declared_presence(queries: Sequence[SqlQuery]) -> dict[str, str]:
    """Return what queries say of when their numbers are there."""
    return {family.name: family.present for query in queries for family in query.families}


def check(declared: dict[str, str], quiet: set[str], busy: set[str], neither: frozenset[str] = frozenset()) -> None:
    """
    Hold marks against what was there on a quiet and on a busy server.

    What is not there on the quiet one has a mark; what has a mark is not there on that one, and is on the busy one.
    """
    absent = declared.keys() - quiet - AS_SET_UP
    assert {name for name in absent if not declared[name]} == set(), "these want a line `-- present: while …`"
    marked = {name for name, words in declared.items() if words}
    assert marked & quiet == set(), "these are there on a quiet server"
    assert marked - busy == neither, "nothing showed these"


async def test_presence_of_the_shops_metrics_is_declared_correctly(postgres: servers.Postgres, tmp_path: Path) -> None:
    """
    Against the tables of a real Vendure, empty and busy.
    """
    quiet, busy = set[str](), set[str]()
    with vendure(postgres) as shop:
        quiet = await of_shop(shop, tmp_path / "quiet.db")
        make_busy(shop)
        busy = await of_shop(shop, tmp_path / "busy.db")
    check(declared_presence(vendure_db.QUERIES), quiet, busy)


async def of_shop(shop: Vendure, path: Path) -> set[str]:
    async with (
        collector_tools(database=shop.url) as tools,
        State(SqliteBackend(path), FakeClock(), MetricRegistry()) as state,
    ):
        settings = ShopSettings.model_validate({"precision": 2})
        tools = replace(
            tools, clock=FakeClock(datetime.now(UTC)), state=state, shop=replace(tools.shop, settings=settings)
        )
        return await seen(vendure_db.VendureDb(instance="db"), tools)


def make_busy(shop: Vendure) -> None:
    """Let everything happen that shows something: a cart, an order that hangs, cards that are tried, jobs, tasks."""
    now = datetime.now(UTC)
    shop.order("placed", now)
    cart = shop.order("cart", state="AddingItems")
    stuck = shop.order("stuck", state="ArrangingPayment")
    shop.payment(stuck, now - timedelta(minutes=5), "Settled")
    for _ in range(3):
        shop.payment(cart, now - timedelta(minutes=2))
    shop.job("mail", "PENDING", now)
    for statement in (
        """INSERT INTO scheduled_task_record ("taskId", enabled, "lastExecutedAt", "lastResult")
           VALUES ('clean', true, now(), '{}')""",
        """INSERT INTO global_settings ("availableLanguages") VALUES ('en')""",
        "INSERT INTO product (id) VALUES (1)",
        """INSERT INTO product_variant (id, sku, "productId") VALUES (1, 'A', 1)""",
        "INSERT INTO stock_location (id, name, description) VALUES (1, '', '')",
        """INSERT INTO stock_level ("stockOnHand", "stockAllocated", "productVariantId", "stockLocationId")
           VALUES (3, 1, 1, 1)""",
        """INSERT INTO order_line (quantity, "listPrice", "listPriceIncludesTax", adjustments, "taxLines", "orderId",
             "productVariantId") VALUES (1, 100, false, '[]', '[]', (SELECT id FROM "order" WHERE code = 'cart'), 1)""",
    ):
        shop.execute(statement)


async def test_presence_of_the_servers_metrics_is_declared_correctly() -> None:
    """
    Against a real PostgreSQL: quiet; then with tables, statements, a client that waits for another, and a slot.
    """
    with ExitStack() as stack:
        server = stack.enter_context(
            servers.postgres(
                wal_level="logical", max_slot_wal_keep_size="64MB", archive_mode="on", archive_command="true"
            )
        )
        quiet = await of_server(server)
        busy = quiet | await _busied(server, stack)
    declared = declared_presence(suitable_queries(postgres.QUERIES, 18, {"primary", "waiting", "pg_stat_statements"}))
    elsewhere = {name for name in declared if name.startswith("postgres_replication_") and "slot" not in name}
    check(declared, quiet, busy, frozenset({"postgres_archiver_last_failed_time_seconds", *elsewhere}))


async def of_server(server: servers.Postgres) -> set[str]:
    async with collector_tools(database=server.address()) as tools:
        return await seen(postgres.Postgres(), tools)


async def _busied(server: servers.Postgres, stack: ExitStack) -> set[str]:
    with psycopg.connect(server.address(), autocommit=True) as owner:
        for statement in (
            "CREATE EXTENSION pg_stat_statements",
            "CREATE TABLE goods (id int PRIMARY KEY)",
            "CREATE TABLE others ()",
            "VACUUM ANALYZE goods",
            "SELECT pg_create_physical_replication_slot('old', true)",
            "SELECT pg_stat_reset()",
            "VACUUM ANALYZE goods",
            "SELECT pg_switch_wal()",
        ):
            owner.execute(statement)  # type: ignore[call-overload]  # a literal
    holder, waiter = (stack.enter_context(psycopg.connect(server.address())) for _ in range(2))
    holder.execute("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE")
    waiting = asyncio.create_task(asyncio.to_thread(waiter.execute, "SELECT * FROM goods"))
    try:
        found = set[str]()
        wanted = {"postgres_blocking_sessions", "postgres_archiver_last_archived_time_seconds"}
        deadline = asyncio.get_running_loop().time() + 20
        while not wanted <= found:
            assert asyncio.get_running_loop().time() < deadline, wanted - found
            found |= await of_server(server)
        return found
    finally:
        holder.rollback()
        await waiting
