"""
The notifications of each fault of `toban demo`: `python bench/breaks.py [FAULT ...] [--calm MINUTES]`.

Each fault has a demo of its own: two minutes of traffic, the fault, its fix, and ten minutes more. A row has the time
of the first message, with its severity and channel, the time of the first page, the number of incidents and messages
during the fault, the messages after the fix that resolve nothing, and the time of the last resolution. Then each exact
counter is compared, at each of its samples, with the ground truth of the generated traffic and with what the shop
stored without a customer's knowledge.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import yaml

from toban.demo.faults import FAULTS
from toban.demo.servers import free_port

BEFORE, BROKEN, AFTER = 120, 420, 600
LATE = 3.0
"""How far apart the clocks of the shop's database and of toban's samples may be, in seconds, commits included."""

EXACT = '{__name__=~"vendure_(orders|payments|revenue|order_total|jobs|campaign).+(total|sum|count|bucket)"}'

LINE = re.compile(r"^ *(\d+) s after it was (broken|fixed) +(Slack|PagerDuty|Mail): (.*)$")


def ask(address: str, query: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=60) as it:
        return json.load(it)["data"]["result"]


def counted(address: str, name: str, rises: list[tuple[float, float, float]], until: float) -> list[str]:
    """Compare the samples of a counter with its rises: the earliest time of each, the latest, and the amount."""
    series = [[(float(at), float(value)) for at, value in one["values"]] for one in ask(address, f"{name}[2h]")]
    instants = sorted({at for one in series for at, _ in one if at < until})
    falls = sum(later < earlier for one in series for (_, earlier), (_, later) in pairwise(one))
    wrong = []
    for at in instants:
        total = sum(next((value for when, value in reversed(one) if when <= at), 0.0) for one in series)
        # What happened within the step before may be counted with the next one.
        high = sum(amount for earliest, _, amount in rises if earliest <= at + LATE)
        low = sum(amount for _, latest, amount in rises if latest <= at - 60 - LATE)
        if not low - 1e-6 <= total <= high + 1e-6:
            wrong.append(f"    {datetime.fromtimestamp(at):%H:%M:%S}: {total:g}, not {low:g} to {high:g}")
    return [f"{name}: {len(instants)} samples, {falls} falls, {len(wrong)} beside the books", *wrong[:5]]


def events(folder: Path, truth: dict[str, Any]) -> tuple[list[dict[str, Any]], list[float], int]:
    """
    Return all placed orders, when payments failed, and how many of both no customer heard of.

    What was placed, and for how much, is what customers heard, and where the break swallowed the response what the shop
    wrote. An order has the time at which the shop began to place it (``at``). A server that hung commits it when it
    goes on, and its customer hears of it then, if at all (``committed``, at the latest).
    """
    settings = yaml.safe_load((folder / "toban.yaml").read_text())
    with psycopg.connect(settings["shop"]["database"]) as connection:
        rows = connection.execute(
            """SELECT o.code, o."orderPlacedAt" AT TIME ZONE 'UTC', o."currencyCode", o."subTotal" + o.shipping,
                   (SELECT channel.code FROM order_channels_channel link JOIN channel ON channel.id = link."channelId"
                    WHERE link."orderId" = o.id ORDER BY channel.code = '__default_channel__' LIMIT 1)
               FROM "order" o WHERE o."orderPlacedAt" IS NOT NULL AND o.type <> 'Seller'"""
        ).fetchall()
        failures = connection.execute(
            """SELECT "createdAt" AT TIME ZONE 'UTC' FROM payment WHERE state IN ('Declined', 'Error')"""
        ).fetchall()
    heard = {one["code"]: one for one in truth["orders"]}
    placed = [
        {
            "currency": currency,
            "net": net,
            "channel": channel.strip("_").removesuffix("_channel"),
            **heard.get(code, {}),
            "at": at.timestamp(),
            "committed": heard_at(heard[code]) if code in heard else at.timestamp() + BROKEN,
        }
        for code, at, currency, net, channel in rows
    ]
    known = {code for code, *_ in rows}
    placed += [
        {**one, "at": heard_at(one), "committed": heard_at(one)} for one in truth["orders"] if one["code"] not in known
    ]
    failed = [at.timestamp() for (at,) in failures]
    heard_failures = sum(one["state"] in {"Declined", "Error"} for one in truth["attempts"])
    return placed, failed, len(placed) - len(heard) + len(failed) - heard_failures


def heard_at(order: dict[str, Any]) -> float:
    return datetime.fromisoformat(order["at"]).timestamp()


def books(folder: Path, address: str) -> list[str]:
    file = folder / "ground_truth.json"
    truth, until = json.loads(file.read_bytes()), file.stat().st_mtime - LATE
    placed, failed, unheard = events(folder, truth)
    lines = [
        f"{len(placed)} orders placed, {len(failed)} payments failed; no customer heard of {unheard} of them",
        *counted(
            address, "vendure_orders_created_total", [(one["at"], one["committed"], 1.0) for one in placed], until
        ),
        *counted(address, "vendure_payments_failed_total", [(at, at, 1.0) for at in failed], until),
    ]
    for channel, currency in sorted({(one["channel"], one["currency"]) for one in placed}):
        net = [
            (one["at"], one["committed"], one["net"] / 100)
            for one in placed
            if (one["channel"], one["currency"]) == (channel, currency)
        ]
        name = f'vendure_revenue_total{{channel="{channel}",currency="{currency}"}}'
        lines += counted(address, name, net, until)
    lines.append(f"exact counters that fell: {len(ask(address, f'resets({EXACT}[2h]) > 0'))}")
    return lines


def fired(address: str) -> list[str]:
    """Return from when to when each alert fired, by the clock."""

    def clock(at: float) -> str:
        return f"{datetime.fromtimestamp(at):%H:%M:%S}"

    found = ask(address, 'ALERTS{alertstate="firing"}[2h]')
    return sorted(f"{clock(it['values'][0][0])} to {clock(it['values'][-1][0])} {it['metric']}" for it in found)


def row(part: str, printed: list[str]) -> str:
    events = [(int(m[1]), m[2], m[3], m[4]) for line in printed if (m := LINE.match(line))]
    broken = [it for it in events if it[1] == "broken"]
    fixed = [it for it in events if it[1] == "fixed"]
    first = broken[0] if broken else None
    paged = next((it for it in broken if it[2] == "PagerDuty" and it[3].startswith("triggered")), None)
    incidents = sum(it[2] == "PagerDuty" and it[3].startswith("triggered") for it in events)
    ends = ("resolved", "Resolved", "RESOLVED", "復旧")
    superfluous = [it for it in fixed if not any(word in it[3] for word in ends)]
    last = fixed[-1][0] if fixed else None
    cells = [
        part,
        f"{first[0]} s: {first[3]} ({first[2]})" if first else "none",
        f"{paged[0]} s" if paged else "no",
        str(incidents),
        str(len(broken)),
        f"{len(superfluous)}" + (f" ({superfluous[0][3]})" if superfluous else ""),
        f"{last} s" if last is not None else "none",
    ]
    return "| " + " | ".join(cells) + " |"


def day(part: str, calm: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        given = ["--break", part, "--after", str(BEFORE), "--for", str(BROKEN)] if part else []
        command = [
            sys.executable,
            "-u",
            "-m",
            "toban",
            "demo",
            "--folder",
            name,
            "--listen",
            f"127.0.0.1:{port}",
            *given,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        printed: list[str] = []
        ends = None
        for line in process.stdout or ():
            printed.append(line.rstrip("\n"))
            if ends is None and "on duty" in line:
                ends = time.monotonic() + (BEFORE + BROKEN + AFTER if part else calm * 60)
            if ends and time.monotonic() > ends:
                break
        if not ends or time.monotonic() < ends:
            raise SystemExit("\n".join([f"{part}: the demo ended by itself", *printed]))
        found = [*books(folder, f"http://127.0.0.1:{port}"), *fired(f"http://127.0.0.1:{port}")]
        process.send_signal(signal.SIGINT)
        process.wait(60)
    print(row(part or "none", printed), flush=True)
    for line in [
        *found,
        *(it for it in printed if LINE.match(it) or it.startswith(("Slack", "Mail", "PagerDuty"))),
    ]:
        print(f"    {line}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("parts", nargs="*", help=f"what breaks: {', '.join(FAULTS)}; all unless named")
    arguments.add_argument("--calm", type=float, default=0.0, help="minutes without a break, instead")
    options = arguments.parse_args()
    print("| break | first message | paged | incidents | messages | after the mend | last resolved |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for part in [""] if options.calm else options.parts or list(FAULTS):
        day(part, options.calm)


if __name__ == "__main__":
    main()
