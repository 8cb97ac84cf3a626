"""Runs the demo: a shop, its customers, and toban."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from toban.core.clock import SystemClock
from toban.core.errors import SettingsError
from toban.core.paths import CONFIGURATION
from toban.demo import fly_log_server, fly_machines_server, message_inbox, storefront
from toban.demo.customers import CustomerTraffic, open_shop
from toban.demo.faults import FAULTS, FaultTarget
from toban.demo.fly_log_server import ORGANIZATION, TOKEN, FlyLogServer
from toban.demo.fly_machines_server import FlyMachinesServer, machines_of
from toban.demo.ground_truth import GroundTruth
from toban.demo.install import Say
from toban.demo.message_inbox import MessageInbox
from toban.demo.recovery import Recovery, RecoveryMode, toban_api, write_runbooks
from toban.demo.servers import DemoError, Server, free_port, require_extra, running
from toban.demo.shop_processes import ShopProcesses, ShopVariant, run_shop
from toban.demo.storefront import Storefront
from toban.web.settings import split

DEFAULT_ADDRESS: Final = ("127.0.0.1", 9119)
SEED: Final = 1
GROUND_TRUTH_FILE: Final = "ground_truth.json"
"""The file with the customers' orders and payment attempts, in the demo's folder."""

SUMMARY_INTERVAL: Final = 30.0
"""Seconds between two summaries of the traffic."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command."""

    listen: str = ""
    """HOST:PORT of toban's pages; by default 127.0.0.1:9119, or another port if that is in use."""

    folder: Path | None = None
    """The folder of toban.yaml and toban's data; by default a temporary one."""

    fault: str = ""
    """One of ``FAULTS``."""

    after: float = 60.0
    """Seconds until the fault."""

    duration: float = 420.0
    """Seconds until it is fixed."""

    recover: RecoveryMode | None = None
    """The mode of the runbooks that fix it instead, without which there are none."""

    visitors_per_minute: float = 40.0
    """Visitors per minute."""

    language: str = "en"
    """The language of messages."""


@dataclass(frozen=True, slots=True)
class StandIns:
    """What the shop has beside its processes: its storefront, and the services that toban uses."""

    page: Storefront
    inbox: MessageInbox
    stream: FlyLogServer
    fly: FlyMachinesServer


def run(options: DemoOptions, say: Say, progress: Say) -> None:
    """
    Run the demo until it is asked to stop. Raises ``DemoError``.

    ``progress`` gets each step of the start.
    """
    try:
        split(options.listen or "127.0.0.1:9119")
    except ValueError as error:
        raise SettingsError(f"--listen: {error}") from error
    require_extra()
    # During the start SIGTERM ends it as Ctrl-C does, and everything is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toban-demo-")))
        listen = (
            options.listen
            or f"{DEFAULT_ADDRESS[0]}:{DEFAULT_ADDRESS[1] if _is_free(*DEFAULT_ADDRESS) else free_port()}"
        )
        pages = f"http://{listen}"
        stand_ins = StandIns(
            stack.enter_context(storefront.open_storefront()),
            stack.enter_context(message_inbox.open_inbox()),
            stack.enter_context(fly_log_server.open_stream()),
            stack.enter_context(fly_machines_server.open_machines()),
        )
        variant = ShopVariant(jobs="bullmq", telemetry="enriched", logs=True)
        shop = stack.enter_context(run_shop(variant, pages, say=progress))
        progress("Starting toban ...")
        stack.enter_context(stand_ins.page.served(shop.shop_api))
        runbooks = dict.fromkeys(write_runbooks(folder), options.recover) if options.recover else {}
        config = demo_config(shop, stand_ins, options.language, runbooks)
        toban = stack.enter_context(_run_toban(folder, listen, config))
        progress("")
        say(opening_text(shop, pages, stand_ins.inbox, folder, options))
        try:
            asyncio.run(_run_traffic(shop, stand_ins, toban, folder, pages, options, say))
        except* DemoError as group:
            raise group.exceptions[0] from None
        say("Stopping the shop ...")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@contextmanager
def _run_toban(folder: Path, listen: str, config: str) -> Iterator[Server]:
    """Run `toban up` beside the shop."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / CONFIGURATION
    configuration.write_text(config, encoding="utf-8")
    given = ("--config", str(configuration), "--data", str(folder / "data"), "--listen", listen)
    command = [sys.executable, "-m", "toban", "up", *given]
    # Variables of another shop are not passed on.
    passed = ("PATH", "HOME", "LANG", "LOG_LEVEL", "LOG_FORMAT", "PYTHONPATH")
    kept = {name: os.environ[name] for name in passed if name in os.environ}
    server = Server(split(listen)[1], folder, command, name="toban", environment=kept, privileged=True)
    with running(server):
        yield server


def demo_config(shop: ShopProcesses, stand_ins: StandIns, language: str, runbooks: Mapping[str, RecoveryMode]) -> str:
    """Return the toban.yaml for a shop; ``runbooks`` has the modes of those in the folder `runbooks`."""
    return f"""\
# Written by `toban demo`: the shop that it runs.
shop:
  database: {shop.database_url}
  redis: {shop.redis_url}
  name: Demo shop
  shop_api: {shop.shop_api}
  storefront: {stand_ins.page.url}
  worker: {shop.worker_health}
  precision: {shop.variant.precision}
  check: {{search: tea, product: sencha}}
  fly_org: {ORGANIZATION}
  fly_token: {TOKEN}
  fly_admin_token: {TOKEN}
  fly_api: {stand_ins.fly.url}
  fly_apps: {json.dumps([it.app for it in machines_of(shop)])}
collect:
  - {{kind: fly, token: {TOKEN}, enabled: false}}  # only logs and machines are there
logs:
  fly: true
  fly_server: {stand_ins.stream.url}
  files: {json.dumps(shop.log_files())}
notify:
  language: {language}
channels: {json.dumps(stand_ins.inbox.channels())}
runbooks: {json.dumps({"files": ["runbooks/*.yaml"], "modes": runbooks} if runbooks else {})}
"""


def opening_text(shop: ShopProcesses, pages: str, inbox: MessageInbox, folder: Path, options: DemoOptions) -> str:
    """Return the text at the start."""
    lines = [
        "The shop is running, and toban is on duty.",
        "",
        f"toban     {pages}/",
        f"Messages  {inbox.page}/",
        f"Shop API  {shop.shop_api}",
        f"Status    toban status --data {folder / 'data'}",
        "",
        f"Some {options.visitors_per_minute:.0f} customers come each minute. Ctrl-C stops the demo.",
    ]
    if options.fault:
        end = {
            None: f"for {options.duration:.0f} seconds",
            "auto": "until toban's runbooks fix it",
            "ask": f"until you approve a runbook that fixes it, at {pages}/runbooks",
        }[options.recover]
        lines.append(f"In {options.after:.0f} seconds a fault is injected: {options.fault}, {end}.")
    return "\n".join([*lines, ""])


async def _run_traffic(
    shop: ShopProcesses,
    stand_ins: StandIns,
    toban: Server,
    folder: Path,
    pages: str,
    options: DemoOptions,
    say: Say,
) -> None:
    """Run traffic until asked to stop. Raises ``DemoError``, in a group, when a process ends by itself."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    ground_truth = GroundTruth()
    fault_clock = FaultClock()

    def say_with_time(line: str) -> None:
        say(f"{fault_clock.elapsed()}{line}")

    async with (
        stand_ins.inbox.served(say_with_time),
        stand_ins.stream.served(shop.console_logs),
        stand_ins.fly.served(shop, say_with_time),
        open_shop(shop.shop_api, ground_truth) as client,
        asyncio.TaskGroup() as group,
    ):
        traffic = CustomerTraffic(client, SEED, visitors_per_minute=options.visitors_per_minute)
        tasks = [
            group.create_task(traffic.run()),
            group.create_task(_watch_processes(shop, toban)),
            group.create_task(_report_traffic(ground_truth, say, folder / GROUND_TRUTH_FILE)),
        ]
        if options.fault:
            target = FaultTarget(shop, traffic, stand_ins.page)
            fault = _recover(target, fault_clock, options, folder, pages, say) if options.recover else None
            tasks.append(group.create_task(fault or _inject_fault(target, fault_clock, options, say)))
        await stop.wait()
        for task in tasks:
            task.cancel()


@dataclass
class FaultClock:
    """The time since the shop was broken or fixed, to show how long notifications took."""

    since: float | None = None
    state: str = ""

    def start(self, state: str) -> None:
        """Start a state: broken or fixed."""
        self.since, self.state = time.monotonic(), state

    def elapsed(self) -> str:
        """Return the time since the state began, as the start of a line; empty before the first state."""
        if self.since is None:
            return ""
        return f"{time.monotonic() - self.since:4.0f} s after it was {self.state}   "


async def _inject_fault(target: FaultTarget, fault_clock: FaultClock, options: DemoOptions, say: Say) -> None:
    await asyncio.sleep(options.after)
    fault_clock.start("broken")
    async with FAULTS[options.fault](target) as description:
        say(f"Broken: {description}")
        await asyncio.sleep(options.duration)
    fault_clock.start("fixed")
    say(f"Fixed: {options.fault}.")


async def _recover(
    target: FaultTarget, fault_clock: FaultClock, options: DemoOptions, folder: Path, pages: str, say: Say
) -> None:
    """Inject a fault, wait until runbooks have fixed it, and print each incident from break to report."""
    await asyncio.sleep(options.after)
    clock = SystemClock()
    fault_clock.start("broken")
    async with toban_api(folder / "data") as http, FAULTS[options.fault](target) as description:
        recovery = Recovery(http, clock, clock.now())
        say(f"Broken: {description}")
        for incident, report in await recovery.reports(lambda: target.shop.is_running):
            file = folder / f"incident-{incident['id']}.md"
            file.write_text(report, encoding="utf-8")
            say("\n".join(["", recovery.timeline(incident), f"{recovery.elapsed()}  Its report is {file}"]))
            say(f"Incident  {pages}/incidents/{incident['id']}\n")
    fault_clock.start("fixed")
    say(f"Recovered: {options.fault}.")


async def _report_traffic(ground_truth: GroundTruth, say: Say, file: Path) -> None:
    """Print a summary of the traffic at an interval, and write the ground truth to compare toban's metrics with."""
    try:
        while True:
            await asyncio.sleep(SUMMARY_INTERVAL)
            say(traffic_summary(ground_truth))
            _write_ground_truth(ground_truth, file)
    finally:
        _write_ground_truth(ground_truth, file)


def _write_ground_truth(ground_truth: GroundTruth, file: Path) -> None:
    file.write_bytes(orjson.dumps(ground_truth.body()))


def traffic_summary(ground_truth: GroundTruth) -> str:
    """Return the ground truth in a line."""
    failed = sum(ground_truth.failed_attempts.values())
    sums = {currency: 0 for _, currency in ground_truth.revenue}
    for (_, currency), net in ground_truth.revenue.items():
        sums[currency] += net
    amounts = ", ".join(f"{net / 100:.2f} {currency}" for currency, net in sorted(sums.items())) or "none"
    parts = [
        f"{len(ground_truth.orders)} orders ({amounts} net)",
        f"{failed} failed payment attempts",
        f"{sum(ground_truth.views.values())} product views",
    ]
    if failed_requests := sum(ground_truth.failed_requests.values()) + sum(ground_truth.errors.values()):
        parts.append(f"{failed_requests} failed requests")
    return "Generated traffic: " + ", ".join(parts) + "."


async def _watch_processes(shop: ShopProcesses, toban: Server) -> None:
    """End the demo when toban or the shop's server ends by itself: no fault ends them, and a restart takes a moment."""
    ended = set[str]()
    while True:
        await asyncio.sleep(0.5)
        before, ended = ended, {server.name for server in (toban, shop.server) if not server.is_running}
        for server in (toban, shop.server):
            if server.name in before & ended:
                output = server.log.read_text(errors="replace")[-2000:]
                raise DemoError(f"the {server.name} ended with {server.process.returncode}: {output}")
