"""What stays open through reloads, and the generation of services that is built from each configuration."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx2

import toban
from toban.access.assembly import Access
from toban.access.oidc import OidcProvider
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.alert_store import AlertStore
from toban.alerting.assembly import Alerting, AlertingPorts, open_alerting
from toban.alerting.backtests import Backtests
from toban.alerting.external_alerts import ExternalAlerts, posted_alert
from toban.alerting.rule_change import limit_of
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_replays import RuleReplays
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import CollectedTargets, EvaluationService
from toban.alerting.templating.template import External
from toban.answers.assembly import Answers, open_answers
from toban.collect.assembly import open_collection
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.service import CollectionService
from toban.collect.tools import CollectorTools
from toban.core.actor import MAINTENANCE, RUNBOOKS, TOBAN, Actor
from toban.core.alerts import ALERTNAME, Alert, AlertStatus, priority
from toban.core.deploys import Deploy
from toban.core.item_isolation import health_by_service
from toban.core.lifecycle import ResourceStack
from toban.core.matcher_syntax import make_matcher
from toban.core.matchers import MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.core.paths import host_names
from toban.core.ports import Clock, HealthStatus, LineSink, Service
from toban.dashboards.board_loader import Boards
from toban.deploys.guard import Regression
from toban.deploys.service import DeployPorts, DeployService
from toban.engines import Engines, rule_engines
from toban.health.checks import checks
from toban.health.components import component_of
from toban.health.impact import ShopImpact
from toban.health.service import HealthService
from toban.health.shop_report import ShopReport
from toban.incidents.assembly import Incidents, incident_policy, open_incidents
from toban.incidents.book import Suppression
from toban.incidents.duty import Duty
from toban.incidents.policy import personal_channels
from toban.incidents.schedule_service import OnCallService
from toban.incidents.service import IncidentPorts, IncidentService
from toban.ingest.assembly import Ingest, IngestPorts, open_ingest
from toban.instruments.error_reports import ErrorReports
from toban.logs.assembly import Logs, open_shippers, open_tails, read_progress
from toban.logs.fly_log_stream import FlyLogConnection, FlyLogStream
from toban.maintenance.assembly import Maintenance, open_maintenance
from toban.maintenance.decisions import Conditions
from toban.maintenance.executor import MaintenancePorts
from toban.maintenance.service import MaintenanceService
from toban.maintenance.settings import all_tasks
from toban.maintenance.task import ReportOrder, TaskTools
from toban.notify.assembly import Notifications, channel_tools, open_notifications, policy
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.service import NotificationService
from toban.notify.silence_commands import SilenceCommands, SilenceSpec
from toban.notify.system_notices import notice
from toban.reports.builder import ReportBuilder, ReportSources
from toban.reports.service import ReportService
from toban.review.alert_review import EvaluatedRule
from toban.review.assembly import Review, ReviewPorts, open_review
from toban.review.recorder import FiringRecorder, RecorderPorts
from toban.runbooks.action import ActionTools
from toban.runbooks.assembly import Runbooks, open_runbooks
from toban.runbooks.service import RunbookService
from toban.runbooks.settings import load_runbooks
from toban.runbooks.situation import RunbookPorts
from toban.settings import Settings, load_rules, service_levels
from toban.shop.connections import open_connections
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.status_page.commands import StatusPage
from toban.web.api.status import ProcessInfo
from toban.web.assembly import Features, Web, open_web
from toban.web.http_server import HttpService
from toban.web.sentry_webhook import ReceivedBodies

USER_AGENT: Final = f"toban/{toban.__version__}"
"""Identifies toban's own requests in the shop's logs."""


@dataclass(slots=True)
class ServiceGeneration:
    """The services of one configuration."""

    settings: Settings
    tools: CollectorTools
    shop: AsyncExitStack
    """Closes the connections to the shop; handed on while their settings stay the same."""
    collection: CollectionService
    ingest: Ingest
    evaluation: EvaluationService
    incidents: Incidents
    runbooks: Runbooks
    maintenance: Maintenance
    replays: RuleReplays
    web: Web
    services: Sequence[Service]

    async def finish(self) -> None:
        """Wait for running evaluations."""
        await self.evaluation.finish()

    async def close(self) -> None:
        """End the streams of open pages, and close the connections to the shop, unless they were handed on."""
        self.web.end_streams()
        await self.shop.aclose()


@dataclass(frozen=True, slots=True)
class Foundation:
    """What stays open as long as toban runs: files, sockets, alerts, messages, and what was pushed lately."""

    process: ProcessInfo
    tools: CollectorTools
    state: State
    engines: Engines
    logs: Logs
    errors: ErrorReports
    declines: PaymentDeclineCounter
    notifications: NotificationService
    incidents: IncidentService
    runbooks: RunbookService
    maintenance: MaintenanceService
    deploys: DeployService
    firings: FiringRecorder
    backtests: Backtests
    alerts: AlertStore
    external_alerts: ExternalAlerts
    access: Access
    http: HttpService
    replaying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one replay of rules that runs."""

    @property
    def services(self) -> list[Service]:
        """The services that outlive a configuration."""
        state, engines = self.state, self.engines
        lasting = (
            self.notifications,
            self.incidents,
            self.runbooks,
            self.maintenance,
            self.deploys,
            self.firings,
            self.backtests,
            self.external_alerts,
            self.logs.pipeline,
            self.access.service,
            self.http,
        )
        return [state, state.quarantine, *engines.services, *lasting]


class GenerationBuilder:
    """Builds the services of each configuration on one foundation."""

    def __init__(self, foundation: Foundation, reload: Callable[[Actor], Awaitable[str]], reload_service: Service):
        self._foundation = foundation
        self._reload = reload
        # A reload must not make a replay look new.
        self._sentry_bodies = ReceivedBodies()
        self._outliving = [*foundation.services, reload_service]

    async def build(self, settings: Settings, before: ServiceGeneration | None) -> ServiceGeneration:
        """
        Build the services of some settings, and start none; unchanged parts of the generation before are used on.

        Raises ``SettingsError``.
        """
        base, clock, meters = self._foundation, self._foundation.tools.clock, self._foundation.tools.meters
        groups = load_rules(settings)
        shop = ResourceStack()
        if before and before.settings.shop == settings.shop:
            tools = before.tools
        else:
            tools = replace(base.tools, shop=await shop.enter_async_context(open_connections(settings.shop)))
        store = base.engines.store
        goes_on = before if before and before.tools is tools else None
        collection = open_collection(
            settings.collect, settings.shop, store, tools, goes_on.collection if goes_on else None
        )
        same_services = before and before.settings.shop.services == settings.shop.services
        ports = IngestPorts(store, tools.pushed, base.logs.pipeline, base.declines, base.state, clock, meters)
        otlp = before.ingest.otlp if before and same_services else None
        ingest = open_ingest(settings.shop.services, settings.metrics, ports, otlp)

        def health_of_others() -> Iterable[tuple[str, HealthStatus]]:
            return health_by_service(it for it in running if it is not alerting.evaluation)

        remote = settings.metrics.remote
        external = External(
            (settings.notify.address or f"http://{settings.web.listen}").rstrip("/"), remote.labels if remote else {}
        )
        replays = RuleReplays(
            store,
            groups,
            settings.alerting.evaluation_interval,
            clock,
            lookback=settings.metrics.lookback_delta,
            external=external,
            lock=base.replaying,
        )
        alerting = open_alerting(
            settings.alerting,
            groups,
            AlertingPorts(
                base.alerts,
                base.external_alerts,
                rule_engines(base.engines, base.logs),
                store,
                base.state,
                clock,
                meters,
            ),
            CollectedTargets(
                [target.name for target in collection.targets()],
                None if before else collection.first_collection,
                collection.last_error,
            ),
            health_of_others,
            external,
        )

        def missing() -> str:
            if not alerting.evaluation.is_on_time:
                return "rules are not evaluated in time"
            if not base.notifications.is_delivering:
                return "notifications are not delivered"
            if problem := incidents.auditor.problem:
                return f"incidents are not escalated: {problem}"
            return "" if base.state.health().ok else "state is unavailable"

        notifications = open_notifications(
            settings.notify, settings.channels, base.notifications, base.state, tools.http, missing, clock, meters
        )
        kinds = {it.labels.get("job", ""): it.kind for it in collection.targets()}

        @lru_cache(1_000)
        def component_of_rule(job: str, name: str) -> str:
            return component_of(kinds.get(job, job), alerting.evaluation.metrics_of(name))

        def component(alert: Alert) -> str:
            return component_of_rule(alert.labels.get("job", "")[:100], alert.name)

        on_call = OnCallService(settings.on_call, on_call_zone(settings), base.state, tools.http, clock, meters)
        incidents = open_incidents(
            base.incidents,
            incident_ports(settings, base.notifications, base.alerts, clock, component, on_call.duty),
            on_call,
            base.notifications,
            ShopImpact(base.engines.queries, clock).estimate,
            base.state,
            clock,
            meters,
        )
        runbooks = open_runbooks(
            base.runbooks,
            runbook_ports(settings, base, tools, notifications.silences, missing),
            base.state,
            clock,
        )
        maintenance = open_maintenance(
            base.maintenance,
            maintenance_ports(
                settings, base, tools, notifications.silences, missing, lambda order: reports.send(order)
            ),
            base.state,
            clock,
        )
        review = open_review(
            service_levels(settings),
            base.firings,
            base.engines.queries,
            ReviewPorts(
                MaintenanceWindows(settings.notify).between,
                lambda: evaluated_rules(alerting.evaluation),
                ZoneInfo(settings.notify.timezone),
                replays,
            ),
            clock,
            meters,
        )
        reports = open_reports(settings, base, incidents, maintenance, review)
        answers = open_answers(
            settings.channels,
            lambda: channel_tools(settings.notify, settings.shop.title, tools.http, clock),
            incidents,
            runbooks,
            tools.http,
            base.state,
            clock,
            meters,
        )
        streams = log_streams(settings, base.logs.pipeline, clock, meters)
        tails = open_tails(settings.logs, base.logs, clock, meters)
        shippers = open_shippers(settings.log_sinks.values(), base.logs, tools.http, clock, meters)
        services: list[Service] = [
            collection,
            ingest.otlp,
            *streams,
            *tails,
            *shippers,
            alerting.evaluation,
            *notifications.services,
            *incidents.services,
            *answers.services,
            review.proposals,
        ]
        running = (*self._outliving, *services)
        web = self._open_web(
            settings,
            collection,
            ingest,
            alerting,
            notifications,
            incidents,
            runbooks,
            maintenance,
            reports,
            review,
            answers,
            running,
        )
        return ServiceGeneration(
            settings,
            tools,
            shop,
            collection,
            ingest,
            alerting.evaluation,
            incidents,
            runbooks,
            maintenance,
            replays,
            web,
            services,
        )

    def _open_web(
        self,
        settings: Settings,
        collection: CollectionService,
        ingest: Ingest,
        alerting: Alerting,
        notifications: Notifications,
        incidents: Incidents,
        runbooks: Runbooks,
        maintenance: Maintenance,
        reports: ReportService,
        review: Review,
        answers: Answers,
        running: Sequence[Service],
    ) -> Web:
        base, clock, meters = self._foundation, self._foundation.tools.clock, self._foundation.tools.meters
        engines = base.engines
        features = Features(
            process=base.process,
            flags=settings.flags(engines.queries.engine.limits),
            settings=settings.effective,
            address=settings.notify.address or "",
            state=base.state,
            store=engines.store,
            queries=engines.queries,
            client_queries=engines.client_queries,
            collection=collection,
            ingest=ingest,
            logs=base.logs,
            health=HealthService(*checks(settings.shop), engines.health, clock),
            shop=ShopReport(engines.queries, clock, ZoneInfo(settings.notify.timezone)),
            alerting=alerting,
            notifications=notifications,
            incidents=incidents,
            runbooks=runbooks,
            maintenance=maintenance,
            reports=reports,
            review=review,
            backtests=base.backtests,
            answers=answers,
            deploys=base.deploys,
            github_secret=lambda: settings.deploys.github_secret,
            sentry_secret=lambda: settings.errors.sentry_client_secret,
            sentry_bodies=self._sentry_bodies,
            services=running,
            boards=Boards(settings.dashboards),
            access=base.access,
            oidc=OidcProvider(settings.sign_in.oidc, base.tools.http, clock) if settings.sign_in.oidc else None,
            status_page=StatusPage(settings.status_page, base.state, clock),
            reload=self._reload,
        )
        return open_web(settings.web, features, clock, meters)

    async def take_over(self, after: ServiceGeneration, before: ServiceGeneration | None) -> None:
        """Put a generation in the place of the one before, whose services have ended; then it can be started."""
        if before and after.tools is before.tools:
            after.shop, before.shop = before.shop, after.shop
        settings, base = after.settings, self._foundation
        if before:
            tools = channel_tools(settings.notify, settings.shop.title, after.tools.http, after.tools.clock)
            rules = policy(settings.notify, settings.channels, personal_channels(settings.on_call))
            await base.notifications.configure(rules, settings.channels, tools)
        await after.incidents.on_call.load()
        await base.incidents.configure(after.incidents.ports)
        base.runbooks.configure(after.runbooks.ports)
        base.maintenance.configure(after.maintenance.ports)
        base.deploys.configure(deploy_ports(settings, base))
        base.firings.configure(recorder_ports(settings))
        base.backtests.configure(after.replays)
        await after.evaluation.open(before.evaluation if before else None)
        if before:
            await after.collection.take_over(before.collection)
        await base.errors.configure(settings.errors)
        base.logs.configure(settings.logs)
        base.http.configure(
            after.web.app,
            settings.web,
            allowed_hosts(settings),
            after.web.metrics_app,
            base.access.service,
            settings.notify.address or "",
        )


def incident_ports(
    settings: Settings,
    notifications: NotificationService,
    alerts: AlertStore,
    clock: Clock,
    component: Callable[[Alert], str] = lambda _: "",
    duty: Duty | None = None,
) -> IncidentPorts:
    """Return what incidents use under some settings; ``component`` returns the part of the shop of an alert."""
    policy = incident_policy(
        settings.incidents,
        settings.on_call,
        {name: channel.pages for name, channel in settings.channels.items()},
        settings.notify.timezone,
        settings.notify.language,
        settings.notify.address or "",
        duty,
    )

    def suppression() -> Suppression:
        run = notifications.last_run
        return Suppression(run.inhibited_by, frozenset((*run.silenced_by, *run.muted_by)), component)

    return IncidentPorts(policy, suppression, AcknowledgeCommands(alerts, clock))


def on_call_zone(settings: Settings) -> ZoneInfo:
    """Return the time zone of the on-call schedule."""
    return ZoneInfo(settings.on_call.timezone or settings.notify.timezone)


def runbook_ports(
    settings: Settings,
    base: Foundation,
    tools: CollectorTools,
    silences: SilenceCommands,
    doubts: Callable[[], str],
) -> RunbookPorts:
    """Return what runbooks use under some settings; ``doubts`` says why toban does not trust what it knows."""
    notifications, clock = base.notifications, tools.clock

    async def notify(channel: str, text: str) -> None:
        at = clock.now()
        message = notice(notifications.policy, channel, f"runbook-{at.timestamp()}", text, (), at)
        await notifications.send_notice(message, AuditEntry(at, RUNBOOKS, "sent a message", {"channel": channel}))

    async def silence(alert: Alert, duration: timedelta, comment: str) -> str:
        matchers = [make_matcher(name, MatchOperator.EQUAL, value) for name, value in alert.labels.items()]
        spec = SilenceSpec(matchers, clock.now() + duration, comment)
        return (await silences.create(spec, RUNBOOKS)).id

    def is_firing(fingerprint: str) -> bool:
        return any(it.fingerprint == fingerprint and it.status is AlertStatus.FIRING for it in base.alerts.alerts())

    def maintenance() -> str:
        windows = notifications.policy.windows.open(clock.now())
        return f"the maintenance window {windows[0].name} is open" if windows else ""

    return RunbookPorts(
        settings.runbooks,
        load_runbooks(settings.runbooks),
        ActionTools(
            tools.http,
            clock,
            tools.shop,
            base.engines.rules,
            is_firing,
            notify,
            silence,
            settings.notify.address or "",
        ),
        lambda: [it.alert for _, it in base.alerts.all()],
        doubts,
        maintenance,
        deployed=lambda: base.deploys.last.at if base.deploys.last else None,
        on_events=base.incidents.wake,
    )


def maintenance_ports(
    settings: Settings,
    base: Foundation,
    tools: CollectorTools,
    silences: SilenceCommands,
    doubts: Callable[[], str],
    send_report: Callable[[ReportOrder], Awaitable[str]],
) -> MaintenancePorts:
    """Return what maintenance uses under some settings; it heeds the stop switch of runbooks."""
    clock = tools.clock

    async def conditions() -> Conditions:
        situation = await base.runbooks.situation()
        critical = [it for it in situation.firing if it.labels.get("severity") == "critical"]
        return Conditions(situation.now, situation.is_stopped, doubts(), situation.deployed, critical)

    async def silence(names: Sequence[str], until: datetime, comment: str) -> str:
        names_pattern = "|".join(map(re.escape, names))
        spec = SilenceSpec([make_matcher(ALERTNAME, MatchOperator.REGEX, names_pattern)], until, comment)
        return (await silences.create(spec, MAINTENANCE)).id

    async def unsilence(silence_id: str) -> None:
        await silences.expire(silence_id, MAINTENANCE)

    zone = ZoneInfo(settings.notify.timezone)
    return MaintenancePorts(
        [*all_tasks(settings.maintenance), *settings.reports.values()],
        TaskTools(
            tools.http,
            clock,
            tools.shop,
            base.engines.rules,
            zone,
            settings.data,
            send_report,
            lambda: read_progress(settings.logs, base.logs, clock),
            (base.engines.store, base.logs.retention),
        ),
        conditions,
        silence,
        unsilence,
    )


def open_reports(
    settings: Settings, base: Foundation, incidents: Incidents, maintenance: Maintenance, review: Review
) -> ReportService:
    """Return what makes reports under some settings, and sends them."""
    clock, notifications = base.tools.clock, base.notifications
    sources = ReportSources(
        base.engines.queries,
        clock,
        settings.shop.title,
        settings.notify.address or "",
        incidents.commands.between,
        base.deploys.deploys,
        maintenance.commands.between,
        review.levels.budgets,
    )

    def message(channel: str, name: str, title: str, lines: Sequence[str]) -> Notification:
        return notice(notifications.policy, channel, name, title, lines, clock.now())

    return ReportService(
        ReportBuilder(sources),
        ZoneInfo(settings.notify.timezone),
        settings.notify.language,
        message,
        notifications.send_notice,
        clock,
    )


def deploy_ports(settings: Settings, base: Foundation) -> DeployPorts:
    """Return what deploys use under some settings."""

    async def report(deploy: Deploy, found: Sequence[Regression], until: datetime) -> None:
        texts = "; ".join(it.text for it in found)
        labels = {"alertname": "deploy_regression", "version": deploy.version, "severity": "warning"}
        annotations = {
            "summary": f"Worse since the deploy of {deploy.version}",
            "summary_ja": f"{deploy.version} のデプロイ以降、悪化しています",
            "value": texts,
            "action": "Compare with the time before on the dashboard `api`; toban rolls nothing back by itself.",
            "action_ja": "ダッシュボード api でデプロイ前と比較してください。toban は自動でロールバックしません。",
        }
        posted = posted_alert(labels, annotations, deploy.at, until, deploy.url)
        await base.external_alerts.post("deploy guard", [posted], TOBAN)

    return DeployPorts(settings.deploys, base.engines.rules, report, base.incidents.wake)


def evaluated_rules(evaluation: EvaluationService) -> list[EvaluatedRule]:
    """Return the alerting rules: whether their data has ever been there, and the limits that can be changed."""
    found = []
    for group in evaluation.report().groups:
        for it in group.rules:
            if isinstance(it.rule, AlertRule):
                limit = limit_of(it.rule) if group.group.engine is RuleEngineName.EMBEDDED else None
                labels = {name: text.source for name, text in it.rule.labels.items()}
                rule = EvaluatedRule(
                    it.rule.name,
                    priority(labels | {ALERTNAME: it.rule.name}),
                    it.last.health is not RuleHealth.INACTIVE,
                    it.rule.query.reads(),
                    limit.left if limit else "",
                    limit.operator if limit else "",
                    float(limit.right) if limit else 0.0,
                    it.rule.for_,
                    group.interval,
                    it.rule.query.text,
                )
                found.append(rule)
    return found


def recorder_ports(settings: Settings) -> RecorderPorts:
    """Return what the history of firings uses under some settings."""
    paging = frozenset(name for name, channel in settings.channels.items() if channel.pages)
    return RecorderPorts(paging, ZoneInfo(settings.notify.timezone))


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the names under which toban is reached, in addition to `web.hosts`."""
    address = urlsplit(settings.notify.address or "").hostname
    return [*host_names(os.environ), *([address] if address else [])]


def log_streams(settings: Settings, lines: LineSink, clock: Clock, meters: MetricRegistry) -> list[FlyLogStream]:
    """Return the services that read log lines from elsewhere."""
    connection, own_app = fly_log_connection(settings), os.environ.get("FLY_APP_NAME", "")
    return [FlyLogStream(connection, settings.shop.fly_apps, own_app, lines, clock, meters)] if connection else []


def fly_log_connection(settings: Settings) -> FlyLogConnection | None:
    """Return the connection to Fly's log stream, where lines are read from it."""
    shop = settings.shop
    is_enabled = bool(os.environ.get("FLY_APP_NAME")) if settings.logs.fly is None else settings.logs.fly
    if not (shop.fly_token and shop.fly_org) or not is_enabled:
        return None
    return FlyLogConnection(settings.logs.fly_server, shop.fly_org, shop.fly_token.get_secret_value())


def open_http_client() -> httpx2.AsyncClient:
    """Return the one HTTP client."""
    return httpx2.AsyncClient(headers={"user-agent": USER_AGENT}, timeout=10)


async def open_collector_tools(
    stack: AsyncExitStack, settings: Settings, clock: Clock, meters: MetricRegistry
) -> CollectorTools:
    """Open what collectors may use, without state."""
    shop = await stack.enter_async_context(open_connections(settings.shop))
    return CollectorTools(await stack.enter_async_context(open_http_client()), clock, meters, shop)
