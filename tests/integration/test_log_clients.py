"""Programs that send log lines to toban, unmodified: loggers of Node and Python, syslog-ng."""

import json
import logging
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from logging_loki import LokiHandler

from tests import node_clients
from tests.needs import need
from tests.program import Program, eventually, toban

TOKEN = "t" * 40
NODE_CLIENTS = ("winston-json", "winston-protobuf", "pino")


def found(program: Program, service: str, count: int) -> list[dict]:
    """Return the lines of a service, the oldest first, when there are so many."""
    command = ("logs", f"service:{service}", "--since", "1h", "--limit", "1000", "--level", "debug", "--json")
    rows = eventually(lambda: program.run(*command).stdout.splitlines(), lambda it: len(it) >= count)
    return [json.loads(row) for row in rows]


def test_loggers_of_node_push_their_lines(tmp_path):
    """
    With winston-loki, in JSON and in protobuf with snappy, and with pino-loki: as these send them, in batches.
    """
    with toban(tmp_path / "data", TOBAN_TOKEN=TOKEN) as program:
        with ThreadPoolExecutor(len(NODE_CLIENTS)) as threads:
            list(threads.map(lambda client: node_clients.push(program.url, TOKEN, client, 300), NODE_CLIENTS))
        for client in NODE_CLIENTS:
            first, *others = found(program, client, 301)
            assert (first["level"], first["message"], first["environment"]) == ("error", "payment failed", "production")
            assert first["trace"].startswith("Error: declined\n    at "), first
            assert first["facts"]["order"] == "A1"
            assert [(it["level"], it["message"]) for it in others] == [("warn", f"line {n}") for n in range(300)]
            assert [it["facts"]["number"] for it in others] == [*range(300)]


def test_a_handler_of_python_pushes_its_lines(tmp_path):
    """
    With python-logging-loki: each line is a request.
    """
    with toban(tmp_path / "data", TOBAN_TOKEN=TOKEN) as program:
        url, tags = f"{program.url}/loki/api/v1/push", {"application": "jobs"}
        handler = LokiHandler(url, tags, auth=("any", TOKEN), version="1")
        logger = logging.Logger("shop.orders")  # noqa: LOG001  # it goes when the test ends
        logger.addHandler(handler)
        logger.warning("stock is low: %s", "T-シャツ", extra={"tags": {"queue": "stock"}})
        try:
            raise ValueError("no such order")
        except ValueError:
            logger.exception("import failed")
        handler.close()
        low, failed = found(program, "jobs", 2)
        assert (low["level"], low["message"], low["context"]) == ("warn", "stock is low: T-シャツ", "shop.orders")
        assert low["facts"] == {"queue": "stock"}
        assert failed["level"] == "error"
        assert "ValueError: no such order" in failed["message"] + failed["trace"]


SYSLOG_NG = (Path(__file__).parents[2] / "docs" / "logs.md").read_text().partition("```text syslog-ng.conf\n")[2]


def test_syslog_ng_sends_its_lines(tmp_path):
    """
    By the configuration of docs/logs.md, which reads a file here instead of the system's log.
    """
    command = need("syslog-ng", shutil.which("syslog-ng", path="/usr/sbin:/usr/bin"))
    log = tmp_path / "log"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    log.write_text("".join(f'<{n % 8}>1 {now} web-1 nginx 1 - - GET "/{n}" 日本\n' for n in range(250)))
    with toban(tmp_path / "data", TOBAN_TOKEN=TOKEN) as program:
        text = SYSLOG_NG.partition("```")[0]
        source = f'file("{log}" flags(syslog-protocol) follow-freq(0.1));'
        changes = {
            "http://toban:9119": program.url,
            "tbn_…": TOKEN,
            "system();": source,
            "timeout(1000)": "timeout(100)",
        }
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "conf").write_text(text)
        files = ("-R", "persist", "-c", "control", "-p", "pid")
        process = subprocess.Popen([command, "-F", "-f", "conf", *files], cwd=tmp_path, stdin=subprocess.DEVNULL)
        try:
            lines = found(program, "nginx", 250)
        finally:
            process.terminate()
            process.wait(30)
        assert sorted(it["message"] for it in lines) == sorted(f'GET "/{n}" 日本' for n in range(250))
        assert {(it["instance"], it["timestamp"][:23] + "Z") for it in lines} == {("web-1", now)}
        assert {it["level"] for it in lines} == {"error", "warn", "info", "debug"}
