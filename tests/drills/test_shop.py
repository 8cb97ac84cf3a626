"""The whole program beside a shop: each of its pieces is broken, noticed, put right, and noticed again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.program import Program, eventually, toban
from tests.small_shop import CATALOGUE, COLLECT_EACH_SECOND, DATABASE_ERROR, Shop, shop

ALL_UP = {"storage": "up", "database": "up", "redis": "up", "business-logic": "up"}


@contextmanager
def on_duty(place: Path, piece: Shop, configuration: str = "") -> Iterator[Program]:
    """Run toban beside a shop until it has looked at everything."""
    (place / "toban.yaml").write_text(configuration)
    with toban(place / "data", **piece.environment) as program:
        program.until("is on duty")
        yield program


@pytest.fixture(params=[servers.valkey, servers.redis], ids=["valkey", "redis"])
def other_redis(request: pytest.FixtureRequest) -> Callable[[], object]:
    return request.param  # type: ignore[no-any-return]  # pytest does not know


def up(program: Program, job: str) -> float:
    return program.value(f'up{{job="{job}"}}')


def test_four_variables_are_enough_to_monitor_a_shop(tmp_path, other_redis):
    """
    Every face tells the same: health, numbers, page, and the terminal.
    """
    with shop(other_redis) as piece, on_duty(tmp_path, piece) as program:
        assert program.health() == (200, ALL_UP)
        assert program.health("/readiness") == (200, {"database": "up", "redis": "up"})
        jobs = {one["metric"]["job"]: one["value"][1] for one in program.query("up")}
        assert set(jobs) >= {"toban", "host", "postgres", "redis", "vendure", "storefront"}
        assert set(jobs.values()) == {"1"}
        metrics = program.get("/metrics")[1]
        for job, instance in {
            "postgres": f"127.0.0.1:{piece.bouncer.port}/postgres",
            "redis": f"127.0.0.1:{piece.redis.port}",
            "vendure": f"{piece.api.url}/shop-api",
        }.items():
            assert f'up{{instance="{instance}",job="{job}"}} 1\n' in metrics
        code, status = program.status()
        assert (code, status["state"]) == (0, "healthy")
        assert {it["name"]: it["up"] for it in status["targets"]} == dict.fromkeys(jobs, True)
        assert all(user_agent.startswith("toban/") for user_agent in piece.api.requests + piece.storefront.requests)
        assert program.stop() == 0


def test_a_killed_database_and_its_recovery_are_detected(tmp_path):
    """
    Health answers 503 with the database down, `up` is 0, the terminal says so; then it is up again by itself. What
    else is watched stays up all the while.
    """
    with shop() as piece, on_duty(tmp_path, piece, COLLECT_EACH_SECOND) as program:
        assert program.health() == (200, ALL_UP)
        piece.postgres.kill()
        eventually(program.health, lambda found: found == (503, {**ALL_UP, "database": "down"}))
        assert up(program, "postgres") == 0
        code, status = program.status()
        [target] = [it for it in status["targets"] if it["name"] == "postgres"]
        assert (code, status["state"], target["up"]) == (1, "unhealthy", False)
        assert target["error"]
        assert program.get("/health/readiness")[0] == 503
        assert program.get("/-/healthy")[0] == 200
        assert {up(program, job) for job in ("host", "toban", "redis", "vendure", "storefront")} == {1}

        piece.postgres.start()
        eventually(program.health, lambda found: found == (200, ALL_UP))
        assert up(program, "postgres") == 1
        eventually(lambda: any('"run recovered"' in line and "postgres" in line for line in program.logged))
        assert program.stop() == 0


def test_a_killed_redis_and_its_recovery_are_detected(tmp_path, other_redis):
    """
    The same for Redis and Valkey.
    """
    with shop(other_redis) as piece, on_duty(tmp_path, piece, COLLECT_EACH_SECOND) as program:
        piece.redis.kill()
        eventually(program.health, lambda found: found == (503, {**ALL_UP, "redis": "down"}))
        assert up(program, "redis") == 0
        assert up(program, "postgres") == 1
        piece.redis.start()
        eventually(program.health, lambda found: found == (200, ALL_UP))
        assert up(program, "redis") == 1


def test_a_shop_with_errors_and_status_200_is_down(tmp_path):
    """
    `errors` in the body, a status of 500 and an answer that does not come are each told, and so is the end of it; the
    storefront is none the worse.
    """
    with shop() as piece, on_duty(tmp_path, piece, COLLECT_EACH_SECOND) as program:
        assert up(program, "vendure") == 1

        def notified(words: str) -> None:
            eventually(lambda: up(program, "vendure"), lambda found: found == 0)
            eventually(lambda: [it for it in program.status()[1]["targets"] if words in it["error"]])
            assert up(program, "storefront") == 1

        def well_again() -> None:
            eventually(lambda: up(program, "vendure"), lambda found: found == 1)

        piece.api.body = DATABASE_ERROR
        notified("answered 200, but with the error without a code at search")
        piece.api.body = CATALOGUE
        well_again()
        piece.api.status = 500
        notified("answered 500")
        piece.api.status = 200
        well_again()
        piece.api.responding.clear()
        notified("collection timed out after 1 s")
        piece.api.responding.set()
        well_again()
        assert program.stop() == 0
