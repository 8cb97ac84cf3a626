"""Prometheus' own programs work with toban unmodified and get the same values."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers
from tests.needs import need
from tests.program import Program, eventually, toban
from tests.prometheus_requests import request_api
from tests.small_shop import shop

SELDOM = """
collect:
  - {kind: host, interval: 1h}
  - {kind: postgres, interval: 1h}
  - {kind: redis, interval: 1h}
  - {kind: toban, interval: 1s}
"""
"""Numbers that stand still can be compared to the last digit."""

STILL = '{job=~"host|postgres|redis"}'


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A toban that looked once at a shop, and at itself each second."""
    place = tmp_path_factory.mktemp("shop")
    (place / "toban.yaml").write_text(SELDOM)
    with shop() as piece, toban(place / "data", **piece.environment) as program:
        program.until("is on duty")
        yield program


@pytest.fixture(scope="module")
def prometheus(program: Program) -> Iterator[str]:
    """A Prometheus that scrapes it: `/metrics`, and what it says of itself by `/federate`."""
    target = program.url.removeprefix("http://")
    configuration = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "shown", "honor_labels": True, "static_configs": [{"targets": [target]}]},
            {
                "job_name": "federated",
                "honor_labels": True,
                "metrics_path": "/federate",
                "params": {"match[]": ['{job="toban"}']},
                "metric_relabel_configs": [
                    {"source_labels": ["job"], "target_label": "job", "regex": "toban", "replacement": "federated"}
                ],
                "static_configs": [{"targets": [target]}],
            },
        ],
    }
    with servers.prometheus(json.dumps(configuration)) as server:
        yield f"http://127.0.0.1:{server.port}"


def promtool(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    program = need("promtool", shutil.which("promtool"))
    return subprocess.run([str(program), *arguments], input=given, capture_output=True, text=True, check=False)


def vector(url: str, query: str, at: float) -> dict[tuple[tuple[str, str], ...], str]:
    code, body = request_api(url, "query", {"query": query, "time": f"{at:.3f}"})
    assert code == 200, body
    return {tuple(sorted(one["metric"].items())): one["value"][1] for one in body["data"]["result"]}


def matrix(url: str, query: str) -> dict[tuple[tuple[str, str], ...], list[Any]]:
    code, body = request_api(url, "query", {"query": query})
    assert code == 200, body
    return {tuple(sorted(one["metric"].items())): one["values"] for one in body["data"]["result"]}


def test_promtool_finds_no_problems_on_the_metrics_page(program):
    """
    Not even that a name is against the custom.
    """
    body = promtool("check", "metrics", given=program.get("/metrics")[1])
    assert (body.returncode, body.stdout, body.stderr) == (0, "", "")


def test_promtool_queries_toban(program):
    """
    Each of its questions, and a wrong one.
    """
    now = f"{time.time():.0f}"
    instant = promtool("query", "instant", program.url, 'up{job="postgres"}')
    assert instant.stdout.startswith('up{instance="127.0.0.1:')
    assert "=> 1 @[" in instant.stdout
    ranged = promtool("query", "range", "--start", str(int(now) - 60), "--end", now, program.url, 'up{job="toban"}')
    assert ranged.stdout.startswith('up{instance="local", job="toban"} =>\n1 @[')
    series = promtool("query", "series", "--match", 'up{job="host"}', program.url)
    assert series.stdout == '{__name__="up", instance="local", job="host"}\n'
    labels = promtool("query", "labels", program.url, "job")
    assert labels.stdout.split() == [
        *("bullmq", "events", "host", "postgres", "redis", "storefront", "telemetry", "toban", "vendure", "vendure_db")
    ]
    assert {instant.returncode, ranged.returncode, series.returncode, labels.returncode} == {0}
    wrong = promtool("query", "instant", program.url, "rate(up)")
    assert (wrong.returncode, "bad_data" in wrong.stderr) == (1, True)


def test_a_prometheus_that_scrapes_toban_has_the_same_samples(program, prometheus):
    """
    Every series of host, PostgreSQL and Redis: the same labels and the same digits, and sums over them too.
    """
    expected = len(program.query(STILL))
    eventually(lambda: vector(prometheus, STILL, time.time()), lambda found: len(found) >= expected)
    at = time.time()
    ours, theirs = vector(program.url, STILL, at), vector(prometheus, STILL, at)
    assert ours == theirs
    names = {dict(labels)["__name__"] for labels in ours}
    assert names >= {"up", "system_disk_usage_bytes", "postgres_active_connections", "redis_connected_clients"}
    for query in ("sum by (job) (up)", "count by (__name__) ({job='host'})", "max(system_disk_size_bytes) / 1e9"):
        query = query.replace("(up)", f"(up{STILL})")
        assert vector(program.url, query, at) == vector(prometheus, query, at)


def test_federated_samples_keep_their_times_and_values(program, prometheus):
    """
    Whatever Prometheus took over stands in toban at the same millisecond with the same digits.
    """
    query = '{{job="{}",__name__=~"process_.+|toban_.+_total|up"}}[1m]'

    def federated() -> dict[tuple[tuple[str, str], ...], list[Any]]:
        return matrix(prometheus, query.format("federated"))

    taken = eventually(federated, lambda found: any(len(samples) >= 3 for samples in found.values()))
    there = matrix(program.url, query.format("toban").replace("[1m]", "[5m]"))
    compared = 0
    for labels, samples in taken.items():
        series = dict(labels)
        if series.get("instance") != "local":
            continue  # what Prometheus says of its own scrape
        held = there[tuple(sorted({**series, "job": "toban"}.items()))]
        assert all(sample in held for sample in samples)
        compared += len(samples)
    assert compared > 20
