"""The composition root: opens resources, builds services, runs them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

import toban
from toban.access.assembly import Access, open_access
from toban.alerting.alert_store import AlertStore
from toban.alerting.backtests import Backtests
from toban.alerting.external_alerts import ExternalAlerts
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.tools import CollectorTools
from toban.core.actor import SIGNAL, TOBAN
from toban.core.alerts import AlertChange
from toban.core.clock import SystemClock
from toban.core.data_folder import lock_data_folder
from toban.core.errors import StateError
from toban.core.garbage_collector import freeze_periodically
from toban.core.lifecycle import ResourceStack, StoppedError, abort_on, run_services, stop_event
from toban.core.malloc_trim import limit_arenas, trim_periodically
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import OTHERS_MODE
from toban.core.ports import Clock, Service
from toban.deploys.service import DeployService
from toban.engines import Engines, open_engines
from toban.foundation import Foundation, open_http_client
from toban.incidents.service import IncidentService
from toban.ingest import business_events
from toban.instruments.error_reports import ErrorReports, open_error_reports
from toban.logs.assembly import Logs, open_logs
from toban.maintenance.service import MaintenanceService
from toban.notify.assembly import channel_tools, policy
from toban.notify.service import NotificationService
from toban.reload import ReloadService
from toban.review.recorder import FiringRecorder
from toban.runbooks.service import RunbookService
from toban.service_generation import GenerationBuilder
from toban.service_ports import incident_ports, recorder_ports
from toban.settings import Settings
from toban.shop.connections import ShopConnections
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.backends import open_backend
from toban.state.database import State
from toban.web.api.status import Overview, ProcessInfo
from toban.web.http_server import HttpService, open_http_service
from toban.web.listener import raise_descriptors
from toban.web.settings import is_loopback, split

log = structlog.get_logger("toban.daemon")

SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a computing thread lets others run: the event loop must not wait for queries."""

GREETING_TIMEOUT: Final = 5
"""Seconds that the greeting waits for the first collection of slow targets."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything that runs, and what the start needs of it."""

    services: Sequence[Service]
    first_collection: Callable[[], Awaitable[None]]
    overview: Callable[[], Awaitable[Overview]]
    reload: Callable[[], None]
    first_admin_link: str
    """The address of the page that makes the first admin; empty where none is needed."""


@asynccontextmanager
async def open_daemon(
    settings: Settings, clock: Clock, read: Callable[[], Settings] | None = None
) -> AsyncIterator[Daemon]:
    """
    Open all resources and build the services; close them in the opposite order.

    ``read`` reads the settings again for a reload; without it they stay as they are.
    Raises ``SettingsError`` when the data folder or the address to listen on can't be used.
    """
    meters = MetricRegistry()
    async with ResourceStack() as stack:
        stack.enter_context(lock_data_folder(settings.data))
        errors = await stack.enter_async_context(open_error_reports(settings.errors, meters))
        web = open_http_service(stack, settings.web, settings.data, clock, meters)
        state = await stack.enter_async_context(State(open_backend(settings.state, settings.data), clock, meters))
        http = await stack.enter_async_context(open_http_client())
        engines = await open_engines(stack, settings.metrics, settings.data / "tsdb", http, clock, meters)
        tools = CollectorTools(http, clock, meters, ShopConnections(None, None), state=state)
        access = await open_access(stack, state, settings.data, clock, meters)
        logs = await stack.enter_async_context(
            open_logs(settings.logs, settings.data / "logs", http, tools.pushed, clock, meters)
        )
        foundation = _open_foundation(settings, state, engines, logs, errors, access, web, tools)
        reloads = ReloadService(read or (lambda: settings), partial(write_audit_entry, state), clock, meters)
        builder = GenerationBuilder(foundation, reloads.reload, reloads)
        stack.push_async_callback(reloads.close)
        first = await reloads.begin(settings, builder.build, builder.take_over)
        await stack.enter_async_context(record_start_and_stop(state, clock))
        services = [*foundation.services, reloads]
        link = await first_admin_link(access, settings, web.address)
        reload = partial(reloads.request, SIGNAL)
        yield Daemon(services, first.collection.first_collection, first.web.overview, reload, link)


def _open_foundation(
    settings: Settings,
    state: State,
    engines: Engines,
    logs: Logs,
    errors: ErrorReports,
    access: Access,
    web: HttpService,
    tools: CollectorTools,
) -> Foundation:
    clock, meters = tools.clock, tools.meters
    notifications = NotificationService(
        policy(settings.notify, settings.channels, settings.personal_channels),
        settings.channels,
        state,
        channel_tools(settings.notify, settings.shop.title, tools.http, clock),
        clock,
        meters,
    )

    def wake() -> None:
        notifications.wake()
        incidents.wake()
        firings.wake()

    async def change_without_state(changes: Sequence[AlertChange]) -> None:
        await notifications.decide_without_state(changes)
        await incidents.change_without_state(changes)

    alerts = AlertStore(state, settings.data, wake, change_without_state)
    ports = incident_ports(settings, notifications, alerts, clock)
    incidents = IncidentService(ports, notifications, state, clock, meters)
    firings = FiringRecorder(recorder_ports(settings), state, clock, meters)
    return Foundation(
        ProcessInfo(clock.now(), str(settings.data), web.address),
        tools,
        state,
        engines,
        logs,
        errors,
        PaymentDeclineCounter(state, clock, meters, business_events.COUNTER_OWNER),
        notifications,
        incidents,
        RunbookService(settings.data, state, clock, meters),
        MaintenanceService(state, clock, meters),
        DeployService(state, clock, meters),
        firings,
        Backtests(clock, meters),
        alerts,
        ExternalAlerts(alerts, clock, meters),
        access,
        web,
    )


async def serve(
    settings: Settings, greet: Callable[[Overview, str], None], read: Callable[[], Settings] | None = None
) -> None:
    """
    Run until SIGTERM or Ctrl-C, or until a service fails; SIGHUP reloads the settings, by ``read``.

    ``greet`` is called after the first collection of every target, or after five seconds, with the link that makes the
    first admin where one is needed.
    """
    limit_arenas()
    sys.setswitchinterval(SWITCH_INTERVAL)
    raise_descriptors()
    os.umask(OTHERS_MODE)  # files of toban are private
    stop = stop_event()
    async with AsyncExitStack() as stack:
        try:
            async with abort_on(stop):
                daemon = await stack.enter_async_context(open_daemon(settings, SystemClock(), read))
        except StoppedError:
            return
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.reload)
        jobs = [(service.name, service.run()) for service in daemon.services]
        clock = SystemClock()
        jobs += [("memory", trim_periodically(clock)), ("garbage collection", freeze_periodically(clock))]
        jobs.append(("greeting", _greet(daemon, greet)))
        await run_services(jobs, stop)


async def _greet(daemon: Daemon, greet: Callable[[Overview, str], None]) -> None:
    try:
        async with asyncio.timeout(GREETING_TIMEOUT):
            await daemon.first_collection()
    except TimeoutError:
        log.info("first collection not finished")
    greet(await daemon.overview(), daemon.first_admin_link)


async def first_admin_link(access: Access, settings: Settings, address: str) -> str:
    """Return the address of the page that makes the first admin; nothing where toban can be used without one."""
    if settings.web.token or is_loopback(split(settings.web.listen)[0]) or access.service.has_users:
        return ""
    try:
        secret = await access.users.first_admin_link(TOBAN)
    except StateError:
        return ""  # state reports it; `toban user add` makes one later
    return f"{(settings.notify.address or address).rstrip('/')}/welcome/{secret}"


@asynccontextmanager
async def record_start_and_stop(state: State, clock: Clock) -> AsyncIterator[None]:
    """Write starts and stops to the audit log, and warn when the last run ended without a stop."""
    try:
        last = await state.transaction(lambda connection: audit_log.recent(connection, 1, actor=TOBAN.name))
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
