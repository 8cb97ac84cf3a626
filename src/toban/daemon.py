"""Opens what is needed, builds the services, runs them together."""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

import toban
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import ExternalAlerts
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.tools import CollectorTools
from toban.core.actor import SIGNAL, TOBAN
from toban.core.clock import SystemClock
from toban.core.errors import SettingsError, StateError
from toban.core.lifecycle import ResourceStack, StoppedError, abort_on, run_services, stop_event
from toban.core.malloc_trim import limit_arenas, trim_periodically
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import OTHERS, SOCKET, make_private
from toban.core.ports import Clock, Service
from toban.generation import LongLived, allowed_hosts, channel_tools, notify_policy, open_http_client
from toban.ingest import business_events
from toban.instruments.cardinality import CardinalityLimits
from toban.logs.recent_lines import RecentLines
from toban.notify.service import NotificationService
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.reload import ReloadService
from toban.remote.query_client import RemoteQueryClient
from toban.remote.remote_write import RemoteWriteService
from toban.settings import Settings
from toban.shop.connections import ShopConnections
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.backends import PostgresBackend, SqliteBackend, StateBackend
from toban.state.database import State
from toban.tsdb.store import Store
from toban.web import http_server
from toban.web.listener import raise_descriptors
from toban.web.status_api import Overview, ProcessInfo

log = structlog.get_logger("toban.daemon")

SWITCHING: Final = 0.001
"""Seconds after which a thread that only computes lets the others have a turn: the loop has the most to do in short."""

FIRST_LOOK: Final = 5
"""How many seconds the greeting waits for targets that are slow to answer."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything that runs, and what is asked of it at the start."""

    services: Sequence[Service]
    first_look: Callable[[], Awaitable[None]]
    overview: Callable[[], Awaitable[Overview]]
    reload: Callable[[], None]


@asynccontextmanager
async def open_daemon(
    settings: Settings, clock: Clock, read: Callable[[], Settings] | None = None
) -> AsyncIterator[Daemon]:
    """
    Open everything and build the services; close it in the opposite order.

    ``read`` reads the settings again when somebody asks for that; without it they stay as they are.
    Raises ``SettingsError`` when the data folder or the address to listen on can't be used.
    """
    meters = MetricRegistry()
    async with ResourceStack() as stack:
        stack.enter_context(lock_data_folder(settings.data))
        network = stack.enter_context(http_server.network(settings.web.listen))
        local = stack.enter_context(http_server.local(settings.data / SOCKET))
        alone = None
        if settings.web.metrics:
            alone = stack.enter_context(http_server.network(settings.web.metrics, "web.metrics"))
        state = await stack.enter_async_context(State(_database(settings), clock, meters))
        metrics, remote = settings.metrics, settings.metrics.remote
        backlog = remote.backlog if remote and remote.write_url else None
        store = stack.enter_context(Store(settings.data / "tsdb", metrics, clock, meters, backlog=backlog))
        engine = await stack.enter_async_context(QueryExecutor(PromqlEngine(store, lookback=metrics.lookback_delta)))
        # Rules are judged in a thread of their own: a question that takes long delays no alert.
        judge = await stack.enter_async_context(QueryExecutor(PromqlEngine(store, lookback=metrics.lookback_delta)))
        # And so is how the shop is: it can be told whatever else is asked.
        examiner = await stack.enter_async_context(QueryExecutor(PromqlEngine(store, lookback=metrics.lookback_delta)))
        http = await stack.enter_async_context(open_http_client())
        tools = CollectorTools(http, clock, meters, ShopConnections(None, None), state=state)

        recent = RecentLines(tools.pushed, CardinalityLimits(meters))
        declines = PaymentDeclineCounter(state, clock, meters, business_events.BOOK)
        lent = channel_tools(settings, tools)
        dispatching = NotificationService(notify_policy(settings), settings.channels, state, lent, clock, meters)
        asking = RemoteQueryClient(remote, http) if remote and remote.query_url else None
        ledger = AlertStore(state, settings.data, dispatching.wake, dispatching.decide_without_state)
        ground = LongLived(
            ProcessInfo(clock.now(), str(settings.data), http_server.address_of(network)),
            tools=tools,
            state=state,
            store=store,
            engine=engine,
            judge=judge,
            examiner=examiner,
            recent=recent,
            declines=declines,
            dispatching=dispatching,
            ledger=ledger,
            outside=ExternalAlerts(ledger, clock, meters),
            asking=asking,
            has_metrics_alone=alone is not None,
        )
        reloading = ReloadService(
            read or (lambda: settings), ground.build, ground.take_over, partial(write_audit_entry, state), clock, meters
        )
        ground.reload = reloading.reload
        ground.services += [state, state.quarantine, store, dispatching, ground.outside, reloading]
        if remote and store.remote_cursor:
            ground.services.append(RemoteWriteService(remote, store.remote_cursor, http, clock, meters))
        first = await ground.build(settings, None)
        stack.push_async_callback(reloading.close)
        reloading.begin(first)
        await first.evaluating.open()
        ground.serving = http_server.HttpService(
            first.app,
            settings.web,
            network,
            local,
            clock,
            meters,
            allowed_hosts(settings),
            (first.metrics_app, alone) if first.metrics_app and alone else None,
        )
        ground.services.append(ground.serving)
        first.known.append(ground.serving)
        await stack.enter_async_context(record_start_and_stop(state, clock))
        yield Daemon(
            ground.services, first.collecting.first_collection, first.overview, partial(reloading.request, SIGNAL)
        )


async def serve(
    settings: Settings, greet: Callable[[Overview], None], read: Callable[[], Settings] | None = None
) -> None:
    """
    Run until SIGTERM or Ctrl-C, or until a service breaks; SIGHUP reads the settings again, by ``read``.

    ``greet`` is called once every target was looked at, or after five seconds.
    """
    limit_arenas()
    sys.setswitchinterval(SWITCHING)
    raise_descriptors()
    os.umask(OTHERS)  # what toban writes is for its own user
    stop = stop_event()
    async with AsyncExitStack() as stack:
        try:
            async with abort_on(stop):
                assembly = await stack.enter_async_context(open_daemon(settings, SystemClock(), read))
        except StoppedError:
            return
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, assembly.reload)
        jobs = [(service.name, service.run()) for service in assembly.services]
        jobs += [("greeting", _greeted(assembly, greet)), ("memory", trim_periodically(SystemClock()))]
        await run_services(jobs, stop)


async def _greeted(assembly: Daemon, greet: Callable[[Overview], None]) -> None:
    try:
        async with asyncio.timeout(FIRST_LOOK):
            await assembly.first_look()
    except TimeoutError:
        log.info("some targets are slow to answer")
    greet(await assembly.overview())


def _database(settings: Settings) -> StateBackend:
    if settings.state:
        return PostgresBackend(settings.state.get_secret_value())
    return SqliteBackend(settings.data / "toban.db")


@contextmanager
def lock_data_folder(folder: Path) -> Iterator[None]:
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
    if exposed := make_private(folder):
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
async def record_start_and_stop(state: State, clock: Clock) -> AsyncIterator[None]:
    """Write starts and stops to the audit log, and warn when the last run ended without a stop."""
    try:
        last = await state.transaction(lambda connection: audit_log.recent(connection, 1, TOBAN))
    except StateError:
        last = []  # logged by state; toban runs without it
    if last and last[0].action == "started":
        log.warning("last run ended without a stop", started=last[0].at.isoformat())
    facts = {"version": toban.__version__}
    await write_audit_entry(state, AuditEntry(clock.now(), TOBAN, "started", facts))
    try:
        yield
    finally:
        await write_audit_entry(state, AuditEntry(clock.now(), TOBAN, "stopped", facts))


async def write_audit_entry(state: State, entry: AuditEntry) -> None:
    """Write a row of the audit log about something that happens also while state is unavailable."""
    try:
        await state.transaction(lambda connection: audit_log.record(connection, entry))
    except StateError:
        log.warning("audit entry not written", actor=str(entry.actor), action=entry.action)
