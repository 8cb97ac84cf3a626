"""Keys of a pattern are removed gently: within a budget, never others, and after any cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests import servers
from tests.fakes import FakeClock
from tests.maintenance_tools import act, names, perform, tools_for
from tests.upstash import QUOTA, upstash
from toban.core.errors import TobanError
from toban.maintenance import redis_keys
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import StepContext, TaskTools
from toban.maintenance.tasks.redis_tidy import KEYS, RedisTidy
from toban.shop.connections import open_connections
from toban.shop.redis import ShopRedis
from toban.shop.settings import ShopSettings

FILL = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', KEYS[1] .. i, 'x') end"


@asynccontextmanager
async def connected(address: str, folder: Path, clock: FakeClock | None = None) -> AsyncIterator[TaskTools]:
    async with open_connections(ShopSettings(redis=SecretStr(address))) as shop:
        yield tools_for(shop, folder, clock)


@pytest.fixture(params=["valkey", "redis"])
async def tools(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TaskTools]:
    with servers.valkey() if request.param == "valkey" else servers.redis() as server:
        async with connected(f"redis://127.0.0.1:{server.port}/0", tmp_path, FakeClock()) as found:
            yield found


def redis_of(tools: TaskTools) -> ShopRedis:
    assert tools.shop.redis
    return tools.shop.redis


async def fill(tools: TaskTools, prefix: str, many: int) -> None:
    await redis_of(tools).execute("EVAL", FILL, "1", prefix, str(many))


async def test_keys_of_the_pattern_go_and_all_others_stay(tools: TaskTools):
    redis = redis_of(tools)
    await fill(tools, "expired:", 2_300)
    await fill(tools, "bull:vendure-job-queue:", 50)
    await fill(tools, "vendure-cache:", 50)
    await fill(tools, "cart:", 700)
    await redis.execute("LPUSH", "expired:list", "no string")
    await redis.execute("SET", b"expired:\xff\xfe", "no text")
    plan, done = await perform(RedisTidy(), tools)
    (step,) = plan.steps
    assert step.description == "remove 2,301 keys that match expired:*, by about 9 commands"
    assert plan.figures == {KEYS.name: 2_301}
    outcome, text = done["expired:*"]
    assert outcome is StepOutcome.DONE
    assert text.startswith("removed 2,301 keys by ")
    assert await redis.execute("DBSIZE") == 801
    assert (await RedisTidy().plan(tools)).steps == []


async def test_what_would_cost_more_than_the_budget_does_not_begin(tools: TaskTools):
    await fill(tools, "expired:", 30_000)
    redis = redis_of(tools)
    before = redis.commands
    plan = await RedisTidy(max_commands=50).plan(tools)
    assert (plan.steps, names(plan.findings)) == ((), ["max_commands"])
    assert plan.findings[0].text == "30,000 keys would take 60 commands, and max_commands is 50"
    assert redis.commands == before + 1
    plan = await RedisTidy(max_commands=100).plan(tools)
    assert names(plan.findings) == ["max_commands"]
    assert "120" in plan.findings[0].text
    assert await redis.execute("DBSIZE") == 30_000


async def test_a_run_that_was_cancelled_leaves_the_rest_to_the_next(tools: TaskTools):
    await fill(tools, "expired:", 5_000)
    task = RedisTidy()
    plan = await task.plan(tools)

    def cancel(_: str) -> None:
        acting.cancel()

    acting = asyncio.ensure_future(task.act(plan.steps[0], StepContext(1, cancel), tools))
    await asyncio.wait([acting])
    assert acting.cancelled()
    assert 0 < await redis_of(tools).execute("DBSIZE") < 5_000
    await perform(task, tools)
    assert await redis_of(tools).execute("DBSIZE") == 0


async def test_a_connection_that_is_cut_is_opened_again(tools: TaskTools):
    await fill(tools, "expired:", 3_000)
    plan = await RedisTidy().plan(tools)
    server = redis_of(tools)
    async with connected(f"redis://{server.address}/0", tools.data) as other:
        killer = redis_of(other)
        killed = []

        def tell(_: str) -> None:
            if not killed:
                kill = killer.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                killed.append(asyncio.ensure_future(kill))

        await RedisTidy().act(plan.steps[0], StepContext(1, tell), tools)
        await asyncio.gather(*killed)
    assert await server.execute("DBSIZE") == 0


async def test_it_stops_where_redis_becomes_slow(tools: TaskTools, monkeypatch: pytest.MonkeyPatch):
    await fill(tools, "expired:", 40_000)
    clock, redis = tools.clock, redis_of(tools)
    assert isinstance(clock, FakeClock)
    plan = await RedisTidy().plan(tools)
    execute, scans = redis.execute, 0

    async def slowing(*command: str | bytes) -> object:
        nonlocal scans
        if command[0] == "SCAN":
            scans += 1
            clock.advance(0.004 if scans < 10 else 0.02)
        return await execute(*command)

    monkeypatch.setattr(redis, "execute", slowing)
    result = await RedisTidy().act(plan.steps[0], StepContext(1, lambda _: None), tools)
    assert result.text.endswith("then Redis became slow")
    assert names(result.findings) == ["latency"]
    assert 0 < result.figures[KEYS.name] < 40_000


async def test_memory_is_given_back_where_the_server_can(tools: TaskTools, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis_keys, "LEAST_UNUSED", 0)
    plan, done = await perform(RedisTidy(), tools)
    allocator = (await redis_of(tools).execute("INFO", "memory")).partition(b"mem_allocator:")[2]
    if not allocator.startswith(b"jemalloc"):
        assert plan.steps == []
        return
    (step,) = plan.steps
    assert step.description.startswith("give unused memory back to the system: its process has ")
    assert done["memory"][0] is StepOutcome.DONE


async def test_missing_permissions_are_named(tmp_path: Path):
    with servers.valkey() as server:
        async with connected(f"redis://127.0.0.1:{server.port}/0", tmp_path) as admin:
            await redis_of(admin).execute("ACL", "SETUSER", "toban", "on", ">x", "~*", "+ping", "+info", "+scan")
        async with connected(f"redis://toban:x@127.0.0.1:{server.port}/0", tmp_path) as tools:
            missing = await RedisTidy().missing(tools)
            assert "ACL SETUSER toban +dbsize" in missing
            assert "ACL SETUSER toban +unlink" in missing
            assert "scan" not in missing


async def test_upstash_has_no_memory_purge_and_its_quota_ends_a_run(tmp_path: Path):
    async with upstash() as server, connected(server.address, tmp_path) as tools:
        server.replies = {"SCAN": b"*2\r\n$1\r\n0\r\n*1\r\n$9\r\nexpired:1\r\n", "UNLINK": b":1\r\n"}
        plan, done = await perform(RedisTidy(), tools)
        assert names(plan.steps) == ["expired:*"]
        assert done["expired:*"] == (StepOutcome.DONE, "removed 1 keys by 2 commands")
        assert "MEMORY" not in server.billed
        server.error = QUOTA
        with pytest.raises(TobanError, match="its plan's quota is used up: max daily request limit exceeded"):
            await act(RedisTidy(), plan, tools)


async def test_the_command_of_the_first_design_would_remove_jobs_too(tools: TaskTools):
    """`redis-cli --scan | xargs redis-cli del` has no budget, and its pattern is whatever somebody types."""
    await fill(tools, "bull:vendure-job-queue:", 5)
    with pytest.raises(ValueError, match="could match bull"):
        RedisTidy(pattern="bull:*")
