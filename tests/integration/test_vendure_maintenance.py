"""Maintenance of a real Vendure with both of its job stores: what is pruned, what is refused, what is found."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.maintenance_tools import act, cancel_at_first_progress, names, perform, tools_for
from tests.program import eventually
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, api_key, place_orders, run_vendure
from toban.core.errors import ActionError
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import TaskTools
from toban.maintenance.tasks.prune_jobs import DUE as JOBS_DUE
from toban.maintenance.tasks.prune_jobs import PruneJobs
from toban.maintenance.tasks.prune_sessions import PruneSessions
from toban.maintenance.tasks.vendure_integrity import FOUND, VendureIntegrity
from toban.shop.connections import ShopConnections, open_connections
from toban.shop.settings import ShopSettings

pytestmark = SLOW
ZONE = "Asia/Tokyo"
SESSION = """
INSERT INTO session (token, expires, invalidated, type, "userId", "activeOrderId", "updatedAt")
SELECT %(kind)s || n || '-' || gen_random_uuid(), (now() AT TIME ZONE 'Asia/Tokyo') + %(expires)s::interval, false,
       'AnonymousSession', NULL, NULL, localtimestamp - %(idle)s::interval FROM generate_series(1, %(many)s) n
"""
JOB = """
INSERT INTO job_record ("queueName", state, progress, "isSettled", retries, attempts, "createdAt", "startedAt",
                        "settledAt", data, error)
SELECT %(queue)s, %(state)s, 100, true, 0, 1, localtimestamp - %(age)s::interval, localtimestamp,
       date_trunc('milliseconds', (now() AT TIME ZONE 'Asia/Tokyo') - %(age)s::interval) + n * interval '1 millisecond',
       '{}', %(error)s FROM generate_series(1, %(many)s) n
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    with run_vendure(ShopVariant(zone=ZONE, database_zone="America/New_York")) as started:
        yield started


def owner(shop: ShopProcesses) -> str:
    return shop.postgres.address(shop.database)


@pytest.fixture
async def tools(shop: ShopProcesses, tmp_path: Path) -> AsyncIterator[TaskTools]:
    async with httpx2.AsyncClient() as http:
        settings = {"admin_api": shop.admin_api, "admin_api_key": await api_key(http, shop), "timezone": ZONE}
        given = ShopSettings.model_validate({**settings, "database": shop.database_url})
        async with open_connections(given) as connections:
            yield tools_for(connections, tmp_path, http=http)


def write(shop: ShopProcesses, statement: str, **values: object) -> None:
    with psycopg.connect(owner(shop), autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def sessions(shop: ShopProcesses, kind: str) -> int:
    ((count,),) = shop.query(f"SELECT count(*) FROM session WHERE token LIKE '{kind}%'")
    return int(count)


def jobs(shop: ShopProcesses, queue: str) -> int:
    ((count,),) = shop.query(f"SELECT count(*) FROM job_record WHERE \"queueName\" = '{queue}'")
    return int(count)


async def test_vendures_own_task_removes_sessions_until_none_is_over(shop: ShopProcesses, tools: TaskTools) -> None:
    # More than Vendure removes at once; expired and idle ones go, fresh ones stay.
    write(shop, SESSION, kind="old", expires="-8 days", idle="9 days", many=1_200)
    write(shop, SESSION, kind="idle", expires="300 days", idle="20 days", many=3)
    write(shop, SESSION, kind="fresh", expires="300 days", idle="1 day", many=5)
    task = PruneSessions()
    plan, done = await perform(task, tools)
    (step,) = plan.steps
    assert step.description.startswith("remove 1,203 sessions that are over for more than 7d, by Vendure's task")
    assert sessions(shop, "old") == sessions(shop, "idle") == 0
    assert sessions(shop, "fresh") == 5
    outcome, text = done["sessions"]
    assert outcome is StepOutcome.DONE
    assert text.startswith("removed 1,203 sessions: ")
    assert (await task.plan(tools)).steps == ()


async def test_sessions_go_on_after_a_run_that_was_cancelled(shop: ShopProcesses, tools: TaskTools) -> None:
    write(shop, SESSION, kind="cancelled", expires="-8 days", idle="9 days", many=10)
    task = PruneSessions()
    plan = await task.plan(tools)
    await cancel_at_first_progress(task, plan.steps[0], tools)
    _, done = await perform(task, tools)
    assert sessions(shop, "cancelled") == 0
    assert all(outcome is StepOutcome.DONE for outcome, _ in done.values())


async def test_old_jobs_go_in_batches_and_failed_ones_leave_a_summary(shop: ShopProcesses, tools: TaskTools) -> None:
    write(shop, JOB, queue="send-email", state="COMPLETED", age="40 days", error=None, many=2_500)
    error = "Mail to ann.smith@example.com failed after 12 attempts"
    write(shop, JOB, queue="send-email", state="FAILED", age="41 days", error=error, many=3)
    write(shop, JOB, queue="send-email", state="COMPLETED", age="20 days", error=None, many=7)
    write(shop, JOB, queue="others", state="FAILED", age="3 days", error="recent", many=2)
    task = PruneJobs()
    assert await task.missing(tools) == ""
    plan, done = await perform(task, tools)
    assert [it.description for it in plan.steps] == [
        "remove 2,503 settled jobs of send-email that are older than 30d, 3 of them failed"
    ]
    (finding,) = plan.findings
    assert finding.text.startswith("3 failed: Mail to [REDACTED] failed after 12 attempts; the newest is job ")
    assert plan.figures[JOBS_DUE.name] == 2_503
    assert done["send-email"] == (StepOutcome.DONE, "removed 2,503 settled jobs")
    assert (jobs(shop, "send-email"), jobs(shop, "others")) == (7, 2)
    assert (await task.plan(tools)).steps == []


async def test_a_queue_of_bullmq_that_is_left_from_before_makes_it_uncertain(
    shop: ShopProcesses, tools: TaskTools, tmp_path: Path
) -> None:
    write(shop, JOB, queue="kept", state="COMPLETED", age="40 days", error=None, many=2)
    plan = await PruneJobs().plan(tools)
    assert names(plan.steps) == ["kept"]
    with servers.valkey() as server:
        given = ShopSettings.model_validate({"redis": f"redis://127.0.0.1:{server.port}/0"})
        async with open_connections(given) as connections:
            assert connections.redis
            await connections.redis.execute("HSET", "bull:vendure-job-queue:meta", "opts.maxLenEvents", "10000")
            both = ShopConnections(tools.shop.database, connections.redis, tools.shop.settings)
            unsure = tools_for(both, tmp_path, http=tools.http)
            refused = await PruneJobs().plan(unsure)
            assert (refused.steps, names(refused.findings)) == ((), ["job store"])
            assert "both the database and Redis have jobs" in refused.findings[0].text
            with pytest.raises(ActionError, match="nothing is removed: it is not certain any more"):
                await act(PruneJobs(), plan, unsure)
    assert jobs(shop, "kept") == 2
    await perform(PruneJobs(), tools)


async def test_the_statement_of_the_first_design_would_not_have_run(shop: ShopProcesses) -> None:
    """There is no table with a prefix and no column `finished_at`; and it would have deleted what has failed unread."""
    wrong = "DELETE FROM vendure_job_record WHERE finished_at < NOW() - INTERVAL '30 days'"
    with pytest.raises(psycopg.errors.UndefinedTable):
        write(shop, wrong)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        write(shop, wrong.replace("vendure_job_record", "job_record"))


async def test_pruning_jobs_can_end_between_two_batches(shop: ShopProcesses, tools: TaskTools) -> None:
    write(shop, JOB, queue="cut", state="COMPLETED", age="40 days", error=None, many=2_100)
    task = PruneJobs()
    plan = await task.plan(tools)
    await cancel_at_first_progress(task, plan.steps[0], tools)
    assert 0 < jobs(shop, "cut") <= 1_100
    await perform(task, tools)
    assert jobs(shop, "cut") == 0


async def test_without_the_right_to_delete_the_permission_is_named(
    shop: ShopProcesses, tools: TaskTools, tmp_path: Path
) -> None:
    given = ShopSettings.model_validate({"admin_api": shop.admin_api, "admin_api_key": "1:x"})
    connections = ShopConnections(tools.shop.database, settings=given)
    async with httpx2.AsyncClient() as http:
        stranger = tools_for(connections, tmp_path, http=http)
        with pytest.raises(ActionError, match="the API key needs the permission ReadSettings"):
            await PruneJobs().missing(stranger)
        with pytest.raises(ActionError, match="the API key needs the permission ReadSettings"):
            await PruneSessions().missing(stranger)


async def test_permissions_that_a_key_lacks_are_named(shop: ShopProcesses, tools: TaskTools, tmp_path: Path) -> None:
    assert await PruneJobs().missing(tools) == await PruneSessions().missing(tools) == ""
    for permissions, of_sessions, of_jobs in (
        (("ReadSystem", "UpdateSystem"), "", "the API key needs the permission DeleteSettings"),
        (("ReadSettings", "DeleteSettings", "ReadCatalog"), "the API key needs the permission UpdateSettings", ""),
    ):
        key = await api_key(tools.http, shop, permissions=permissions)
        given = tools.shop.settings.model_copy(update={"admin_api_key": SecretStr(key)})
        async with httpx2.AsyncClient() as http:  # without the session of whoever made the key
            limited = tools_for(ShopConnections(tools.shop.database, settings=given), tmp_path, http=http)
            assert await PruneSessions().missing(limited) == of_sessions
            assert await PruneJobs().missing(limited) == of_jobs


async def test_a_real_shop_contradicts_nothing_and_what_is_planted_is_found(
    shop: ShopProcesses, tools: TaskTools
) -> None:
    """Orders with discounts, taxes, several currencies: their totals are those of their lines."""
    await place_orders(shop, seed=11, orders=12)
    task = VendureIntegrity()
    assert await task.missing(tools) == ""
    # What its jobs still write to the search index would mend what is planted.
    eventually(lambda: shop.query('SELECT count(*) FROM job_record WHERE NOT "isSettled"'), lambda it: it == [(0,)])
    plan = await task.plan(tools)
    assert [it.text for it in plan.findings] == []
    assert plan.figures == {FOUND.name: 0}
    assert plan.text.startswith("10 checks done, 0 rows")
    write(
        shop,
        """UPDATE "order" SET "subTotal" = "subTotal" + 5000, "subTotalWithTax" = "subTotalWithTax" + 5000
                   WHERE id = (SELECT max(id) FROM "order" WHERE "orderPlacedAt" IS NOT NULL)""",
    )
    write(shop, 'UPDATE stock_level SET "stockOnHand" = -4 WHERE "productVariantId" = 3')
    write(shop, 'DELETE FROM search_index_item WHERE "productVariantId" = 5')
    write(shop, "UPDATE search_index_item SET sku = 'OLD' WHERE \"productVariantId\" = 6")
    write(shop, "UPDATE product_variant SET \"updatedAt\" = localtimestamp - interval '3 days'")
    write(shop, "UPDATE product SET \"updatedAt\" = localtimestamp - interval '3 days'")
    plan = await task.plan(tools)
    assert sorted(names(plan.findings)) == [
        *("missing_in_search", "negative_stock", "order_totals", "stale_in_search", "stock_movements"),
    ]


async def test_jobs_of_bullmq_are_never_removed(tmp_path: Path) -> None:
    with run_vendure(ShopVariant(jobs="bullmq")) as shop:
        await place_orders(shop, seed=5, orders=2)
        async with httpx2.AsyncClient() as http:
            settings = {"admin_api": shop.admin_api, "admin_api_key": await api_key(http, shop)}
            places = {"database": shop.database_url, "redis": shop.redis_url}
            given = ShopSettings.model_validate({**settings, **places})
            async with open_connections(given) as connections:
                assert connections.redis
                tools = tools_for(connections, tmp_path, http=http)
                before = await connections.redis.execute("ZCARD", "bull:vendure-job-queue:completed")
                plan = await PruneJobs().plan(tools)
                assert plan.steps == ()
                assert names(plan.findings) == ["bullmq"]
                assert "completed and 0 failed jobs are in Redis, 0 of them older" in plan.findings[0].text
                assert await act(PruneJobs(), plan, tools) == {}
                assert await connections.redis.execute("ZCARD", "bull:vendure-job-queue:completed") >= before > 0
                # Why: asked for what is older than a month, Vendure deletes every settled job.
                ask = 'mutation { removeSettledJobs(queueNames: ["nothing"], olderThan: "2020-01-01T00:00:00Z") }'
                await tools.admin_api.execute(ask, "DeleteSettings")
                assert await connections.redis.execute("ZCARD", "bull:vendure-job-queue:completed") < before
                without_redis = tools_for(ShopConnections(connections.database, None, given), tmp_path, http=http)
                assert "set shop.redis to see how many" in (await PruneJobs().plan(without_redis)).findings[0].text
