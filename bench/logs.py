"""
How fast and how small the store of log lines is, beside grep and SQLite's FTS5: `python bench/logs.py [LINES]`.

The lines are seeded and in winston's shape: requests, SQL, orders, jobs and mails in Japanese, 2 % errors with a stack
trace; seven days, the last hour with 7 % of them. A million lines by default (10_000_000 takes a quarter of an hour);
the peers have the first million. Ingest is CPU time of appends of 200 lines each and of all maintenance; searches run
in a process of their own, each five times, and print the medians of time on the wall and of CPU time. Memory is over
that of the same process with nothing but its imports.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.line_store import LineSelection, TextFilter
from toban.logs.settings import LogSettings
from toban.logs.store.store import EmbeddedLineStore

END = datetime(2026, 1, 8, 12, tzinfo=UTC)
HOUR, DAY = 3_600_000, 86_400_000
SERVICES = ("vendure-api", "vendure-api", "vendure-api", "vendure-worker")
OPERATIONS = (
    "addItemToOrder",
    "activeOrder",
    "products",
    "search",
    "collection",
    "adjustOrderLine",
    "setCustomerForOrder",
)
TABLES = ("order", "order_line", "product_variant", "stock_level", "session", "customer", "channel", "job_record")
STATES = ("AddingItems", "ArrangingPayment", "PaymentAuthorized", "PaymentSettled", "Shipped", "Delivered")
QUEUES = ("send-email", "apply-collection-filters", "update-search-index", "sync-erp")
PATH = "/app/node_modules/@vendure/core/dist/service/services"
STACK = (
    "    at PaymentService.createPayment ({path}/payment.service.js:{payment}:23)\n"
    "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)\n"
    "    at async OrderService.addPaymentToOrder ({path}/order.service.js:{order}:29)"
)
PEER_LINES = 1_000_000


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def corpus(count: int) -> Iterator[LogLine]:
    """Yield the lines, oldest first."""
    chance = random.Random(7)
    before = count - count * 72 // 1000
    trace_id = ""
    for number in range(count):
        if number < before:
            at = END - timedelta(days=7) + timedelta(hours=167) * number / before
        else:
            at = END - timedelta(hours=1) + timedelta(hours=1) * (number - before) / (count - before)
        if number % 4 == 0:
            trace_id = f"{chance.getrandbits(128):032x}"
        yield line(number, count, at, chance, trace_id)


def line(number: int, count: int, at: datetime, chance: random.Random, trace_id: str) -> LogLine:
    kind, service = chance.random(), chance.choice(SERVICES)
    code = f"{chance.getrandbits(64):016X}"
    level, context, trace, facts = LogLevel.INFO, "RequestLogger", "", dict[str, object]()
    if number % max(1, count // 20) == 7:
        message, context, facts = f"Imported the zanzibar catalogue as {code}", "ImportService", {"rows": number}
    elif kind < 0.40:
        address = f"{chance.randrange(1, 224)}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"
        took = int(chance.expovariate(1 / 40))
        message = f"POST /shop-api {chance.choice(OPERATIONS)} 200 in {took}ms from {address}"
        facts = {"duration_ms": took, "status": 200, "session": code.lower()}
    elif kind < 0.65:
        level, context, trace_id = LogLevel.DEBUG, "TypeOrm", ""
        table = chance.choice(TABLES)
        message = (
            f'query: SELECT "{table}"."id", "{table}"."createdAt", "{table}"."updatedAt" FROM "{table}" "{table}" WHERE'
            f' "{table}"."id" = $1 LIMIT 1 -- PARAMETERS: [{chance.randrange(1_000_000)}] took {chance.randrange(40)}ms'
        )
    elif kind < 0.80:
        context = "OrderService"
        step = chance.randrange(len(STATES) - 1)
        message = f"Order {code} transitioned from {STATES[step]} to {STATES[step + 1]}"
    elif kind < 0.93:
        context, trace_id = "JobQueue", ""
        message = f"Job {number} [{chance.choice(QUEUES)}] completed in {chance.randrange(5000)}ms"
    elif kind < 0.9505:
        context = "EmailPlugin"
        message = f"注文 {code} の確認メールを customer{chance.randrange(50_000)}@example.jp に送信しました"
    elif kind < 0.951:
        level, context = LogLevel.WARN, "StockService"
        message = f"在庫が不足しています: kintsugi-kit-{chance.randrange(100)} 残り {chance.randrange(5)}"
    elif kind < 0.98:
        level, context = LogLevel.WARN, "RateLimiter"
        message = f"Rate limit of session {code.lower()} reached: {chance.randrange(100, 900)} requests in 60 s"
    else:
        level, context = LogLevel.ERROR, "PaymentService"
        message = f"Payment for order {code} declined: insufficient_funds (attempt {chance.randrange(1, 4)})"
        trace = f"Error: {message}\n" + STACK.format(
            path=PATH, payment=chance.choice((71, 95, 130)), order=chance.choice((880, 1042))
        )
    return LogLine(at, level, message, context, service, "production", f"{service}-1", "", trace, trace_id, facts)


def as_winston(it: LogLine) -> str:
    fields = {
        "timestamp": it.at.isoformat(timespec="milliseconds"), "level": it.level.value, "message": it.message,
        "context": it.context, "service": it.service, "environment": it.environment, "instance": it.instance,
        "stack": it.trace, "trace_id": it.trace_id, **it.facts,
    }  # fmt: skip
    return json.dumps({name: value for name, value in fields.items() if value != ""}, ensure_ascii=False)


def say(what: str, *figures: str) -> None:
    print(f"{what:<44} " + " ".join(f"{figure:>16}" for figure in figures), flush=True)


def memory(name: str) -> float:
    (text,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name))
    return int(text.split()[1]) / 1024


def ingest(count: int, folder: Path, raw: Path) -> None:
    """Append all lines; the day and the blocks go by as they would."""
    base = memory("VmRSS")
    clock, spent, sealing, lines, written = Clock(END - timedelta(days=7)), 0.0, 0.0, corpus(count), 0
    with (
        EmbeddedLineStore(folder, LogSettings(retention_size=2**40), clock, MetricRegistry()) as store,
        raw.open("w") as file,
    ):
        maintained = clock.at
        while batch := list(islice(lines, 200)):
            began = time.process_time()
            store.append(batch, {"bench": str(written)})
            spent += time.process_time() - began
            clock.at = batch[-1].at
            if clock.at - maintained > timedelta(minutes=1):
                began = time.process_time()
                store.maintain(milliseconds(clock.at))
                sealing += time.process_time() - began
                maintained = clock.at
            if written < PEER_LINES:
                file.writelines(as_winston(one) + "\n" for one in batch)
            written += len(batch)
        size = store.report().bytes
        blocks = sum(block.size for block in store._block_set.blocks) / max(
            1, sum(block.lines for block in store._block_set.blocks)
        )
    raw_size = raw.stat().st_size / min(count, PEER_LINES)
    say("bytes a line: in blocks, with the head, raw", f"{blocks:.1f}", f"{size / count:.1f}", f"{raw_size:.0f}")
    say("CPU a line: appended, sealed", f"{spent / count * 1e6:.1f} µs", f"{sealing / count * 1e6:.1f} µs")
    say("memory at most, while writing", f"+{memory('VmHWM') - base:.1f} MiB")


def search(folder: Path, count: int) -> None:
    """Ask everything; in a process of its own."""
    base = memory("VmRSS")
    began = time.perf_counter()
    with EmbeddedLineStore(folder, LogSettings(retention_size=2**40), Clock(END), MetricRegistry()) as store:
        say("open", f"{(time.perf_counter() - began) * 1000:.0f} ms")
        say("memory at rest", f"+{memory('VmRSS') - base:.1f} MiB")
        end = milliseconds(END) + 1
        trace_id = next(it.trace_id for it in islice(corpus(count), count // 3, None) if it.trace_id)

        def lines(limit: int = 200, start: int = 0, **more: Any) -> int:
            selection = LineSelection(start, end, **more)
            return sum(len(part.lines) for part in store.search(selection, limit))

        def having(text: str, *, is_regex: bool = False, ignore_case: bool = False) -> dict[str, Any]:
            return {"filters": (TextFilter((text,), is_regex=is_regex, ignore_case=ignore_case),)}

        def counts(back: int) -> int:
            selection = LineSelection(end - back, end)
            return sum(it.lines for part in store.count(selection, 60_000) for it in part)

        questions: dict[str, Callable[[], int]] = {
            "newest 200": lines,
            "newest 200, warnings and errors": lambda: lines(selects=lambda it: it.level in {"warn", "error"}),
            "errors of the last hour, 200": lambda: lines(start=end - HOUR, selects=lambda it: it.level == "error"),
            "one trace id, over all": lambda: lines(trace_id=trace_id),
            "rare word, over all": lambda: lines(**having("zanzibar")),
            "rare word in any case, over all": lambda: lines(**having("ZanziBar", ignore_case=True)),
            "absent word, over all": lambda: lines(**having("xylophone")),
            "part of a word, newest 200": lambda: lines(**having("intsug")),
            "Japanese phrase, newest 200": lambda: lines(**having("在庫が不足")),
            "frequent word, newest 200": lambda: lines(**having("completed")),
            "absent digits, last hour": lambda: lines(start=end - HOUR, **having("987654321098")),
            "expression, last hour": lambda: lines(start=end - HOUR, **having(r"in [4-9]\d{5}ms", is_regex=True)),
            "expression with a word, over all": lambda: lines(
                **having(r"the zanzibar \w+ as [0-9A-F]+", is_regex=True)
            ),
            "absent digits, over all": lambda: lines(**having("987654321098")),
            "expression without a word, over all": lambda: lines(**having(r"in [4-9]\d{5}ms", is_regex=True)),
            "counts a minute by stream, 24 hours": lambda: counts(DAY),
            "counts a minute by stream, 7 days": lambda: counts(7 * DAY),
        }
        say("", "lines", "wall", "CPU", "memory at most")
        worst = 0.0
        for name, question in questions.items():
            Path("/proc/self/clear_refs").write_text("5")
            walls, cpus, times = [], [], 1 if name.endswith("over all") and count > PEER_LINES else 5
            for _ in range(times):
                wall, cpu = time.perf_counter(), time.process_time()
                found = question()
                walls.append((time.perf_counter() - wall) * 1000)
                cpus.append((time.process_time() - cpu) * 1000)
            most = memory("VmHWM") - base
            worst = max(worst, most)
            say(name, f"{found:,}", f"{median(walls):.1f} ms", f"{median(cpus):.1f} ms", f"+{most:.1f} MiB")
        say("memory at the worst moment", f"+{worst:.1f} MiB")


def peers(raw: Path, folder: Path) -> None:
    """Ask grep and SQLite's FTS5 what they can answer of the same."""
    database = sqlite3.connect(folder / "fts.db", isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("create virtual table lines using fts5(at unindexed, level unindexed, text)")
    spent, stored = 0.0, 0
    with raw.open() as file:
        while batch := list(islice(file, 2000)):
            rows = [(it["timestamp"], it["level"], text) for text in batch for it in [json.loads(text)]]
            began = time.process_time()
            database.execute("begin")
            database.executemany("insert into lines values (?, ?, ?)", rows)
            database.execute("commit")
            spent += time.process_time() - began
            stored += len(rows)
    size = sum(path.stat().st_size for path in folder.glob("fts.db*"))
    say("FTS5: bytes a line, CPU a line", f"{size / stored:.0f}", f"{spent / stored * 1e6:.1f} µs")
    say("", "grep, lines", "grep, wall", "FTS5, lines", "FTS5, wall")
    everywhere = {**os.environ, "LC_ALL": "C"}
    for name, text in {
        "rare word": "zanzibar",
        "absent word": "xylophone",
        "part of a word": "intsug",
        "Japanese phrase": "在庫が不足",
        "absent digits": "987654321098",
    }.items():
        began = time.perf_counter()
        command = ["grep", "-F", text, str(raw)]
        lines = subprocess.run(command, stdout=subprocess.PIPE, env=everywhere, check=False).stdout.count(b"\n")
        grep = (time.perf_counter() - began) * 1000
        began = time.perf_counter()
        query = "select text from lines where lines match ? order by rowid desc limit 200"
        matches = len(database.execute(query, (f'"{text}"',)).fetchall())
        fts = (time.perf_counter() - began) * 1000
        say(name, f"{lines:,}", f"{grep:.1f} ms", f"{matches:,}", f"{fts:.1f} ms")
    database.close()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("lines", type=int, nargs="?", default=PEER_LINES)
    options.add_argument("--search", type=Path, help="only search a folder that was filled before")
    options.add_argument("--keep", type=Path, help="fill this folder, and leave it there")
    chosen = options.parse_args()
    if chosen.search:
        search(chosen.search, chosen.lines)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = chosen.keep or Path(place) / "logs"
        raw = Path(place) / "raw.ndjson"
        print(f"{chosen.lines:,} lines")
        ingest(chosen.lines, folder, raw)
        command = [sys.executable, __file__, str(chosen.lines), "--search", str(folder)]
        subprocess.run(command, check=True)
        peers(raw, Path(place))


if __name__ == "__main__":
    main()
