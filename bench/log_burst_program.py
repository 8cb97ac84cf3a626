"""
A burst of log lines into a whole toban: `python bench/log_burst_program.py [SECONDS]`.

`toban up` runs with its usual collectors, each every second, and the shipped rules. 20,000 lines a second (those of
`bench/logs.py`, with the present time) are posted to `/api/logs` by another process, 500 at a time over four
connections; each is acknowledged when it is durable. Then LogQL queries that read the lines one by one run for a while.
How long the loop is held is measured in toban's process, callback by callback, on the wall and in CPU time of its
thread: the rest it waited for a core that another program had, or for another thread.
"""

import argparse
import http.client
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from log_burst import DISTINCT, RATE
from logs import as_winston, corpus, say
from memory import Run
from viewers import value

LINES, CONNECTIONS = 500, 4
QUIET = 15
"""Seconds without lines, to compare with."""

QUERIES = (
    'sum by (level) (count_over_time({service=~".+"} | json | durationMs > 50 [20s]))',
    'sum(count_over_time({service=~".+"} |~ "order [A-Z]+" | logfmt | line_format "{{.service}} {{__line__}}" [20s]))',
    'quantile_over_time(0.95, {service=~".+"} | json | unwrap durationMs [20s]) by (service)',
)
COLLECTORS = ("host", "toban", "telemetry", "events")

PROGRAM = """
import atexit, json, os, sys, time
from asyncio import events
run, held = events.Handle._run, []
def measured(handle):
    began, cpu = time.monotonic(), time.thread_time()
    run(handle)
    if (took := time.monotonic() - began) > 0.005:
        held.append((began, took, time.thread_time() - cpu))
events.Handle._run = measured
atexit.register(lambda: open(os.environ["HELD"], "w").write(json.dumps(held)))
from toban.cli import main
main()
"""
"""toban, and for how long each callback has held its loop."""


@contextmanager
def toban(folder: Path) -> Iterator[Run]:
    """Run a toban as long as the block lasts."""
    collectors = [{"kind": kind, "interval": "1s"} for kind in COLLECTORS]
    (folder / "toban.yaml").write_text(json.dumps({"collect": collectors}))
    command = [sys.executable, "-c", PROGRAM, "up", "--data", f"{folder}/data", "--listen", "127.0.0.1:0"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "HELD": str(folder / "held.json")}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Run("burst", process, next(it.split()[1] for it in process.stdout if it.startswith("Pages")))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def send(pages: str, seconds: int) -> None:
    """Post lines at the rate, and print how many were accepted and rejected; it runs in a process of its own."""
    lines = [json.loads(as_winston(it)) for it in corpus(DISTINCT)]
    random.Random(7).shuffle(lines)
    print("ready", flush=True)
    sys.stdin.readline()
    began, lock, sent, accepted = time.monotonic(), threading.Lock(), 0, [0] * CONNECTIONS

    def work(number: int) -> None:
        nonlocal sent
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(pages).port, timeout=60)
        while True:
            with lock:
                first = sent
                sent += LINES
            due = began + first / RATE
            if first >= RATE * seconds or time.monotonic() > began + seconds:
                with lock:
                    sent -= LINES
                return
            time.sleep(max(0.0, due - time.monotonic()))
            at = datetime.now(UTC).isoformat()
            batch = [{**lines[it % DISTINCT], "timestamp": at} for it in range(first, first + LINES)]
            connection.request("POST", "/api/logs", orjson.dumps(batch), {"content-type": "application/json"})
            response = connection.getresponse()
            body = response.read()
            assert response.status in {200, 429, 503}, body
            accepted[number] += json.loads(body)["accepted"] if response.status == 200 else 0

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print(sent, sum(accepted), flush=True)


def burst(run: Run, seconds: int) -> tuple[int, int]:
    """Send lines; return how many were sent, and accepted."""
    command = [sys.executable, __file__, str(seconds), "--send", run.pages]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        sent, accepted = process.stdout.readline().split()
    return int(sent), int(accepted)


def query(run: Run, seconds: int) -> None:
    """Run queries, one after the other, and print what the slowest took."""
    until, took = time.monotonic() + seconds, dict.fromkeys(QUERIES, 0.0)
    while time.monotonic() < until:
        for text in QUERIES:
            began = time.monotonic()
            asked = urllib.parse.urlencode({"query": text, "since": "30s", "step": "10s"})
            with urllib.request.urlopen(f"{run.pages}loki/api/v1/query_range?{asked}", timeout=120) as response:
                response.read()
            took[text] = max(took[text], time.monotonic() - began)
    say("longest query", *(f"{it:.1f} s" for it in took.values()))


def measured(run: Run, name: str, phase: Callable[[], None]) -> tuple[str, float, float]:
    """Run a phase, and print what it cost; return its name, beginning and end."""
    missed = value(run, "sum(toban_job_missed_runs_total)")
    began = time.monotonic()
    phase()
    ended = time.monotonic()
    time.sleep(2)  # until its own metrics are collected once more
    seconds = int(ended - began)
    fewest = value(run, f"min(count_over_time(up[{seconds}s] offset 2s))")
    print(f"{name}, {seconds} s")
    say("collections, of the target with the fewest", f"{fewest:.0f} of {seconds}")
    say("missed runs of periodic tasks", f"{value(run, 'sum(toban_job_missed_runs_total)') - missed:.0f}")
    figures = run.figures()
    say("resident, peak (MB)", f"{figures['VmRSS']:.0f}", f"{figures['VmHWM']:.0f}")
    return name, began, ended


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("seconds", type=int, nargs="?", default=60)
    options.add_argument("--send", help="only post lines to these pages")
    chosen = options.parse_args()
    if chosen.send:
        send(chosen.send, chosen.seconds)
        return
    phases: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="toban-burst-") as name:
        folder = Path(name)
        with toban(folder) as run:
            time.sleep(10)
            phases.append(measured(run, "nothing", lambda: time.sleep(QUIET)))
            counts: list[int] = []
            phases.append(measured(run, "burst", lambda: counts.extend(burst(run, chosen.seconds))))
            outcomes = {
                it: value(run, f'sum(toban_log_lines_total{{source="api",outcome="{it}"}})')
                for it in ("stored", "duplicate", "dropped", "unreadable")
            }
            say("lines sent, accepted", *(f"{it:,}" for it in counts))
            say("of those " + ", ".join(outcomes), *(f"{it:,.0f}" for it in outcomes.values()))
            phases.append(measured(run, "LogQL, line by line", lambda: query(run, QUIET)))
        held = json.loads((folder / "held.json").read_text())
        for name, began, ended in phases:
            during = [(took, cpu) for at, took, cpu in held if began <= at <= ended]
            longest = [max((it[which] for it in during), default=0.0) * 1000 for which in (0, 1)]
            over = [sum(it[which] > 0.05 for it in during) for which in (0, 1)]
            say(f"loop held, longest: {name} (wall, CPU)", *(f"{it:.1f} ms" for it in longest))
            say(f"over 50 ms: {name} (wall, CPU)", *map(str, over))


if __name__ == "__main__":
    main()
