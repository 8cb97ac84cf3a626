"""`toban demo` starts, injects and fixes faults, and leaves nothing running."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx2
import psutil
import psycopg
import pytest

from tests import servers
from tests.program import PATIENCE, TOBAN, eventually, run
from tests.vendure_shop import SLOW, ShopProcesses, ShopVariant, run_vendure
from toban.cli.commands.demo import Progress
from toban.core.alerts import Alert, AlertStatus
from toban.core.clock import SystemClock
from toban.core.errors import ActionError
from toban.core.labels import Labels
from toban.core.query_result import QueryResult
from toban.demo import fly_log_server, fly_machines_server, message_inbox, storefront
from toban.demo.customers import ADD, CustomerTraffic, RequestFailedError, Visitor, open_shop, run_visits
from toban.demo.faults import FAULTS, FaultTarget
from toban.demo.fly_log_server import TOKEN
from toban.demo.fly_machines_server import machine_id
from toban.demo.ground_truth import GroundTruth
from toban.demo.recovery import RECOVERABLE
from toban.demo.run import StandIns, demo_config, traffic_summary
from toban.demo.storefront import Storefront
from toban.demo.traffic_model import NOBODY_CAN_PAY, plan_visits
from toban.runbooks.action import ActionContext, ActionTools, Plan
from toban.runbooks.actions.fly_restart import FlyRestart
from toban.runbooks.actions.fly_start import FlyStart
from toban.runbooks.runbook import Mode
from toban.settings import build_settings
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

pytestmark = SLOW

SEARCH = 'query Look { search(input: {term: "tea"}) { totalItems } }'


@pytest.fixture(scope="module")
def shop() -> Iterator[ShopProcesses]:
    """A shop as the demo runs it, but that nobody takes its telemetry: toban that is away costs the shop nothing."""
    with run_vendure(ShopVariant(jobs="bullmq", telemetry="enriched")) as it:
        yield it


@contextmanager
def demo(place: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `toban demo` while the block lasts."""
    run_vendure()  # what it needs is missing: skip, by name
    with servers.folder() as temporary, (place / "said").open("w") as out:
        process = subprocess.Popen(
            [*TOBAN, "demo", "--folder", str(place), "--listen", f"127.0.0.1:{servers.free_port()}", *arguments],
            stdout=out,
            stderr=out,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def commands(processes: list[psutil.Process]) -> str:
    """Return the command lines of processes that are still there."""
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            lines += process.cmdline()
    return " ".join(lines)


def output(place: Path) -> str:
    return (place / "said").read_text()


def test_the_demo_starts_and_ctrl_c_leaves_nothing_running(tmp_path):
    """
    Shop, servers and toban are its children; after Ctrl-C all are gone, and it ends well. toban has seen the shop.
    """
    with demo(tmp_path, "--visitors", "60", "--break", "payments", "--after", "2", "--for", "4") as process:
        eventually(lambda: "toban is on duty" in output(tmp_path))
        children = psutil.Process(process.pid).children(recursive=True)
        for part in ("postgres", "valkey", "server.js", "worker.js", "toban up"):
            assert part in commands(children), part
        eventually(lambda: "Broken: The payment provider is down" in output(tmp_path))
        eventually(lambda: "Fixed: payments." in output(tmp_path))
        asked = [*TOBAN, "query", 'up{job="vendure"}', "--data", str(tmp_path / "data")]
        eventually(lambda: "  1\n" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout)
        sources = 'count(count by (source) (toban_log_lines_total{source=~"files|fly|otlp"}))'
        asked = [*TOBAN, "query", sources, "--data", str(tmp_path / "data")]
        eventually(lambda: "  3\n" in subprocess.run(asked, capture_output=True, text=True, check=False).stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert psutil.wait_procs(children, timeout=1)[1] == []
        assert "Stopping the shop ..." in output(tmp_path)
        assert "Traceback" not in output(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent is gone")
def test_a_demo_that_is_killed_leaves_nothing_running_either(tmp_path):
    """
    Without a word, while it is opening.
    """
    with demo(tmp_path) as process:

        def children() -> list[psutil.Process]:
            return psutil.Process(process.pid).children(recursive=True)

        started = eventually(children, lambda found: "server.js" in commands(found))
        process.kill()
        process.wait()
        assert psutil.wait_procs(started, timeout=10)[1] == []


def test_without_node_the_demo_names_what_to_install(tmp_path):
    """
    In one line, with the exit code for something that is wrong; and an address that is none is refused before.
    """
    nothing = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    for arguments, code, words in (
        ([], 1, "the shop needs Node.js 20 or newer, with npm"),
        (["--listen", "here"], 2, "--listen: 'here' is not HOST:PORT"),
    ):
        done = run([*TOBAN, "demo", *arguments], nothing, tmp_path)
        assert done.returncode == code
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def page(shop: ShopProcesses) -> Iterator[Storefront]:
    with storefront.open_storefront() as opened_page, opened_page.served(shop.shop_api):
        yield opened_page


async def takes(visitor: Visitor) -> float:
    """Search as a customer would; return how many seconds it took. Raises ``Unanswered``."""
    began = time.monotonic()
    await visitor.request(SEARCH)
    return time.monotonic() - began


async def test_each_fault_is_injected_and_fixed(shop, page):
    """
    One after the other, on one shop; and each says what it is.
    """
    async with open_shop(shop.shop_api) as shop_client:
        traffic = CustomerTraffic(shop_client, 1, visitors_per_minute=1)
        scene = FaultTarget(shop, traffic, page)
        visitor = Visitor(shop_client)
        async with FAULTS["database"](scene) as words:
            assert "PostgreSQL was killed" in words
            with pytest.raises(RequestFailedError):
                await visitor.request(SEARCH)
        assert await visitor.request(SEARCH)
        assert shop_client.ground_truth.statuses == {200: 2}
        async with FAULTS["redis"](scene):
            assert shop.valkey
            assert shop.valkey.process.poll() is not None
        assert shop.valkey.process.poll() is None
        async with FAULTS["worker"](scene):
            assert shop.worker.process.poll() is not None
        assert shop.worker.process.poll() is None
        async with FAULTS["payments"](scene):
            assert traffic.habits == NOBODY_CAN_PAY
        assert traffic.habits != NOBODY_CAN_PAY
        began = time.monotonic()
        async with FAULTS["slow"](scene):
            while await takes(visitor) < 0.5:
                assert time.monotonic() - began < PATIENCE
        # PostgreSQL lists a session for a blink after its client has gone.
        eventually(lambda: not shop.query("SELECT FROM pg_stat_activity WHERE application_name = 'migration'"))


async def test_hanging_and_blocked_servers_respond_again_after_the_fault(shop, page):
    """
    A stopped process, a lock on a table, an event loop that has no time: customers wait, and then they don't.
    """
    async with open_shop(shop.shop_api) as shop_client:
        scene = FaultTarget(shop, CustomerTraffic(shop_client, 1, visitors_per_minute=1), page)
        visitor = Visitor(shop_client)
        add = partial(visitor.request, ADD, variant=shop_client.catalogue["sencha"].variants[0], quantity=1)
        for part, request in (("hang", partial(visitor.request, SEARCH)), ("locks", add)):
            async with FAULTS[part](scene):
                asked = asyncio.create_task(request())
                assert not (await asyncio.wait([asked], timeout=0.5))[0], part
            await asyncio.wait_for(asked, PATIENCE)
        began = time.monotonic()
        async with FAULTS["loop"](scene):
            while await takes(visitor) < 0.3:
                assert time.monotonic() - began < PATIENCE


async def test_faults_without_errors_are_visible(shop, page):
    """
    A page without its goods, a checkout that refuses, a server without a connection to spare; then all is as before.
    """

    async def size() -> int:
        async with httpx2.AsyncClient() as http:
            return len((await http.get(page.url)).content)

    async with open_shop(shop.shop_api) as shop_client:
        scene = FaultTarget(shop, CustomerTraffic(shop_client, 1, visitors_per_minute=1), page)
        before = await size()
        async with FAULTS["storefront"](scene):
            assert await size() < before / 10
        assert await size() == before

        async with FAULTS["checkout"](scene):
            await run_visits(shop_client, plan_visits(3, 1))
        assert shop_client.ground_truth.error_results["Ship", "INELIGIBLE_SHIPPING_METHOD_ERROR"]
        assert not shop_client.ground_truth.orders
        await run_visits(shop_client, plan_visits(4, 1))
        assert shop_client.ground_truth.orders

        async with FAULTS["connections"](scene) as words:
            assert "accepts no more" in words
            with pytest.raises(psycopg.OperationalError, match="connection slots are reserved"):
                psycopg.connect(shop.postgres.address(shop.database, "vendure"))
        eventually(lambda: not shop.query("SELECT FROM pg_stat_activity WHERE application_name = 'report'"))


def test_the_configuration_of_the_demo_is_valid(shop, page):
    """
    Every key of it is known.
    """
    import yaml

    with (
        message_inbox.open_inbox() as letters,
        fly_log_server.open_stream() as stream,
        fly_machines_server.open_machines() as fly,
    ):
        text = demo_config(shop, StandIns(page, letters, stream, fly), "ja", {"start_worker": "auto"})
        settled = build_settings(yaml.safe_load(text), {}, "the demo's")
    assert str(settled.shop.shop_api) == shop.shop_api
    assert settled.runbooks.modes == {"start_worker": Mode.AUTO}


async def test_runbooks_start_and_restart_the_processes_of_the_shop_as_machines(shop, page, tmp_path):
    """
    By the stand-in of Fly's Machines API; who has no token, or not the lease, is refused.
    """
    lines: list[str] = []
    shop_settings = {"fly_admin_token": TOKEN, "fly_apps": ["vendure-worker", "redis"]}
    began = datetime.now(UTC)
    alert = Alert(Labels(alertname="worker_down"), {}, AlertStatus.FIRING, began, began)
    context = ActionContext(alert, 1, "run-1.0", began)
    with fly_machines_server.open_machines() as fly:
        async with (
            fly.served(shop, lines.append),
            open_shop(shop.shop_api) as shop_client,
            httpx2.AsyncClient(base_url=fly.url) as http,
        ):
            settings = ShopSettings.model_validate({**shop_settings, "fly_api": fly.url})
            tools = ActionTools(
                http, BriefClock(), ShopConnections(settings=settings), NoResults(), lambda _: True, *[nothing] * 2
            )
            scene = FaultTarget(shop, CustomerTraffic(shop_client, 1, visitors_per_minute=1), page)
            for fault, server, app in (("worker", shop.worker, "vendure-worker"), ("redis", shop.valkey, "redis")):
                action = FlyStart(machine=machine_id(app))
                async with FAULTS[fault](scene):
                    assert await action.run(await planned(action, context, tools), context, tools)
                    assert server.is_running
                    assert lines[-1] == f"Fly: {app}-1 was started"
                    started = server.process.pid
                assert server.process.pid == started, "the fault was fixed before it ended"
            restart = FlyRestart(groups=("worker",))
            plan = await restart.plan(context, tools)
            assert not plan.needed, "it has started since the run began"
            later = replace(context, started=datetime.now(UTC))
            before = shop.worker.process.pid
            assert await restart.run(await restart.plan(later, tools), later, tools)
            assert shop.worker.process.pid != before
            lease = "/v1/apps/redis/machines/redis-1/lease"
            assert (await http.post(lease, json={"ttl": 60})).status_code == 401
            own = {"authorization": TOKEN}
            assert (await http.post(lease, json={"ttl": 60}, headers=own)).status_code == 201
            assert (await http.post("/v1/apps/redis/machines/redis-1/restart", headers=own)).status_code == 409


async def planned(action: FlyStart, context: ActionContext, tools: ActionTools) -> Plan:
    """Return the plan, as soon as it is noticed that the process has ended."""
    while True:
        with contextlib.suppress(ActionError):
            return await action.plan(context, tools)
        await asyncio.sleep(0.05)


class BriefClock(SystemClock):
    """Real time, in which nobody waits for long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.1))


class NoResults:
    """Answers every query with nothing: the shop can't sell."""

    async def instant(self, query: str, at: int, *, time_limit: timedelta | None = None) -> QueryResult:
        return QueryResult("vector", [])


async def nothing(*_: object) -> str:
    return ""


@pytest.mark.soak
@pytest.mark.parametrize("fault", RECOVERABLE)
def test_a_fault_is_recovered_from_break_to_report_without_a_hand(tmp_path, fault):
    """
    Toban's own runbooks start what was killed; the incident ends by itself, and its report says what helped.
    """
    with demo(tmp_path, "--break", fault, "--recover", "auto", "--after", "60") as process:
        eventually(lambda: f"Recovered: {fault}." in output(tmp_path), patience=1_200)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    reports = [it.read_text() for it in tmp_path.glob("incident-*.md")]
    assert any("machine" in it and "started" in it for it in reports)


def test_progress_without_terminal_is_a_line_for_each_step(capsys):
    """
    A log is not filled with the same words a hundred times.
    """
    progress = Progress()
    for text in ("Installing: 1 of 2", "Installing: 2 of 2", "Opening", ""):
        progress(text)
    assert capsys.readouterr().out == "Installing: 1 of 2\nOpening\n"


def test_the_summary_of_the_ground_truth():
    """
    Also when nothing has happened yet.
    """
    assert traffic_summary(GroundTruth()) == (
        "Generated traffic: 0 orders (none net), 0 failed payment attempts, 0 product views."
    )
