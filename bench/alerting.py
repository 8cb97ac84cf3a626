"""
How long rules take, beside Debian's Prometheus, and how long ten thousand alerts at once take to be told.

``python bench/alerting.py`` runs toban and Prometheus side by side for two minutes over the same page of 2,000 series
and the same 1,000 rules, and prints how long one evaluation of all of them took (median). Then a toban of its own
meets 10,000 alerts at once, in 100 groups, and a webhook that takes every message.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import yaml

SERIES, RULES, EVERY, SECONDS = 2_000, 1_000, 5, 120
STORM, GROUPS = 10_000, 100

KINDS = (
    'sum by (status) (rate(shop_requests_total{{shop="{n}"}}[5m])) > {limit}',
    'shop_requests_total{{shop="{n}", status="500"}} > {limit}e9',
    'sum(rate(shop_requests_total{{shop="{n}",status=~"5.."}}[5m]))'
    ' / sum(rate(shop_requests_total{{shop="{n}"}}[5m])) > 2',
    'increase(shop_requests_total{{shop="{n}"}}[1m]) > {limit}e9',
)


class Page(BaseHTTPRequestHandler):
    """Counters that grow with each look; or a storm, when it is time."""

    totals = [0.0] * SERIES
    chance = random.Random(7)
    storm = False

    def do_GET(self) -> None:
        if self.path == "/storm" and Page.storm:
            SEEN.append(time.monotonic())
        lines = [f'load{{n="{n}",shard="{n % GROUPS}"}} {int(Page.storm)}' for n in range(STORM)]
        if self.path != "/storm":
            lines = []
            for number in range(SERIES):
                self.totals[number] += self.chance.choice([0, 0, 1, 3])
                shop, status = number // 4 % 250, (200, 302, 404, 500)[number % 4]
                labels = f'shop="{shop}",path="/{number // 1000}",status="{status}"'
                lines.append(f"shop_requests_total{{{labels}}} {self.totals[number]:g}")
        body = "\n".join([*lines, ""]).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        posted = json.loads(self.rfile.read(int(self.headers["content-length"])))
        TOLD.append((time.monotonic(), len(posted["alerts"]) + posted.get("truncatedAlerts", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: standard output is for figures."""


TOLD: list[tuple[float, int]] = []
"""When each message came, and of how many alerts it told."""


SEEN: list[float] = []
"""When the storm was looked at."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve the page, and take messages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def rules() -> dict[str, Any]:
    """Return a thousand rules, none of which fires, in one group: groups wait for each other's turn, in both."""
    made = [
        {"alert": f"rule_{n}", "expr": KINDS[n % len(KINDS)].format(n=n // 4 % 250, limit=1000), "for": "1m"}
        for n in range(RULES)
    ]
    return {"groups": [{"name": "many", "interval": f"{EVERY}s", "rules": made}]}


@contextmanager
def started(command: list[str], address: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program while the block lasts, from when it answers."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(f"{address}/-/ready").close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, (folder / f"{Path(command[0]).name}.log").read_text()
                    time.sleep(0.1)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def toban(folder: Path, port: int, **settings: Any) -> tuple[list[str], str]:
    """Return how to start toban with some settings, and where it answers."""
    (folder / "toban.yaml").write_text(yaml.safe_dump(settings))
    given = ["--listen", f"127.0.0.1:{port}", "--data", str(folder / "data"), "--config", str(folder / "toban.yaml")]
    return [sys.executable, "-m", "toban", "up", *given], f"http://127.0.0.1:{port}"


def seconds(address: str) -> float:
    """Return how long the newest evaluation of the group took."""
    with urllib.request.urlopen(f"{address}/api/v1/rules") as response:
        groups = json.load(response)["data"]["groups"]
    return float(next(group["evaluationTime"] for group in groups if group["name"] == "many"))


def beside(page: str, folder: Path) -> None:
    """Let both judge the same for a while, and print how long that took."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules()))
    target = page.removeprefix("http://")
    scraping = [{"job_name": "shop", "scrape_interval": f"{EVERY}s", "static_configs": [{"targets": [target]}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "scrape_configs": scraping}))
    peer = ["prometheus", "--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:19191"]
    ours, address = toban(
        folder,
        19190,
        collect=[{"kind": "scrape", "name": "shop", "url": f"{page}/metrics", "interval": f"{EVERY}s"}],
        alerting={"rules": ["rules.yaml"], "shipped": False},
    )
    with ExitStack() as stack:
        stack.enter_context(started(peer, "http://127.0.0.1:19191", folder))
        stack.enter_context(started(ours, address, folder))
        found: dict[str, list[float]] = {address: [], "http://127.0.0.1:19191": []}
        for _ in range(SECONDS // EVERY):
            time.sleep(EVERY)
            for place, times in found.items():
                times.append(seconds(place))
    mine, theirs = (median(times[4:]) * 1000 for times in found.values())
    print(
        f"{RULES:,} rules over {SERIES:,} series: toban {mine:.0f} ms, Prometheus {theirs:.0f} ms: {theirs / mine:.2f}"
    )


def storm(page: str, folder: Path) -> None:
    """Let ten thousand alerts fire at once, and print when they were told."""
    rule = {"alert": "storm", "expr": "load > 0", "labels": {"severity": "warning"}, "annotations": {"summary": "s"}}
    (folder / "storm.yaml").write_text(yaml.safe_dump({"groups": [{"name": "s", "rules": [rule]}]}))
    command, address = toban(
        folder,
        19192,
        collect=[{"kind": "scrape", "name": "storm", "url": f"{page}/storm", "interval": "15s", "limit": 20_000}],
        alerting={"rules": ["storm.yaml"], "shipped": False},
        notify={"group_by": ["shard"]},
        channels={"hook": {"kind": "webhook", "url": page}},
    )
    with started(command, address, folder) as process:
        time.sleep(20)
        before = memory(process.pid, "VmRSS")
        began, Page.storm = time.monotonic(), True
        while sum(alerts for _, alerts in TOLD) < STORM and time.monotonic() - began < 300:
            time.sleep(0.1)
        first, last = TOLD[0][0] - SEEN[0], TOLD[-1][0] - SEEN[0]
        print(f"{STORM:,} alerts at once: told after {first:.1f} to {last:.1f} s, in {len(TOLD)} messages")
        print(f"resident {before:.0f} MB before, {memory(process.pid, 'VmHWM'):.0f} MB at most")


def memory(pid: int, what: str) -> float:
    """Return a figure of a process's memory, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(what)


if __name__ == "__main__":
    with serving() as served, tempfile.TemporaryDirectory() as place:
        beside(served, Path(place))
        storm(served, Path(place))
