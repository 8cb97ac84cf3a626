"""
How fast the console is: ``python bench/console.py``.

toban with 90 days of data (2,000 series, a sample each ten minutes, the last six hours each 15 s) serves its pages: the
server's time to the last byte, processor time, bytes as they are sent, queries of the boards, and the time until
Chromium has drawn them. Debian's Prometheus shows the same expression in the page that it has, the classic one, in the
same run and browser.
"""

import asyncio
import gzip
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import numpy as np
from health import spent
from memory import Run
from playwright.sync_api import Request, sync_playwright

from toban.core.clock import SystemClock
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Layout, milliseconds
from toban.demo.servers import Server, folder, free_port, running
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

SERIES, DAYS, ROUNDS = 2_000, 90, 15
LOG = "toban.log"
PAGES = ["/", "/alerts", "/silences", "/rules", "/targets", "/channels", "/logs", "/settings?defaults=1", "/audit",
         "/about", "/dashboards", "/dashboards/production", "/explore"]  # fmt: skip
BOARDS = ["production", "commerce", "api", "postgres", "hosts", "toban"]
DRAWN = {"/": "svg.day", "/dashboards/production": "canvas", "/dashboards/commerce": "canvas"}
EXPRESSION = "sum by (status) (rate(vendure_api_requests_total[5m]))"


def labels() -> list[Labels]:
    """Return the series of a shop, and of an exporter beside it."""
    of = [Labels(__name__="vendure_orders_created_total", channel=it, customerType="general") for it in ("eu", "us")]
    of += [Labels(__name__="vendure_revenue_total", channel="eu", currency="EUR")]
    of += [
        Labels(__name__="vendure_api_requests_total", endpoint=f"/shop-api/{it}", method="POST", status=str(status))
        for it in range(50)
        for status in (200, 400, 500)
    ]
    of += [Labels(__name__="shop_requests_total", path=f"/{it}") for it in range(SERIES - len(of))]
    return of


async def fill(path: Path) -> None:
    """Write the data."""
    now, random = datetime.now(UTC), np.random.default_rng(7)
    layout, totals = Layout(labels()), np.zeros(SERIES)
    times = [now - timedelta(days=DAYS) + it * timedelta(minutes=10) for it in range(DAYS * 144 - 36)]
    times += [now - timedelta(hours=6) + it * timedelta(seconds=15) for it in range(6 * 240)]
    settings = TsdbSettings()
    with Store(path, settings, SystemClock(), MetricRegistry()) as store:
        for at in times:
            totals += random.poisson(2.0, SERIES)
            await store.append([Batch(layout, milliseconds(at), totals.copy())])


def opened(data: Path) -> Run:
    """Start toban on a folder; its log is in `toban.log` beside that."""
    command = [sys.executable, "-m", "toban", "up", "--data", str(data), "--listen", "127.0.0.1:0"]
    with (data.parent / LOG).open("w") as log:
        process = subprocess.Popen(command, cwd=data.parent, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    return Run("console", process, next(line.split()[1] for line in process.stdout if line.startswith("Pages")))


def served(run: Run) -> None:
    """Print what each page costs the server."""
    port = urlsplit(run.pages).port or 0
    print(f"{'page':>26}{'ms, median':>12}{'ms, most':>10}{'CPU ms':>8}{'kB':>7}{'kB, sent':>10}")
    for path in PAGES:
        took, own, body = [], [], b""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for _ in range(ROUNDS + 1):
                before, began = spent(run.process.pid), time.monotonic()
                connection.request("GET", path, headers={"accept-encoding": "gzip"})
                body = connection.getresponse().read()
                took.append((time.monotonic() - began) * 1000)
                own.append((spent(run.process.pid) - before) * 1000)
        # The first visit compiles the template.
        html = gzip.decompress(body)
        print(
            f"{path:>26}{median(took[1:]):>12.1f}{max(took[1:]):>10.1f}{median(own[1:]):>8.1f}"
            f"{len(html) / 1000:>7.1f}{len(body) / 1000:>10.1f}"
        )


def queried(run: Run) -> None:
    """Print how many queries each board asks, and how long they take together."""
    print(f"\n{'board':>26}{'queries':>9}{'ms, median':>12}")
    for name in BOARDS:
        with urllib.request.urlopen(f"{run.pages}api/boards/board?name={name}") as response:
            board = json.load(response)["board"]
        panels = [*board["panels"], *(panel for row in board["rows"] for panel in row["panels"])]
        took = []
        for _ in range(5):
            began = time.monotonic()
            parameters = urllib.parse.urlencode({"name": name, "from": "now-6h", "to": "now", "points": 400})
            urllib.request.urlopen(f"{run.pages}api/boards/data?{parameters}").read()
            took.append((time.monotonic() - began) * 1000)
        print(f"{name:>26}{sum(len(it['queries']) for it in panels):>9}{median(took):>12.0f}")


def drawn(run: Run, prometheus: str) -> None:
    """Print how long a browser takes from the address to the chart, and what the first visit loads."""
    print(f"\n{'in Chromium':>26}{'ms, first':>11}{'ms, median':>12}{'kB, first':>11}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        peer = urllib.parse.urlencode({"g0.expr": EXPRESSION, "g0.tab": 0, "g0.range_input": "6h"})
        own = urllib.parse.urlencode({"expr": EXPRESSION, "from": "now-6h", "to": "now"})
        addresses = {path: (run.pages.rstrip("/") + path, mark) for path, mark in DRAWN.items()}
        addresses["/explore, one query"] = (f"{run.pages}explore?{own}", "canvas")
        addresses["Prometheus, the same"] = (f"{prometheus}/classic/graph?{peer}", ".rickshaw_graph svg path")
        for name, (address, mark) in addresses.items():
            context, took, requests = browser.new_context(), list[float](), list[Request]()
            sent = 0
            for _ in range(6):
                page = context.new_page()
                if not took:
                    page.on("requestfinished", partial(list.append, requests))
                began = time.monotonic()
                page.goto(address, wait_until="commit")
                page.locator(mark).first.wait_for()
                took.append((time.monotonic() - began) * 1000)
                if len(took) == 1:
                    page.wait_for_timeout(1000)
                    sent = sum(_sent(it) for it in requests)
                page.close()
            print(f"{name:>26}{took[0]:>11.0f}{median(took[1:]):>12.0f}{sent / 1000:>11.0f}", flush=True)
            context.close()
        browser.close()


def _sent(request: Request) -> int:
    """Return how many bytes a response has on the wire."""
    sizes = request.sizes()
    return sizes["responseBodySize"] + sizes["responseHeadersSize"]


@contextmanager
def prometheus(data: Path) -> Iterator[str]:
    """Run Debian's Prometheus with the metric of the expression as toban has it; yield its address."""
    with folder() as path:
        exported, blocks = path / "samples.om", path / "data"
        toban = [sys.executable, "-m", "toban", "export", "openmetrics", str(exported), "--data", str(data)]
        subprocess.run([*toban, "--match", "vendure_api_requests_total", "--last", "6h"], check=True)
        promtool = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(exported), str(blocks)]
        subprocess.run(promtool, check=True, stdout=subprocess.DEVNULL)
        (path / "prometheus.yml").write_text("{}")
        for file in path.rglob("*"):
            shutil.chown(file, path.owner(), path.group())
        port = free_port()
        options = [
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={blocks}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with running(Server(port, path, [str(shutil.which("prometheus")), *options])):
            address = f"http://127.0.0.1:{port}"
            while True:
                with suppress(OSError), urllib.request.urlopen(f"{address}/-/ready"):
                    break
                time.sleep(0.2)
            yield address


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="toban-console-") as name:
        data = Path(name) / "data"
        asyncio.run(fill(data / "tsdb"))
        run = opened(data)
        try:
            time.sleep(20)
            rest = run.figures()["VmRSS"]
            served(run)
            queried(run)
            with prometheus(data) as peer:
                drawn(run, peer)
            print(f"\nresident before anybody looked: {rest:.1f} MB, after all of this {run.figures()['VmRSS']:.1f} MB")
        finally:
            run.process.terminate()
            run.process.wait(30)


if __name__ == "__main__":
    main()
