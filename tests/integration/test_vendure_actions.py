"""Actions in a real Vendure: tasks, the search index, jobs, locks; and on a real Redis."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from tests import servers
from tests.fakes import FakeClock
from tests.vendure_shop import SLOW, ShopProcesses, api_key, run_vendure
from toban.core.alerts import Alert, AlertStatus
from toban.core.clock import SystemClock
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan
from toban.runbooks.actions.redis_clients_kill import RedisClientsKill
from toban.runbooks.actions.redis_wait import RedisWait
from toban.runbooks.actions.vendure_cancel_job import VendureCancelJob
from toban.runbooks.actions.vendure_reindex import VendureReindex
from toban.runbooks.actions.vendure_run_task import VendureRunTask
from toban.runbooks.actions.vendure_unlock_task import VendureUnlockTask
from toban.shop.connections import ShopConnections, open_connections
from toban.shop.settings import ShopSettings

pytestmark = SLOW
NOW = datetime.now(UTC)
ALERT = Alert(Labels(alertname="x", task="clean-sessions", queue="send-email"), {}, AlertStatus.FIRING, NOW, NOW)
CONTEXT = ActionContext(ALERT, 1, "run-1.0", NOW)


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    with run_vendure() as started:
        yield started


def owner(shop: ShopProcesses) -> str:
    """Return the address of the shop's database as its owner."""
    return shop.postgres.address(shop.database)


async def nothing(*_: object) -> str:
    return ""


def tools_of(http: httpx2.AsyncClient, shop: ShopConnections, clock: object = None) -> ActionTools:
    return ActionTools(http, clock or SystemClock(), shop, None, lambda _: True, nothing, nothing)  # type: ignore[arg-type]  # no queries


@pytest.fixture
async def tools(shop: ShopProcesses) -> AsyncIterator[ActionTools]:
    async with httpx2.AsyncClient() as http:
        settings = ShopSettings.model_validate(
            {
                "admin_api": shop.admin_api,
                "admin_api_key": await api_key(http, shop),
                "database_admin": owner(shop),
                "timezone": shop.variant.zone if hasattr(shop.variant, "zone") else "UTC",
            }
        )
        yield tools_of(http, ShopConnections(settings=settings))


async def acted(action: Action, tools: ActionTools) -> tuple[Plan, str]:
    plan = await action.plan(CONTEXT, tools)
    return plan, await action.run(plan, CONTEXT, tools)


async def test_a_scheduled_task_runs_and_its_time_proves_it(tools: ActionTools) -> None:
    action = VendureRunTask()
    plan, text = await acted(action, tools)
    assert text.startswith("ran the scheduled task clean-sessions at ")
    assert await action.look(plan, CONTEXT, tools) == text
    with pytest.raises(ActionError, match=r"no scheduled task 'nothing': there are .*clean-sessions"):
        await VendureRunTask(task="nothing").plan(CONTEXT, tools)


async def test_the_search_index_is_rebuilt_by_one_job(tools: ActionTools) -> None:
    _, text = await acted(VendureReindex(), tools)
    assert text.startswith("started job ")


async def test_a_lock_is_removed_when_it_is_old_and_only_that_one(shop: ShopProcesses, tools: ActionTools) -> None:
    action = VendureUnlockTask()
    with psycopg.connect(owner(shop), autocommit=True) as database:
        lock = (
            'UPDATE scheduled_task_record SET "lockedAt" = (now() AT TIME ZONE %s) - %s::interval WHERE "taskId" = %s'
        )
        zone = tools.shop.settings.timezone
        with pytest.raises(ActionError, match="is not locked"):
            await action.plan(CONTEXT, tools)
        database.execute(lock, (zone, "5 minutes", "clean-sessions"))
        with pytest.raises(ActionError, match=r"was locked 5m\d*s? ago: it may be running"):
            await action.plan(CONTEXT, tools)
        database.execute(lock, (zone, "3 hours", "clean-sessions"))
        plan = await action.plan(CONTEXT, tools)
        database.execute(lock, (zone, "2 hours", "clean-sessions"))
        with pytest.raises(ActionError, match="is another one now: it is left alone"):
            await action.run(plan, CONTEXT, tools)
        _, text = await acted(action, tools)
        assert text == "removed the lock of the task clean-sessions"


async def test_without_a_running_job_there_is_nothing_to_cancel(tools: ActionTools) -> None:
    with pytest.raises(ActionError, match="no job runs in send-email: is the worker down"):
        await VendureCancelJob().plan(CONTEXT, tools)


async def test_a_wrong_key_and_none_are_told_apart(shop: ShopProcesses, tools: ActionTools) -> None:
    wrong = tools.shop.settings.model_copy(update={"admin_api_key": SecretStr("1:nonsense")})
    async with httpx2.AsyncClient() as http:  # without the session of whoever made the key
        with pytest.raises(ActionError, match="the API key needs the permission ReadSettings"):
            await VendureRunTask().plan(CONTEXT, tools_of(http, ShopConnections(settings=wrong)))
    none = tools_of(tools.http, ShopConnections())
    assert "shop.admin_api_key are not set" in await VendureReindex().missing(none)


async def test_redis_answers_and_has_no_idle_connection(tools: ActionTools) -> None:
    with servers.valkey() as server:
        settings = ShopSettings.model_validate({"redis": f"redis://127.0.0.1:{server.port}"})
        async with open_connections(settings) as shop, httpx2.AsyncClient() as http:
            clock = FakeClock()
            given = tools_of(http, shop, clock)
            with pytest.raises(ActionError, match="none of the 1 connections of Redis is idle for 1h"):
                await RedisClientsKill().plan(CONTEXT, given)
            assert await RedisWait().run(await RedisWait().plan(CONTEXT, given), CONTEXT, given) == (
                "Redis answers after 0s"
            )
