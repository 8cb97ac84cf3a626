"""What stays open through reloads, and what is built anew of each settings."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx2
from starlette.types import ASGIApp

import toban
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import ExternalAlerts
from toban.alerting.remote_engine import RemoteRuleEngine
from toban.alerting.service import EvaluationService
from toban.alerting.templating.template import External
from toban.collect import default_collectors
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.service import CollectionService
from toban.collect.tools import CollectorTools
from toban.core.actor import Actor
from toban.core.item_isolation import health_by_service
from toban.core.lifecycle import ResourceStack
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import host_names
from toban.core.ports import Clock, LineSink, Service
from toban.health.checks import checks
from toban.health.service import HealthService
from toban.ingest.business_events import BusinessEventReceiver
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.ingest.remote_write_receiver import RemoteWriteReceiver
from toban.logs.fly_log_stream import FlyLogStream
from toban.logs.recent_lines import RecentLines
from toban.notify.channel import ChannelTools as NotifyTools
from toban.notify.channel_commands import ChannelCommands
from toban.notify.default_inhibitions import INHIBITIONS
from toban.notify.drill import DrillService
from toban.notify.heartbeat import HeartbeatService
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.pipeline_run import Policy
from toban.notify.report import stage_history
from toban.notify.routing import Routing
from toban.notify.service import NotificationService
from toban.notify.silence_commands import SilenceCommands
from toban.promql.executor import QueryExecutor
from toban.promql.tiered_engine import TieredEngine
from toban.remote.query_client import RemoteQueryClient
from toban.settings import Settings, load_rules
from toban.shop.connections import open_connections
from toban.state.database import State
from toban.state.quarantine_commands import QuarantineCommands
from toban.tsdb.store import CORRUPTIONS, Store
from toban.web.alertmanager_api import AlertmanagerApi
from toban.web.alerts_api import AlertsApi
from toban.web.application import application, metrics_alone
from toban.web.http_server import HttpService
from toban.web.ingest import IngestApi
from toban.web.logs_api import LogsApi
from toban.web.prometheus_rules import PrometheusRulesApi
from toban.web.prometheus_status import PrometheusStatusApi
from toban.web.quarantine_api import QuarantineApi
from toban.web.reload_api import ReloadApi
from toban.web.silences_api import SilencesApi
from toban.web.status_api import Overview, ProcessInfo, StatusApi
from toban.web.uptimerobot_webhook import UptimerobotWebhook

AGENT: Final = f"toban/{toban.__version__}"
"""How toban's own requests are known in the shop's logs."""


@dataclass(slots=True)
class Generation:
    """The services that depend on settings, and what they are asked."""

    settings: Settings
    services: Sequence[Service]
    known: list[Service]
    """All that run while it does, for those who tell how they are."""
    collecting: CollectionService
    evaluating: EvaluationService
    taking: OtlpReceiver
    tools: CollectorTools
    shop: AsyncExitStack
    """Closes the connections to the shop; handed on while these stay the same."""
    app: ASGIApp
    metrics_app: ASGIApp | None
    overview: Callable[[], Awaitable[Overview]]

    async def finish(self) -> None:
        """Let what is being judged come to its end."""
        await self.evaluating.finish()

    async def close(self) -> None:
        """Close the connections to the shop, unless they were handed on."""
        await self.shop.aclose()


@dataclass(slots=True)
class LongLived:
    """What stays open as long as toban runs: files, sockets, alerts, messages, and what was pushed lately."""

    about: ProcessInfo
    tools: CollectorTools
    state: State
    store: Store
    engine: QueryExecutor
    judge: QueryExecutor
    examiner: QueryExecutor
    recent: RecentLines
    declines: PaymentDeclineCounter
    dispatching: NotificationService
    ledger: AlertStore
    outside: ExternalAlerts
    asking: RemoteQueryClient | None
    has_metrics_alone: bool
    services: list[Service] = field(default_factory=list)
    serving: HttpService | None = None
    reload: Callable[[Actor], Awaitable[str]] | None = None

    async def build(self, settings: Settings, before: Generation | None) -> Generation:
        """
        Build the services of some settings, and begin nothing; what the generation before has alike is used again.

        Raises ``SettingsError``.
        """
        clock, meters, state, dispatching = self.tools.clock, self.tools.meters, self.state, self.dispatching
        groups = load_rules(settings)
        stack = ResourceStack()
        if before and before.settings.shop == settings.shop:
            tools = before.tools
        else:
            tools = replace(self.tools, shop=await stack.enter_async_context(open_connections(settings.shop)))
        watched = before.collecting if before and before.tools is tools else None
        collecting = CollectionService(
            default_collectors.with_defaults(settings.collect, settings.shop), self.store, tools, watched
        )
        health = HealthService(*checks(settings.shop), self.examiner, clock)
        if before and before.settings.shop.services == settings.shop.services:
            taking = before.taking
        else:
            taking = OtlpReceiver(tools.pushed, settings.shop.services, self.recent, clock, meters, self.declines)
        known: list[Service] = [*self.services, collecting, taking]
        known += log_streams(settings, self.recent, clock, meters)
        evaluating = EvaluationService(
            groups,
            settings.alerting.evaluation_interval,
            self.ledger,
            self.judge,
            self.store,
            state,
            clock,
            meters,
            conditions=lambda: health_by_service(it for it in known if it.name != EvaluationService.name),
            outside=RemoteRuleEngine(self.asking, settings.metrics.lookback_delta) if self.asking else None,
            first_look=None if before else collecting.first_collection,
            targets=[target.name for target in collecting.targets()],
            last_error=collecting.last_error,
            external=External(
                (settings.notify.address or f"http://{settings.web.listen}").rstrip("/"),
                settings.metrics.remote.labels if settings.metrics.remote else {},
            ),
        )
        known.append(evaluating)
        if settings.notify.heartbeat:

            def missing() -> str:
                if not evaluating.is_on_time:
                    return "rules are not judged in time"
                if not dispatching.is_delivering:
                    return "messages do not leave"
                return "" if state.health().ok else "state is away"

            known.append(HeartbeatService(settings.notify.heartbeat, missing, tools.http, clock, meters))
        drilling = _drilling(settings, dispatching, state, clock, meters)
        known.append(drilling)
        own = StatusApi(
            self.about,
            self.ledger.alerts,
            lambda: dispatching.report().suppressed(),
            collecting.targets,
            health,
            known,
            state.quarantine,
        )
        written = RemoteWriteReceiver(self.store, settings.metrics, clock, meters)
        doors = IngestApi(
            taking, BusinessEventReceiver(state, clock, meters, self.declines), written, settings.web.body_limit
        )
        silences = SilenceCommands(state, clock, dispatching.decided)
        alerts = AlertsApi(
            evaluating,
            dispatching,
            partial(stage_history, state),
            AcknowledgeCommands(self.ledger, clock),
            ChannelCommands(dispatching, clock),
            drilling,
            clock,
        )
        alertmanager = AlertmanagerApi(evaluating, self.outside, dispatching, silences, state.quarantine, clock)
        pushed = [*doors.routes(), *LogsApi(self.recent).routes()]
        pushed += [*PrometheusRulesApi(evaluating).routes(), *alerts.routes(), *alertmanager.routes()]
        pushed += SilencesApi(silences, clock).routes()
        pushed += UptimerobotWebhook(self.outside, clock).routes()
        pushed += QuarantineApi(QuarantineCommands(state), state.quarantine).routes()
        if self.reload:
            pushed += ReloadApi(self.reload).routes()
        answering = TieredEngine(self.engine, self.asking, self.store.oldest) if self.asking else self.engine
        flags = settings.flags(self.engine.engine.limits)
        runtime = PrometheusStatusApi(self.about.started, flags, self.store, clock, lambda: meters.value(CORRUPTIONS))
        address = settings.notify.address or ""
        app = application(
            own, health, self.engine, answering, self.store, collecting, known, clock, runtime, pushed, address
        )
        alone = metrics_alone(collecting, self.engine, self.store, clock) if self.has_metrics_alone else None
        services = known[len(self.services) :]
        return Generation(
            settings, services, known, collecting, evaluating, taking, tools, stack, app, alone, own.overview
        )

    async def take_over(self, after: Generation, before: Generation) -> None:
        """Put a generation in the place of the one before, whose services have ended; the next thing is to run it."""
        if after.tools is before.tools:
            after.shop, before.shop = before.shop, after.shop
        settings = after.settings
        await self.dispatching.configure(
            notify_policy(settings), settings.channels, channel_tools(settings, after.tools)
        )
        await after.evaluating.open(before.evaluating)
        await after.collecting.take_over(before.collecting)
        if self.serving:
            self.serving.configure(after.app, settings.web, allowed_hosts(settings), after.metrics_app)


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the names under which toban is reached, beside those that the configuration lists."""
    address = urlsplit(settings.notify.address or "").hostname
    return [*host_names(os.environ), *([address] if address else [])]


def log_streams(settings: Settings, lines: LineSink, clock: Clock, meters: MetricRegistry) -> list[FlyLogStream]:
    """Return what brings log lines that nobody pushes."""
    shop, here = settings.shop, os.environ.get("FLY_APP_NAME", "")
    if not (shop.fly_token and shop.fly_org) or not (bool(here) if settings.logs.fly is None else settings.logs.fly):
        return []
    token = shop.fly_token.get_secret_value()
    return [FlyLogStream(settings.logs.fly_server, shop.fly_org, token, shop.fly_apps, here, lines, clock, meters)]


def _drilling(
    settings: Settings, dispatching: NotificationService, state: State, clock: Clock, meters: MetricRegistry
) -> DrillService:
    notify = settings.notify
    quiet = [name for name, channel in settings.channels.items() if not channel.pages]
    channels = notify.drill.channels or tuple(quiet)
    return DrillService(
        notify.drill, channels, ZoneInfo(notify.timezone), dispatching.was_delivered, state, clock, meters
    )


def notify_policy(settings: Settings) -> Policy:
    """Return what decides who is told."""
    notify = settings.notify
    return Policy(
        notify,
        Routing(notify, {name: channel.pages for name, channel in settings.channels.items()}),
        Inhibitor([*INHIBITIONS, *notify.inhibit]),
        MaintenanceWindows(notify),
    )


def channel_tools(settings: Settings, tools: CollectorTools) -> NotifyTools:
    """Return what channels are lent."""
    return NotifyTools(tools.http, tools.clock, settings.notify.address or "", settings.shop.title)


def open_http_client() -> httpx2.AsyncClient:
    """Return the one HTTP client."""
    return httpx2.AsyncClient(headers={"user-agent": AGENT}, timeout=10)


async def open_collector_tools(
    stack: AsyncExitStack, settings: Settings, clock: Clock, meters: MetricRegistry
) -> CollectorTools:
    """Open what collectors are lent, without state."""
    shop = await stack.enter_async_context(open_connections(settings.shop))
    return CollectorTools(await stack.enter_async_context(open_http_client()), clock, meters, shop)
