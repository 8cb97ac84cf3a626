"""The whole demo: a shop, its customers, and toban on duty."""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from toban.core.errors import SettingsError
from toban.core.paths import CONFIGURATION
from toban.demo import message_inbox, storefront
from toban.demo.customers import CustomerTraffic, open_shop
from toban.demo.faults import FAULTS, FaultTarget
from toban.demo.ground_truth import GroundTruth
from toban.demo.install import Say
from toban.demo.message_inbox import MessageInbox
from toban.demo.servers import DemoError, Server, free_port, running
from toban.demo.shop_processes import ShopProcesses, ShopVariant, run_shop
from toban.demo.storefront import Storefront
from toban.web.settings import split

USUAL: Final = ("127.0.0.1", 9119)
SEED: Final = 1
BOOKS: Final = "books.json"
"""Where the customers' orders and attempts to pay are written down, in the demo's folder."""

EVERY: Final = 30.0
"""Seconds between two looks into the customers' books."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What whoever started the demo asked for."""

    listen: str = ""
    """HOST:PORT of toban's pages; the usual one unless set, or any other when that is taken."""

    folder: Path | None = None
    """Where toban.yaml and toban's data are; a temporary folder unless set."""

    breaks: str = ""
    """One of ``FAULTS``."""

    after: float = 60.0
    """Seconds until that breaks."""

    lasts: float = 420.0
    """Seconds that it stays broken."""

    each_minute: float = 40.0
    """Visitors."""

    language: str = "en"
    """The language of messages."""


def run(wishes: DemoOptions, say: Say, progress: Say) -> None:
    """
    Open the shop, and keep it open until we are asked to stop. Raises ``DemoError``.

    ``progress`` hears what is being done while nothing else happens, often.
    """
    try:
        split(wishes.listen or "127.0.0.1:9119")
    except ValueError as error:
        raise SettingsError(f"--listen: {error}") from error
    # A SIGTERM while things are being started ends it like Ctrl-C does: everything is put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = wishes.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="toban-demo-")))
        listen = wishes.listen or f"{USUAL[0]}:{USUAL[1] if _is_free(*USUAL) else free_port()}"
        pages = f"http://{listen}"
        letters = stack.enter_context(message_inbox.open_inbox())
        mode = ShopVariant(jobs="bullmq", telemetry="enriched")
        shop = stack.enter_context(run_shop(mode, pages, say=progress))
        progress("Putting toban on duty ...")
        page = stack.enter_context(storefront.open_storefront())
        stack.enter_context(page.served(shop.shop_api))
        toban = stack.enter_context(_on_duty(folder, listen, demo_config(shop, page, letters, wishes.language)))
        progress("")
        say(opening_text(shop, pages, letters, folder, wishes))
        try:
            asyncio.run(_open_hours(shop, page, toban, letters, folder, wishes, say))
        except* DemoError as group:
            raise group.exceptions[0] from None
        say("Closing the shop ...")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@contextmanager
def _on_duty(folder: Path, listen: str, says: str) -> Iterator[Server]:
    """Run `toban up` beside the shop."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / CONFIGURATION
    configuration.write_text(says, encoding="utf-8")
    given = ("--config", str(configuration), "--data", str(folder / "data"), "--listen", listen)
    command = [sys.executable, "-m", "toban", "up", *given]
    # What the environment says of another shop is not for this one.
    passed = ("PATH", "HOME", "LANG", "LOG_LEVEL", "LOG_FORMAT", "PYTHONPATH")
    kept = {name: os.environ[name] for name in passed if name in os.environ}
    server = Server(split(listen)[1], folder, command, name="toban", environment=kept, privileged=True)
    with running(server):
        yield server


def demo_config(shop: ShopProcesses, page: Storefront, letters: MessageInbox, language: str) -> str:
    """Return the toban.yaml for a shop."""
    return f"""\
# Written by `toban demo`: the shop that it runs.
shop:
  database: {shop.database_url}
  redis: {shop.redis_url}
  name: Demo shop
  shop_api: {shop.shop_api}
  storefront: {page.url}
  worker: {shop.worker_health}
  precision: {shop.mode.precision}
  check: {{search: tea, product: sencha}}
notify:
  language: {language}
channels: {json.dumps(letters.channels())}
"""


def opening_text(shop: ShopProcesses, pages: str, letters: MessageInbox, folder: Path, wishes: DemoOptions) -> str:
    """Return what is said when the shop opens."""
    lines = [
        "The shop is open, and toban is on duty.",
        "",
        f"toban     {pages}/",
        f"Messages  {letters.page}/",
        f"Shop API  {shop.shop_api}",
        f"Ask       toban status --data {folder / 'data'}",
        "",
        f"Some {wishes.each_minute:.0f} customers come each minute. Ctrl-C closes the shop.",
    ]
    if wishes.breaks:
        lines.append(
            f"In {wishes.after:.0f} seconds something breaks: {wishes.breaks}, for {wishes.lasts:.0f} seconds."
        )
    return "\n".join([*lines, ""])


async def _open_hours(
    shop: ShopProcesses,
    page: Storefront,
    toban: Server,
    letters: MessageInbox,
    folder: Path,
    wishes: DemoOptions,
    say: Say,
) -> None:
    """Let customers in until somebody says stop. Raises ``DemoError``, in a group, when a part ends by itself."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    ledger = GroundTruth()
    broken = FaultClock()

    def heard(line: str) -> None:
        say(f"{broken.ago()}{line}")

    async with (
        letters.served(heard),
        open_shop(shop.shop_api, ledger) as door,
        asyncio.TaskGroup() as group,
    ):
        traffic = CustomerTraffic(door, SEED, each_minute=wishes.each_minute)
        tasks = [
            group.create_task(traffic.run()),
            group.create_task(_watch(shop, toban)),
            group.create_task(_tell(ledger, say, folder / BOOKS)),
        ]
        if wishes.breaks:
            scene = FaultTarget(shop, traffic, page)
            tasks.append(group.create_task(_break(scene, broken, wishes, say)))
        await stop.wait()
        for task in tasks:
            task.cancel()


@dataclass
class FaultClock:
    """Since when something is broken or mended, to tell how long the news of it took."""

    since: float | None = None
    state: str = ""

    def now(self, state: str) -> None:
        """It is so from now on."""
        self.since, self.state = time.monotonic(), state

    def ago(self) -> str:
        """Return how long it has been so, as the beginning of a line; nothing, before the first time."""
        if self.since is None:
            return ""
        return f"{time.monotonic() - self.since:4.0f} s after it was {self.state}   "


async def _break(scene: FaultTarget, broken: FaultClock, wishes: DemoOptions, say: Say) -> None:
    await asyncio.sleep(wishes.after)
    broken.now("broken")
    async with FAULTS[wishes.breaks](scene) as what:
        say(f"Broken: {what}")
        await asyncio.sleep(wishes.lasts)
    broken.now("mended")
    say(f"Mended: {wishes.breaks}.")


async def _tell(ledger: GroundTruth, say: Say, file: Path) -> None:
    """Say now and then what stands in the customers' books, and write them down, to hold toban's metrics against."""
    try:
        while True:
            await asyncio.sleep(EVERY)
            say(traffic_summary(ledger))
            _write(ledger, file)
    finally:
        _write(ledger, file)


def _write(ledger: GroundTruth, file: Path) -> None:
    file.write_bytes(orjson.dumps(ledger.body()))


def traffic_summary(ledger: GroundTruth) -> str:
    """Return the customers' books in a line."""
    failed = sum(ledger.failed_attempts.values())
    sums = {currency: 0 for _, currency in ledger.revenue}
    for (_, currency), net in ledger.revenue.items():
        sums[currency] += net
    amounts = ", ".join(f"{net / 100:.2f} {currency}" for currency, net in sorted(sums.items())) or "nothing yet"
    parts = [
        f"{len(ledger.orders)} orders ({amounts} net)",
        f"{failed} attempts to pay failed",
        f"{sum(ledger.views.values())} products viewed",
    ]
    if unanswered := sum(ledger.unanswered.values()) + sum(ledger.errors.values()):
        parts.append(f"{unanswered} requests in vain")
    return "The customers' books: " + ", ".join(parts) + "."


async def _watch(shop: ShopProcesses, toban: Server) -> None:
    """End the demo when toban or the shop's server ends by itself: neither is ever broken on purpose."""
    while True:
        await asyncio.sleep(0.5)
        for server in (toban, shop.server):
            if server.process.poll() is not None:
                said = server.log.read_text(errors="replace")[-2000:]
                raise DemoError(f"the {server.name} ended with {server.process.returncode}: {said}")
