"""
A burst of log lines through the whole pipeline: `python bench/log_burst.py [SECONDS]`.

20,000 lines a second (those of `bench/logs.py`, with the present time) are written by the event loop, 200 at a time, as
lines arrive that nobody waits for: what finds no room is dropped. They are redacted, deduplicated, stored, counted and
published. Beside it a task measures for how long the loop was held. Each burst has a process of its own; CPU time is
that of the process without what makes the lines, memory is resident, in MiB.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from logs import corpus, say

from toban.core.clock import SystemClock
from toban.core.garbage_collector import freeze_periodically
from toban.core.log_line import LogLine
from toban.core.metric_registry import MetricRegistry
from toban.logs.custom_metrics import LineMetrics
from toban.logs.line_feed import LineFeed
from toban.logs.line_redaction import LineRedactor
from toban.logs.pipeline import LINES, OWN, LogPipeline
from toban.logs.settings import LogSettings
from toban.logs.store.store import EmbeddedLineStore

RATE = 20_000
BATCH = 200
DISTINCT = 40_000
"""How many different lines there are."""


class NoRedaction(LineRedactor):
    def redacted(self, line: LogLine) -> LogLine:
        return line


class LoopMonitor:
    """
    Measures for how long the event loop is held: how much later than asked a sleep ends.

    Of that the CPU time of the process: the rest it waited for a core that another program had, or for the disk.
    """

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.used: list[float] = []

    async def run(self) -> None:
        while True:
            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.002)
            delay = time.perf_counter() - began - 0.002
            self.delays.append(delay)
            self.used.append(min(delay, time.process_time() - cpu))


def resident(field: str = "VmRSS") -> float:
    """Return resident memory in MiB, or its peak (`VmHWM`)."""
    (line,) = [it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


def waited() -> float:
    """Return for how many seconds the threads waited for a core that another program had."""
    return sum(int(it.read_text().split()[1]) for it in Path("/proc/self/task").glob("*/schedstat")) / 1e9


async def send(pipeline: LogPipeline, lines: Sequence[LogLine], seconds: int) -> tuple[int, float]:
    """Write lines at the rate; return how many, and the CPU seconds that making them took."""
    began, sent, making = time.monotonic(), 0, 0.0
    while sent < RATE * seconds:
        while sent < min(RATE * seconds, (time.monotonic() - began) * RATE):
            made = time.thread_time()
            at = datetime.now(UTC)
            first = sent % len(lines)
            batch = [replace(line, at=at) for line in lines[first : first + BATCH]]
            making += time.thread_time() - made
            pipeline.write(batch)
            sent += len(batch)
            await asyncio.sleep(0)
        await asyncio.sleep(0.005)
    return sent, making


async def burst(seconds: int, redactor: LineRedactor) -> None:
    lines = list(corpus(DISTINCT))
    random.Random(7).shuffle(lines)
    meters, clock, monitor = MetricRegistry(), SystemClock(), LoopMonitor()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(EmbeddedLineStore(folder, LogSettings(), clock, meters))
        metrics = LineMetrics((), meters, meters)
        pipeline = LogPipeline(store, redactor, metrics, LineFeed().publish, meters, clock, meters)
        running = asyncio.create_task(pipeline.run())
        watching = asyncio.create_task(monitor.run())
        collecting = asyncio.create_task(freeze_periodically(clock))
        await asyncio.sleep(0.5)
        monitor.delays.clear()
        monitor.used.clear()
        before, cpu, waiting = resident(), time.process_time(), waited()
        sent, making = await send(pipeline, lines, seconds)
        await pipeline.append([], OWN, {"burst": "sent"})  # a cursor is stored after all lines before it
        spent, waiting = time.process_time() - cpu - making, waited() - waiting
        tasks = (watching, collecting, running)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        say("lines sent, stored, dropped", f"{sent:,}", f"{pipeline.stored:,}", f"{dropped(meters):,}")
        for name, delays in (("wall", sorted(monitor.delays)), ("CPU", sorted(monitor.used))):
            say(
                f"loop held, p99 and longest ({name})",
                f"{delays[len(delays) * 99 // 100] * 1000:.1f} ms",
                f"{delays[-1] * 1000:.1f} ms",
            )
        say("resident before, after, peak", f"{before:.0f}", f"{resident():.0f}", f"{resident('VmHWM'):.0f}")
        say("CPU a line", f"{spent / sent * 1e6:.1f} µs")
        say("CPU, waited for a core", f"{spent + making:.1f} s", f"{waiting:.1f} s")


def dropped(meters: MetricRegistry) -> int:
    return int(meters.value(LINES, source=OWN, outcome="dropped"))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("seconds", type=int, nargs="?", default=10)
    options.add_argument("--redaction", choices=["on", "off"], help="only this burst")
    chosen = options.parse_args()
    if chosen.redaction:
        asyncio.run(burst(chosen.seconds, LineRedactor() if chosen.redaction == "on" else NoRedaction()))
        return
    for redaction in ("on", "off"):
        print(f"{RATE:,} lines/s for {chosen.seconds} s, redaction {redaction}")
        subprocess.run([sys.executable, __file__, str(chosen.seconds), "--redaction", redaction], check=True)


if __name__ == "__main__":
    main()
