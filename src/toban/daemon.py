"""Opens what is needed, builds the services, runs them together."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx2
import structlog
from sqlalchemy import Connection

import toban
from toban.alerting.elsewhere import Elsewhere
from toban.alerting.evaluating import Evaluating
from toban.alerting.groups import Group
from toban.alerting.ledger import Ledger
from toban.alerting.outside import Outside
from toban.alerting.templating.template import External
from toban.collect import defaults
from toban.collect.collecting import Collecting
from toban.collect.declines import Declining
from toban.collect.tools import Tools
from toban.core.clock import SystemClock
from toban.core.errors import SettingsError, StateError
from toban.core.isolation import conditions
from toban.core.memory import giving_back, spare
from toban.core.meters import Meters
from toban.core.places import OTHERS, SOCKET, made_private, names_of_this_machine
from toban.core.ports import Clock, Condition, LineSink, Service
from toban.core.running import Resources, StoppedError, asked_to_stop, together, unless
from toban.health.answering import Health
from toban.health.checks import checks
from toban.instruments.budgets import Budgets
from toban.intake import events
from toban.intake.events import Events
from toban.intake.taking import Taking
from toban.intake.written import Written
from toban.logs.fly import FlyLogs
from toban.logs.recent import Recent
from toban.notify.channel import Tools as NotifyTools
from toban.notify.deciding import House
from toban.notify.dispatching import Dispatching
from toban.notify.drilling import Drilling
from toban.notify.heartbeat import Beating
from toban.notify.muting import Inhibiting, Windows
from toban.notify.routing import Routing
from toban.notify.shipped import INHIBITIONS
from toban.promql.beyond import Beyond
from toban.promql.engine import Engine
from toban.promql.querying import Querying
from toban.remote.asking import Asking
from toban.remote.writing import Writing
from toban.settings import Settings, rules
from toban.shop.lending import lent
from toban.state import journal
from toban.state.databases import Database, Postgres, Sqlite
from toban.state.door import State
from toban.tsdb.store import CORRUPTIONS, Store
from toban.web import serving
from toban.web.alertmanager import Alertmanager
from toban.web.alerts import Alerts
from toban.web.application import application, metrics_alone
from toban.web.doors import Doors
from toban.web.lines import Lines
from toban.web.listener import raise_descriptors
from toban.web.own import About, Overview, Own
from toban.web.quarantine import Quarantined
from toban.web.rules import Rules
from toban.web.runtime import Runtime
from toban.web.uptimerobot import Uptimerobot

log = structlog.get_logger("toban.daemon")

AGENT: Final = f"toban/{toban.__version__}"
"""How toban's own requests are known in the shop's logs."""

FIRST_LOOK: Final = 5
"""How many seconds the greeting waits for targets that are slow to answer."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything that runs, and what is asked of it at the start."""

    services: Sequence[Service]
    first_look: Callable[[], Awaitable[None]]
    overview: Callable[[], Awaitable[Overview]]


@asynccontextmanager
async def assembled(settings: Settings, clock: Clock) -> AsyncIterator[Assembly]:
    """
    Open everything and build the services; close it in the opposite order.

    Raises ``SettingsError`` when the data folder or the address to listen on can't be used.
    """
    meters = Meters()
    async with Resources() as stack:
        stack.enter_context(occupied(settings.data))
        network = stack.enter_context(serving.network(settings.web.listen))
        local = stack.enter_context(serving.local(settings.data / SOCKET))
        state = await stack.enter_async_context(State(_database(settings), clock, meters))
        metrics, remote = settings.metrics, settings.metrics.remote
        backlog = remote.backlog if remote and remote.write_url else None
        store = stack.enter_context(Store(settings.data / "tsdb", metrics, clock, meters, backlog=backlog))
        engine = await stack.enter_async_context(Querying(Engine(store, lookback=metrics.lookback)))
        tools = replace(await lent_tools(stack, settings, clock, meters), state=state)

        groups = rules(settings)
        collecting = Collecting(defaults.collectors(settings.collect, settings.shop), store, tools)
        health = Health(*checks(settings.shop), engine, clock)
        services: list[Service] = [state, state.quarantine, store, collecting]
        about = About(clock.now(), str(settings.data), serving.address_of(network))
        recent = Recent(tools.pushed, Budgets(meters))
        declines = Declining(state, clock, meters, events.BOOK)
        taking = Taking(tools.pushed, settings.shop.services, recent, clock, meters, declines)
        services += [taking, *streams(settings, recent, clock, meters)]
        dispatching = _dispatching(settings, state, tools)
        services.append(dispatching)
        # Rules are judged in a thread of their own: a question that takes long delays no alert.
        judge = await stack.enter_async_context(Querying(Engine(store, lookback=metrics.lookback)))
        asking = Asking(remote, tools.http) if remote and remote.query_url else None
        elsewhere = Elsewhere(asking, metrics.lookback) if asking else None
        if remote and store.passing:
            services.append(Writing(remote, store.passing, tools.http, clock, meters))
        ledger = Ledger(state, settings.data, dispatching.ring, dispatching.urgent)
        evaluating = _evaluating(settings, groups, ledger, judge, elsewhere, store, tools, collecting, services)
        await evaluating.open()
        own = Own(about, ledger.alerts, dispatching.suppressed, collecting.targets, health, services, state.quarantine)
        outside = Outside(ledger, clock, meters)
        services += [evaluating, outside]
        if settings.notify.heartbeat:

            def missing() -> str:
                if not evaluating.judging:
                    return "rules are not judged in time"
                if not dispatching.leaving:
                    return "messages do not leave"
                return "" if state.health().ok else "state is away"

            services.append(Beating(settings.notify.heartbeat, missing, tools.http, clock, meters))
        drilling = _drilling(settings, dispatching, state, clock, meters)
        services.append(drilling)
        written = Written(store, metrics, clock, meters)
        doors = Doors(taking, Events(state, clock, meters, declines), written, settings.web.body_limit)
        alerts = Alerts(evaluating, dispatching, drilling, state, clock)
        speaking = Alertmanager(evaluating, outside, dispatching, alerts, state, clock)
        pushed = [*doors.routes(), *Lines(recent).routes()]
        pushed += [*Rules(evaluating).routes(), *alerts.routes(), *speaking.routes()]
        pushed += [*Uptimerobot(outside, clock).routes(), *Quarantined(state, clock).routes()]
        answering = Beyond(engine, asking, store.oldest) if asking else engine
        flags = settings.flags(engine.engine.limits)
        runtime = Runtime(about.started, flags, store, clock, lambda: meters.value(CORRUPTIONS))
        app = application(own, health, engine, answering, store, collecting, services, clock, runtime, pushed)
        alone = None
        if settings.web.metrics:
            opened = stack.enter_context(serving.network(settings.web.metrics, "web.metrics"))
            alone = metrics_alone(collecting, engine, store, clock), opened
        services.append(serving.Serving(app, settings.web, network, local, clock, meters, hosts(settings), alone))
        await stack.enter_async_context(noted(state, clock))
        yield Assembly(services, collecting.first_look, own.overview)


def hosts(settings: Settings) -> list[str]:
    """Return the names under which toban is reached, beside those that the configuration lists."""
    address = urlsplit(settings.notify.address or "").hostname
    return [*names_of_this_machine(os.environ), *([address] if address else [])]


def streams(settings: Settings, lines: LineSink, clock: Clock, meters: Meters) -> list[FlyLogs]:
    """Return what brings log lines that nobody pushes."""
    shop, here = settings.shop, os.environ.get("FLY_APP_NAME", "")
    if not (shop.fly_token and shop.fly_org) or not (bool(here) if settings.logs.fly is None else settings.logs.fly):
        return []
    token = shop.fly_token.get_secret_value()
    return [FlyLogs(settings.logs.fly_server, shop.fly_org, token, shop.fly_apps, here, lines, clock, meters)]


def _drilling(settings: Settings, dispatching: Dispatching, state: State, clock: Clock, meters: Meters) -> Drilling:
    notify = settings.notify
    quiet = [name for name, channel in settings.channels.items() if not channel.pages]
    channels = notify.drill.channels or tuple(quiet)
    return Drilling(notify.drill, channels, ZoneInfo(notify.timezone), dispatching.told, state, clock, meters)


def _dispatching(settings: Settings, state: State, tools: Tools) -> Dispatching:
    notify, channels = settings.notify, settings.channels
    house = House(
        notify,
        Routing(notify, {name: channel.pages for name, channel in channels.items()}),
        Inhibiting([*INHIBITIONS, *notify.inhibit]),
        Windows(notify),
    )
    lent_to_channels = NotifyTools(tools.http, tools.clock, notify.address or "", settings.shop.title)
    return Dispatching(house, channels, state, lent_to_channels, tools.clock, tools.meters)


def _evaluating(
    settings: Settings,
    groups: Sequence[Group],
    ledger: Ledger,
    judge: Querying,
    elsewhere: Elsewhere | None,
    store: Store,
    tools: Tools,
    collecting: Collecting,
    services: Sequence[Service],
) -> Evaluating:
    def others() -> list[tuple[str, Condition]]:
        return conditions(service for service in services if service.name != Evaluating.name)

    assert tools.state is not None  # noqa: S101  # the daemon has just opened it
    return Evaluating(
        groups,
        settings.alerting.every,
        ledger,
        judge,
        store,
        tools.state,
        tools.clock,
        tools.meters,
        conditions=others,
        outside=elsewhere,
        first_look=collecting.first_look,
        targets=[target.name for target in collecting.targets()],
        last_error=collecting.last_error,
        external=External(
            (settings.notify.address or f"http://{settings.web.listen}").rstrip("/"),
            settings.metrics.remote.labels if settings.metrics.remote else {},
        ),
    )


async def lent_tools(stack: AsyncExitStack, settings: Settings, clock: Clock, meters: Meters) -> Tools:
    """Open what collectors are lent, without state."""
    shop = await stack.enter_async_context(lent(settings.shop))
    http = await stack.enter_async_context(httpx2.AsyncClient(headers={"user-agent": AGENT}, timeout=10))
    return Tools(http, clock, meters, shop)


async def serve(settings: Settings, greet: Callable[[Overview], None]) -> None:
    """
    Run until SIGTERM or Ctrl-C, or until a service breaks.

    ``greet`` is called once every target was looked at, or after five seconds.
    """
    spare()
    raise_descriptors()
    os.umask(OTHERS)  # what toban writes is for its own user
    stop = asked_to_stop()
    async with AsyncExitStack() as stack:
        try:
            async with unless(stop):
                assembly = await stack.enter_async_context(assembled(settings, SystemClock()))
        except StoppedError:
            return
        jobs = [(service.name, service.run()) for service in assembly.services]
        jobs += [("greeting", _greeted(assembly, greet)), ("memory", giving_back(SystemClock()))]
        await together(jobs, stop)


async def _greeted(assembly: Assembly, greet: Callable[[Overview], None]) -> None:
    try:
        async with asyncio.timeout(FIRST_LOOK):
            await assembly.first_look()
    except TimeoutError:
        log.info("some targets are slow to answer")
    greet(await assembly.overview())


def _database(settings: Settings) -> Database:
    if settings.state:
        return Postgres(settings.state.get_secret_value())
    return Sqlite(settings.data / "toban.db")


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """
    Make the data folder and hold it for this process alone, as long as it lives.

    Raises ``SettingsError`` when it can't be written or another toban holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "toban.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(f"data: {folder}: {error.strerror}: choose another folder: --data") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        other = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise SettingsError(
            f"data: {folder}: another toban works there (process {other}): stop it, or choose another folder: --data"
        ) from error
    if exposed := made_private(folder):
        log.warning(
            "others on this machine can read what toban keeps",
            where=exposed[:5],
            remedy=f"chmod -R go= {folder}, or give toban a folder of its own: --data",
        )
    try:
        try:
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
        except OSError as error:
            # The lock holds without it: on a full disk nobody learns who holds it, and that is all.
            log.warning("the lock can't name its process", file=str(folder / "toban.lock"), error=error.strerror)
        yield
    finally:
        os.close(lock)


@asynccontextmanager
async def noted(state: State, clock: Clock) -> AsyncIterator[None]:
    """Note in the journal that toban started and stopped, and say so when the last run ended otherwise."""
    await _note(state, clock, "started")
    try:
        yield
    finally:
        await _note(state, clock, "stopped")


async def _note(state: State, clock: Clock, what: str) -> None:
    def work(connection: Connection) -> journal.Entry | None:
        last = journal.newest(connection, 1, who="toban")
        journal.note(connection, "toban", what, clock.now(), version=toban.__version__)
        return last[0] if last else None

    try:
        last = await state.transaction(work)
    except StateError:
        return  # told and remembered where it was met; toban works without
    if what == "started" and last and last.what == "started":
        log.warning("the last run ended without a stop", started=last.at.isoformat())
