"""
Thirty people before the console: ``python bench/viewers.py``.

toban has the data of the bench of the console, and its normal duty: this machine's metrics and the shipped rules.
First nobody looks, then thirty viewers do, as their browsers would: twenty have a board open that refreshes itself, ten
a live page. What counts is that no interval is missed; the times are what the viewers wait.
"""

import asyncio
import http.client
import json
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from console import BOARDS, LOG, fill, opened
from health import spent
from memory import Run

SECONDS = 120
BOARD_VIEWERS, PAGE_VIEWERS = 20, 10
DUTY = ("toban_job_missed_runs_total", "toban_job_timeouts_total")


def look(run: Run, number: int, refresh: float, stop: threading.Event, took: list[float]) -> None:
    """Have a board open."""
    name = BOARDS[number % len(BOARDS)]
    stop.wait(refresh * number / BOARD_VIEWERS)
    while not stop.is_set():
        asked = urllib.parse.urlencode({"name": name, "from": "now-6h", "to": "now", "points": 480})
        began = time.monotonic()
        with urllib.request.urlopen(f"{run.pages}api/boards/data?{asked}", timeout=60) as response:
            response.read()
        took.append((time.monotonic() - began) * 1000)
        stop.wait(refresh)


def live(run: Run, number: int, stop: threading.Event, took: list[float]) -> None:
    """Have a live page open: its stream, and the page again whenever the stream says so, or each 30 seconds."""
    path, port = ("/", "/alerts", "/targets")[number % 3], urlsplit(run.pages).port or 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as stream:
        stream.request("GET", "/live", headers={"accept": "text/event-stream"})
        events = stream.getresponse()
        asked = 0.0
        while not stop.is_set():
            line = events.readline()  # a comment each 15 seconds at least
            if line.startswith(b"event: changed") or time.monotonic() - asked > 30:
                asked = time.monotonic()
                with urllib.request.urlopen(run.pages.rstrip("/") + path, timeout=60) as response:
                    response.read()
                took.append((time.monotonic() - asked) * 1000)


def value(run: Run, expression: str) -> float:
    """Return the value of an expression; 0 where it has none."""
    asked = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{run.pages}api/v1/query?{asked}") as response:
        found = json.load(response)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def measured(run: Run, name: str, refresh: float) -> None:
    """
    Print what a time with viewers cost, or without where ``refresh`` is 0.

    ``samples`` are those of the target that has the fewest: one each 30 s.
    """
    stop, boards, pages = threading.Event(), list[float](), list[float]()
    viewers = [
        threading.Thread(target=look, args=(run, number, refresh, stop, boards)) for number in range(BOARD_VIEWERS)
    ]
    viewers += [threading.Thread(target=live, args=(run, number, stop, pages)) for number in range(PAGE_VIEWERS)]
    missed = {it: value(run, f"sum({it})") for it in DUTY}
    before, began = spent(run.process.pid), time.monotonic()
    for one in viewers if refresh else ():
        one.start()
    stop.wait(SECONDS)
    stop.set()
    for one in viewers if refresh else ():
        one.join()
    share = (spent(run.process.pid) - before) / (time.monotonic() - began)
    time.sleep(31)  # so that its own metrics are collected once more
    lost = sum(value(run, f"sum({it})") - missed[it] for it in DUTY)
    fewest = value(run, f"min(count_over_time(up[{SECONDS}s] offset 31s))")
    text = f"{name:>26}{share:>7.0%}{lost:>8.0f}{fewest:>9.0f}{run.figures()['VmRSS']:>8.0f}"
    for took in (boards, pages):
        took.sort()
        text += f"{median(took):>9.0f}{took[len(took) * 99 // 100]:>9.0f}" if took else f"{'–':>9}{'–':>9}"
    print(text, flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="toban-viewers-") as name:
        data = Path(name) / "data"
        asyncio.run(fill(data / "tsdb"))
        run = opened(data)
        try:
            time.sleep(30)
            heads = ("board ms", "p99", "page ms", "p99")
            print(
                f"{'viewers':>26}{'CPU':>7}{'missed':>8}{'samples':>9}{'MB':>8}" + "".join(f"{it:>9}" for it in heads)
            )
            measured(run, "nobody", 0)
            measured(run, "30, refresh 30 s", 30)
            measured(run, "30, refresh 10 s", 10)
            measured(run, "30, refresh 5 s", 5)
        except OSError as error:
            # A connection that fails says nothing of why.
            tail = (data.parent / LOG).read_text()[-4_000:]
            raise SystemExit(f"toban is lost ({run.process.poll()=}): {error}\n{tail}") from error
        finally:
            run.process.terminate()
            run.process.wait(30)


if __name__ == "__main__":
    main()
