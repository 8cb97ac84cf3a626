"""
How much memory the whole program takes: as it comes, and with an exporter of 2,000 series.

``python bench/memory.py [MINUTES]`` (10 unless given) runs both side by side, asks each for an hour's chart once a
minute, and prints megabytes (10^6 bytes): what is resident, and the most that ever was. structlog takes `rich` along
where that is installed: here it is, for the tests, and in the image it isn't, so it is left out.
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
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERIES = 2_000
AIMS = {"as it comes": 110, f"{SERIES:,} series": 145}
QUESTIONS = {
    "as it comes": "avg_over_time(system_cpu_usage_percent[5m])",
    f"{SERIES:,} series": "sum by (status) (rate(shop_requests_total[5m]))",
}
HOUR, STEP = 3600, 15


class Exporter(BaseHTTPRequestHandler):
    """A page of counters that grow with each look."""

    totals = [0.0] * SERIES
    chance = random.Random(7)

    def do_GET(self) -> None:
        lines = ["# HELP shop_requests_total Requests.", "# TYPE shop_requests_total counter"]
        for number in range(SERIES):
            self.totals[number] += self.chance.choice([0, 0, 1, 3])
            path, status = divmod(number, 4)
            lines.append(f'shop_requests_total{{path="/{path}",status="{200 + 100 * status}"}} {self.totals[number]:g}')
        body = "\n".join([*lines, ""]).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: standard output is for figures."""


@dataclass
class Run:
    """One toban that is measured."""

    name: str
    process: "subprocess.Popen[str]"
    pages: str
    resident: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return what the system says of its memory, in megabytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {
            line.partition(":")[0]: int(line.split()[1]) * 1024 / 1e6
            for line in lines
            if line.startswith(("Vm", "Rss"))
        }

    def ask(self) -> int:
        """Ask for a chart of an hour; return how many series it has."""
        now = time.time()
        parameters = urllib.parse.urlencode(
            {"query": QUESTIONS[self.name], "start": now - HOUR, "end": now, "step": STEP}
        )
        with urllib.request.urlopen(f"{self.pages}api/v1/query_range?{parameters}") as response:
            return len(json.load(response)["data"]["result"])


@contextmanager
def toban(name: str, configuration: str) -> Iterator[Run]:
    """Run a toban as long as the block lasts."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONDONTWRITEBYTECODE") if key in os.environ}
    with tempfile.TemporaryDirectory(prefix="toban-") as folder:
        Path(folder, "toban.yaml").write_text(configuration)
        program = "import sys; sys.modules['rich'] = None; from toban.cli import main; main()"
        command = [sys.executable, "-c", program, "up", "--data", f"{folder}/data", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, cwd=folder, env=kept, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                pages = next(line.split()[1] for line in process.stdout if line.startswith("Pages"))
                yield Run(name, process, pages)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def main(minutes: float) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scrape = f"collect: [{{kind: scrape, name: shop, url: 'http://127.0.0.1:{server.server_port}/', interval: 15s}}]"
    with ExitStack() as stack:
        plain, busy = AIMS
        runs = [stack.enter_context(toban(plain, "")), stack.enter_context(toban(busy, scrape))]
        print(f"{'minute':>8}" + "".join(f"{run.name:>24}" for run in runs), flush=True)
        began = time.monotonic()
        while (passed := (time.monotonic() - began) / 60) <= minutes:
            row = []
            for run in runs:
                figures = run.figures()
                run.resident.append(figures["VmRSS"])
                row.append(f"{figures['VmRSS']:.1f} (most {figures['VmHWM']:.1f})")
                run.ask()
            print(f"{passed:8.1f}" + "".join(f"{cell:>24}" for cell in row), flush=True)
            time.sleep(max(0.0, min(60.0, minutes * 60 - passed * 60 + 0.1)))
        for run in runs:
            figures, aim = run.figures(), AIMS[run.name]
            verdict = "within" if figures["VmRSS"] <= aim else "over"
            print(
                f"{run.name}: {figures['VmRSS']:.1f} MB resident at the end ({figures['RssAnon']:.1f} of it its own),"
                f" {figures['VmHWM']:.1f} at most: {verdict} the aim of {aim} MB; {run.ask()} series in the last answer"
            )
    server.shutdown()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
