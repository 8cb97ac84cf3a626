"""Jobs in Redis, against a real Valkey, and against the same jobs in the table."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from tests import servers
from tests.fakes import FakeClock, ListSink, sample_values
from tests.integration.scraping import collector_tools
from tests.vendure import vendure
from toban.collect.collectors.bullmq import Bullmq
from toban.collect.collectors.vendure_db.vendure_db import QUERIES, VendureDb
from toban.collect.job_metrics import QUEUE_GAUGES
from toban.collect.service import ScrapeLoop
from toban.core.metric_registry import MetricRegistry
from toban.shop.settings import ShopSettings
from toban.state.backends import SqliteBackend
from toban.state.database import State

KEY = "bull:vendure-job-queue"
JOBS = (
    ("mail", "COMPLETED", 1), ("mail", "COMPLETED", 3), ("mail", "FAILED", 4), ("index", "COMPLETED", 1),
    ("mail", "PENDING", 0), ("mail", "PENDING", 0), ("index", "RUNNING", 1), ("index", "RETRYING", 2),
)  # fmt: skip  # a job each
PLACES = {"PENDING": "wait", "RUNNING": "active", "RETRYING": "delayed", "COMPLETED": "completed", "FAILED": "failed"}


@pytest.fixture
def server() -> Iterator[servers.Server]:
    with servers.valkey() as it:
        yield it


def client(server: servers.Server) -> "Redis":
    return Redis(port=server.port)


def write(server: servers.Server, at: datetime) -> None:
    """Write the jobs as BullMQ does."""
    with client(server) as redis:
        redis.hset(f"{KEY}:meta", "version", "bullmq:5.81.5")
        for number, (queue, state, tries) in enumerate(JOBS, 1):
            ended = {"finishedOn": stamp(at)} if state in {"COMPLETED", "FAILED"} else {}
            begun = {"processedOn": stamp(at - timedelta(minutes=1))} if tries else {}
            fields = {
                "name": queue,
                "timestamp": stamp(at - timedelta(minutes=2)),
                "data": "secret",
                "atm": tries,
                **begun,
                **ended,
            }
            redis.hset(f"{KEY}:{number}", mapping=fields)
            place = f"{KEY}:{PLACES[state]}"
            if state in {"PENDING", "RUNNING"}:
                redis.lpush(place, number)
            else:
                redis.zadd(place, {str(number): stamp(at)})


def stamp(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@asynccontextmanager
async def watching(
    kind: object, path: Path, now: datetime, **parts: str
) -> AsyncIterator[tuple[ScrapeLoop, ListSink, FakeClock]]:
    clock, sink = FakeClock(now), ListSink()
    async with collector_tools(**parts) as tools, State(SqliteBackend(path), clock, MetricRegistry()) as state:
        settings = ShopSettings.model_validate({"precision": 2})
        tools = replace(tools, clock=clock, state=state, shop=replace(tools.shop, settings=settings))
        yield ScrapeLoop(kind, sink, tools), sink, clock  # type: ignore[arg-type]  # a collector


def scripts(server: servers.Server) -> int:
    """Return how many scripts the server has run."""
    with client(server) as redis:
        return int(redis.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"])


def numbers(sink: ListSink) -> dict[str, float | str]:
    """Return the newest numbers of jobs, whatever collector told them; ages to the minute."""
    found = {}
    for series, value in sample_values(sink.batches).items():
        name, _, labels = series.partition("{")
        if name.startswith("vendure_jobs_"):
            queue = next(part for part in labels.rstrip("}").split(", ") if part.startswith("queue="))
            found[f"{name} {queue}"] = round(float(value) / 60) if name.endswith("seconds") else value
    return found


async def test_jobs_in_redis_and_in_the_database_have_the_same_metrics(
    server: servers.Server, postgres: servers.Postgres, tmp_path: Path
):
    """
    By queue: waiting and since when, running, retrying; done, given up, tried again.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    at = now - timedelta(minutes=1)
    write(server, at)
    async with watching(Bullmq(), tmp_path / "r.db", now, redis=f"redis://127.0.0.1:{server.port}") as (loop, sink, _):
        await loop.collect()
        assert loop.status.up, loop.status.error
        in_redis = numbers(sink)
    with vendure(postgres) as shop:
        for queue, state, tries in JOBS:
            ended = at if state in {"COMPLETED", "FAILED"} else None
            started = at - timedelta(minutes=1) if tries else None
            shop.job(queue, state, at - timedelta(minutes=2), started=started, ended=ended, attempts=tries)
        async with watching(VendureDb(), tmp_path / "p.db", now, database=shop.url) as (loop, sink, _):
            await loop.collect()
            assert loop.status.up, loop.status.error
            assert numbers(sink) == in_redis
    mail = [in_redis[f'vendure_jobs_{name} queue="mail"'] for name in ("waiting", "completed_total", "failed_total")]
    assert mail == [2, 2, 1]
    assert in_redis['vendure_jobs_retried_total queue="mail"'] == 5
    assert in_redis['vendure_jobs_oldest_waiting_seconds queue="mail"'] == 3
    running = [in_redis[f'vendure_jobs_longest_running_seconds queue="{queue}"'] for queue in ("index", "mail")]
    assert running == [2, 0]


async def test_a_job_without_start_time_is_not_the_oldest(server: servers.Server, tmp_path: Path):
    """
    It is in the list of those that run before it has a time.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    write(server, now)
    with client(server) as redis:
        redis.hset(f"{KEY}:new", mapping={"name": "index", "timestamp": stamp(now)})
        redis.lpush(f"{KEY}:active", "new")
    address = f"redis://127.0.0.1:{server.port}"
    async with watching(Bullmq(), tmp_path / "n.db", now, redis=address) as (loop, sink, _):
        await loop.collect()
        assert numbers(sink)['vendure_jobs_longest_running_seconds queue="index"'] == 1
        assert numbers(sink)['vendure_jobs_running queue="index"'] == 2


async def test_a_scrape_is_one_command_and_reads_no_job_data(server: servers.Server, tmp_path: Path):
    """
    Where there is no queue it is one in ten minutes; jobs that ended count once, also for another process of toban's.
    """
    address, now = f"redis://127.0.0.1:{server.port}", datetime.now(UTC)
    async with watching(Bullmq(), tmp_path / "s.db", now, redis=address) as (loop, sink, clock):
        for _ in range(9):
            await loop.collect()
            assert loop.status.up
            assert (loop.status.samples, scripts(server)) == (0, 1)
            clock.advance(60)
        write(server, clock.now() - timedelta(minutes=1))
        clock.advance(60)
        for commands in (2, 3):
            await loop.collect()
            assert scripts(server) == commands
            assert numbers(sink)['vendure_jobs_completed_total queue="mail"'] == 2
            clock.advance(60)
    async with watching(Bullmq(), tmp_path / "s.db", now, redis=address) as (loop, sink, _):
        await loop.collect()
        assert numbers(sink)['vendure_jobs_completed_total queue="mail"'] == 2
    with client(server) as redis_client:
        assert redis_client.info("commandstats").keys().isdisjoint({"cmdstat_hgetall", "cmdstat_hget"})


async def test_a_user_with_the_printed_permissions_can_read(server: servers.Server, tmp_path: Path):
    """
    And one with fewer is told which are missing, by name.
    """
    with client(server) as owner:
        rights = "+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore"
        assert f"`{rights}`" in " ".join((Bullmq.__doc__ or "").split())
        owner.execute_command("ACL", "SETUSER", "toban", "on", ">pw", "%R~bull:*", *rights.split())
        owner.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "%R~bull:*", "+eval")
    now = datetime.now(UTC)
    write(server, now - timedelta(minutes=1))
    for user, path, error in (("toban", "a.db", ""), ("poor", "b.db", "exists")):
        address = f"redis://{user}:pw@127.0.0.1:{server.port}"
        async with watching(Bullmq(), tmp_path / path, now, redis=address) as (loop, _, _clock):
            await loop.collect()
            assert loop.status.up == (not error)
            assert error in loop.status.error


async def test_a_key_of_another_type_is_an_error_with_the_remedy(server: servers.Server, tmp_path: Path):
    """
    Redis says WRONGTYPE, and not of what.
    """
    now = datetime.now(UTC)
    write(server, now)
    with client(server) as redis:
        redis.delete(f"{KEY}:wait")
        redis.set(f"{KEY}:wait", "odd")
    async with watching(Bullmq(), tmp_path / "w.db", now, redis=f"redis://127.0.0.1:{server.port}") as (
        loop,
        _,
        _clock,
    ):
        await loop.collect()
        assert "WRONGTYPE" in loop.status.error
        assert "TYPE shows which of them it is; see `prefix` and `queue`" in loop.status.error


async def test_a_user_without_permissions_for_jobs_has_a_note_and_is_up(server: servers.Server, tmp_path: Path):
    """
    There may be no queue at all; a queue that was read before and can't be any more is down.
    """
    with client(server) as owner:
        owner.execute_command("ACL", "SETUSER", "seer", "on", ">pw", "+info", "%R~bull:*")
        now = datetime.now(UTC)
        write(server, now - timedelta(minutes=1))
        address = f"redis://seer:pw@127.0.0.1:{server.port}"
        async with watching(Bullmq(), tmp_path / "a.db", now, redis=address) as (loop, _, clock):
            await loop.collect()
            assert loop.status.up
            (note,) = (await loop.scraper.check()).notes
            assert "ACL SETUSER seer +eval" in note
            assert "+zrangebyscore %R~bull:*" in note
            owner.execute_command("ACL", "SETUSER", "seer", "+@all")
            for _ in range(2):
                clock.advance(60)
                await loop.collect()
            assert loop.status.samples
            owner.execute_command("ACL", "SETUSER", "seer", "-@all", "+info")
            clock.advance(60)
            await loop.collect()
            assert not loop.status.up


async def test_jobs_beyond_the_limit_count_as_other(server: servers.Server, tmp_path: Path):
    """
    Those that wait beyond the first thousand are `other`, the oldest is known; those that ended are read in turns.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    with client(server) as redis, redis.pipeline() as line:
        line.hset(f"{KEY}:meta", "version", "bullmq:5.81.5")
        for number in range(5000):
            ended, at = number >= 1500, now - timedelta(seconds=5000 - number)
            line.hset(f"{KEY}:{number}", mapping={"name": "mail", "timestamp": stamp(at), "atm": 1})
            if ended:
                line.zadd(f"{KEY}:completed", {str(number): stamp(at)})
            else:
                line.lpush(f"{KEY}:wait", number)
        line.execute()
    address = f"redis://127.0.0.1:{server.port}"
    async with watching(Bullmq(), tmp_path / "m.db", now, redis=address) as (loop, sink, clock):
        await loop.collect()
        found = numbers(sink)
        assert found['vendure_jobs_waiting queue="mail"'] == 1000
        assert found['vendure_jobs_waiting queue="other"'] == 500
        assert found['vendure_jobs_oldest_waiting_seconds queue="mail"'] == round(5000 / 60)
        for _ in range(2):
            clock.advance(60)
            await loop.collect()
        assert numbers(sink)['vendure_jobs_completed_total queue="mail"'] == 3500


def test_both_job_collectors_have_the_same_metric_families():
    """
    Names and sentences, so that a dashboard needs one panel.
    """
    (query,) = (query for query in QUERIES if query.name == "vendure_jobs")
    assert tuple(query.families) == QUEUE_GAUGES
