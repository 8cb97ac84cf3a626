"""Maintenance by the whole program: run by hand, shown as JSON."""

import asyncio
import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests import servers
from tests.program import Program, eventually, toban
from tests.vendure import Vendure, vendure
from toban.shop.redis import ShopRedis


@pytest.fixture
def shop() -> Iterator[Vendure]:
    with servers.postgres() as server, vendure(server) as found:
        yield found


@pytest.fixture
def redis() -> Iterator[servers.Server]:
    with servers.valkey() as server:
        yield server


@pytest.fixture
def configuration(tmp_path: Path, shop: Vendure, redis: servers.Server) -> Path:
    logs = tmp_path / "logs"
    logs.mkdir()
    old = logs / "shop.log"
    old.write_text("one line\n")
    os.utime(old, (time.time() - 8 * 86_400,) * 2)
    by_hand = {"mode": "off"}
    path = tmp_path / "toban.yaml"
    path.write_text(
        json.dumps(
            {
                "shop": {
                    "database_admin": shop.server.address(shop.name),
                    "redis": f"redis://127.0.0.1:{redis.port}/0",
                },
                "collect": [{"kind": "toban", "interval": "1s"}],
                "alerting": {"shipped": False},
                "logs": {"files": [{"path": "logs/*.log", "ignore_older": "30d"}]},
                "maintenance": {
                    **dict.fromkeys(
                        ("prune_sessions", "redis_tidy", "metrics_retention", "vendure_integrity"), by_hand
                    ),
                    "rotate_logs": {**by_hand, "files": ["logs/*.log"]},
                },
            }
        )
    )
    return path


def run(program: Program, task: str, *options: str) -> dict[str, Any]:
    """Run a task by hand and return its run."""
    done = program.run("maintenance", "run", task, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def keys(redis: servers.Server, *command: str) -> Any:
    async with ShopRedis(SecretStr(f"redis://127.0.0.1:{redis.port}/0")) as client:
        return await client.execute(*command)


def test_tasks_run_by_hand_and_show_what_they_did(
    tmp_path: Path, configuration: Path, shop: Vendure, redis: servers.Server
) -> None:
    for number in range(5):
        asyncio.run(keys(redis, "SET", f"expired:{number}", "x"))
    asyncio.run(keys(redis, "SET", "cart", "x"))
    with toban(tmp_path / "data", "--config", str(configuration)) as program:
        assert program.url
        dry = run(program, "redis_tidy", "--dry")
        assert (dry["state"], dry["steps"][0]["outcome"]) == ("dry", "planned")
        assert asyncio.run(keys(redis, "DBSIZE")) == 6
        tidied = run(program, "redis_tidy")
        assert (tidied["state"], tidied["steps"][0]["outcome"]) == ("succeeded", "done")
        assert asyncio.run(keys(redis, "DBSIZE")) == 1
        # It waits until toban itself has read the file to its end.
        rotated = eventually(lambda: run(program, "rotate_logs"), lambda it: it["steps"])
        assert rotated["steps"][0]["text"].startswith("compressed: 9 B before")
        assert gzip.decompress((tmp_path / "logs" / "shop.log.gz").read_bytes()) == b"one line\n"
        assert "one line" in program.run("logs", "--since", "30d").stdout
        assert "tsdb: " in run(program, "metrics_retention")["text"]
        assert "10 checks done, 0 rows contradict others" in run(program, "vendure_integrity")["text"]
        shown = program.run("maintenance", "show", "prune_jobs")
        assert "shop.admin_api and shop.admin_api_key are not set" in shown.stdout
        ended = 'toban_maintenance_runs_total{task="redis_tidy", outcome="succeeded"}'
        eventually(lambda: program.value(ended), lambda it: it == 1)
