"""The whole program without a configuration."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.fork_server import base_environment
from tests.program import TOBAN, eventually, run, toban

PROMISED_END = 5
"""Seconds within which toban ends when it is asked to (issue and DESIGN): a promise, not a measurement."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_without_configuration_the_machine_is_monitored(data):
    """
    The pages answer, the numbers are there, and the terminal's views say the same.
    """
    # A process of its own: this is the test of what a user starts.
    with toban(data, fresh=True) as program:
        program.until("is on duty")
        assert program.get("/health/liveness") == (200, '{"status":"ok","info":{},"error":{},"details":{}}')
        assert json.loads(program.get("/health")[1])["info"] == {"storage": {"status": "up"}}
        assert program.get("/-/ready")[0] == 200
        assert program.get("/-/healthy")[0] == 200
        [cpu] = program.query("system_cpu_usage_percent")
        assert cpu["metric"] == {"__name__": "system_cpu_usage_percent", "job": "host", "instance": "local"}
        assert 0 < float(cpu["value"][1]) <= 100
        assert {one["metric"]["job"]: one["value"][1] for one in program.query("up")} == dict.fromkeys(
            ("toban", "host", "telemetry", "events"), "1"
        )
        assert 'system_disk_usage_bytes{instance="local",job="host",mount="/"}' in program.get("/metrics")[1]
        assert 'up{instance="local",job="host"} 1 ' in program.get("/federate?match[]=up")[1]
        assert "<title>" in program.get("/")[1]
        assert "監視対象" in program.get("/", **{"Accept-Language": "ja,en;q=0.5"})[1]
        assert program.get("/nope") == (404, "404 page not found\n")

        status = program.run("status", "--json")
        assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "not configured")
        assert "system_memory_size_bytes" in program.run("query", "system_memory_size_bytes").stdout
        chart = program.run("query", "up", "--range", "1m").stdout
        assert "┤" in chart
        assert 'up{instance="local", job="toban"}' in chart
        wrong = program.run("query", "rate(")
        assert (wrong.returncode, "parse error" in wrong.stderr) == (1, True)
        assert program.stop() == 0


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_samples_survive_a_restart(data, name):
    """
    Whichever way it is stopped; and it says nothing of a crash.
    """
    with toban(data) as program:
        program.until("is on duty")
        before = program.query("system_memory_size_bytes")
        assert program.stop(name, within=PROMISED_END) == 0
    with toban(data) as program:
        program.until("is on duty")
        [there] = program.query(f"system_memory_size_bytes @ {before[0]['value'][0]}")
        assert there["value"][1] == before[0]["value"][1]
        assert not any("without a stop" in line for line in program.logged)


@pytest.mark.parametrize(("environment", "greets"), [({}, True), ({"LOG_FORMAT": "json"}, False)])
def test_standard_output_has_the_greeting_only(data, environment, greets):
    """
    And the log on standard error, a JSON object a line.
    """
    # A process of its own: what its imports write would stand in the way.
    with toban(data, fresh=True, **environment) as program:
        program.until("is on duty" if greets else '"on duty"')
        assert program.stop() == 0
    logged = [json.loads(line) for line in program.logged]
    assert any(line["event"] == "stopping" for line in logged)
    assert bool(program.output) is greets
    if not greets:
        (duty,) = (line for line in logged if line["event"] == "on duty")
        assert duty["pages"].startswith("http://127.0.0.1:")
        assert "host" in duty["targets"]


def test_both_streams_in_one_file_are_json_only(data):
    """
    As with `toban up > log 2>&1`, and in the journal.
    """
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (data.parent / "log").open("w+") as log:
        command = [*TOBAN, "up", "--data", str(data), "--listen", "127.0.0.1:0"]
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=data.parent)
        try:
            eventually(lambda: '"on duty"' in Path(log.name).read_text())
        finally:
            started.terminate()
            started.wait(60)
        lines = [json.loads(line) for line in Path(log.name).read_text().splitlines()]
    assert {"on duty", "stopping"} <= {line["event"] for line in lines}


def test_an_unknown_log_format_is_reported(data):
    """
    It ends with 2 and names those there are.
    """
    with toban(data, LOG_FORMAT="yaml") as program:
        assert program.process.wait(60) == 2
        program.until("LOG_FORMAT: unknown format 'yaml': use auto, text, json")


def test_a_crash_is_reported_at_the_next_start(data):
    """
    The journal knows that nobody stopped it.
    """
    with toban(data) as program:
        program.until("is on duty")
        program.kill()
    with toban(data) as program:
        program.until("last run ended without a stop")


def test_a_second_toban_on_the_same_folder_is_an_error(data):
    """
    It ends with 2 and names the first.
    """
    with toban(data) as program:
        program.until("is on duty")
        second = program.run("up", "--listen", "127.0.0.1:0")
        assert second.returncode == 2
        assert f"another toban runs there (process {program.process.pid})" in second.stderr


def test_an_address_in_use_is_an_error(data):
    """
    It ends with 2 and says what to do.
    """
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with toban(data, "--listen", f"127.0.0.1:{other.getsockname()[1]}") as program:
            assert program.process.wait(60) == 2
            program.until("Choose another: --listen")


def test_commands_without_a_running_toban_are_an_error(data):
    """
    Exit code 1, and what to do.
    """
    done = run([*TOBAN, "status", "--data", str(data)], base_environment(), data.parent)
    assert done.returncode == 1
    assert "is `toban up` running there?" in done.stderr


def test_other_machines_need_a_token(data):
    """
    Without it they learn names and states at /health, and nothing anywhere else.
    """
    with toban(data, "--listen", "0.0.0.0:0", TOBAN_TOKEN="hush") as program:
        program.until("is on duty")
        assert program.get("/metrics")[0] == 401
        assert program.get("/api/v1/query?query=up")[0] == 401
        assert program.get("/")[0] == 401
        assert program.get("/health")[0] == 200
        assert program.get("/-/healthy") == (200, "toban is healthy.\n")
        assert program.get("/metrics", Authorization="Bearer wrong")[0] == 401
        assert program.get("/metrics", Authorization="Bearer hush")[0] == 200
        assert program.run("status").returncode == 0


def test_toban_listens_on_ipv6_only(tmp_path):
    """
    As on Fly's private network; and looks at itself there.
    """
    with toban(tmp_path / "data", "--listen", "[::1]:0") as program:
        program.until("is on duty")
        assert program.url.startswith("http://[::1]:")
        assert program.get("/-/healthy")[0] == 200
        assert program.query("up")


def test_metrics_may_be_public_on_an_address_of_their_own(tmp_path):
    """
    As Fly's Prometheus asks; everything else stays behind the token.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "toban.yaml").write_text(f"web: {{token: secret, metrics: '127.0.0.1:{port}'}}\n")
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml"), "--listen", "0.0.0.0:0") as program:
        program.until("is on duty")
        alone = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{alone}/metrics") as response:
            assert b"process_start_time_seconds" in response.read()
        for path in ("/", "/api/v1/query?query=up", "/federate", "/api/status", "/health"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{alone}{path}")
        assert "listening on" in program.run("status").stdout
