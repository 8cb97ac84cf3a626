"""Assembles the web from what it shows and forwards to: all APIs and pages in one application."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import SecretStr
from starlette.types import ASGIApp

from toban.access.assembly import Access
from toban.access.oidc import OidcProvider
from toban.alerting.assembly import Alerting
from toban.alerting.backtests import Backtests
from toban.answers.assembly import Answers
from toban.collect.service import CollectionService
from toban.core.actor import Actor
from toban.core.effective_settings import EffectiveSetting
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, QueryEngine, Service
from toban.dashboards.board_loader import Boards
from toban.deploys.service import DeployService
from toban.health.orders_around import OrdersAround
from toban.health.service import HealthService
from toban.health.shop_report import ShopReport
from toban.incidents.assembly import Incidents
from toban.ingest.assembly import Ingest
from toban.logs.assembly import Logs
from toban.maintenance.assembly import Maintenance
from toban.notify.assembly import Notifications
from toban.notify.report import stage_history
from toban.reports.service import ReportService
from toban.review.assembly import Review
from toban.runbooks.assembly import Runbooks
from toban.state.audit_report import recent_entries
from toban.state.database import State
from toban.state.quarantine_commands import QuarantineCommands
from toban.status_page.commands import StatusPage
from toban.tsdb.store import CORRUPTIONS, Store
from toban.web.alertmanager_api import AlertmanagerApi
from toban.web.answer_hooks import AnswerHooks
from toban.web.api.about import AboutApi
from toban.web.api.access import AccessApi
from toban.web.api.alerts import AlertsApi
from toban.web.api.audit import AuditApi
from toban.web.api.backtests import BacktestsApi
from toban.web.api.boards import BoardsApi
from toban.web.api.deploys import DeploysApi
from toban.web.api.firings import FiringsApi
from toban.web.api.incidents import IncidentsApi
from toban.web.api.logs import LogsApi
from toban.web.api.maintenance import MaintenanceApi
from toban.web.api.oncall import OnCallApi
from toban.web.api.quarantine import QuarantineApi
from toban.web.api.queries import QueriesApi
from toban.web.api.reload import ReloadApi
from toban.web.api.reports import ReportsApi
from toban.web.api.review import ReviewApi
from toban.web.api.rules import RulesApi
from toban.web.api.runbooks import RunbooksApi
from toban.web.api.settings import SettingsApi
from toban.web.api.silences import SilencesApi
from toban.web.api.slo import SloApi
from toban.web.api.status import Overview, ProcessInfo, StatusApi
from toban.web.api.status_page import StatusPageApi
from toban.web.application import application, metrics_alone
from toban.web.endpoint import Endpoint
from toban.web.fair_streaming import FairStreaming
from toban.web.ingest import IngestApi
from toban.web.live_updates import LOGS, LiveUpdates, PageState
from toban.web.log_push import LogPushApi
from toban.web.log_tail import LogTail
from toban.web.loki_api import LokiApi
from toban.web.loki_tail import LokiTail
from toban.web.pages.about import AboutPage
from toban.web.pages.alerts import AlertsPages
from toban.web.pages.audit import AuditPage
from toban.web.pages.backtests import BacktestsPages
from toban.web.pages.boards import BoardsPages
from toban.web.pages.channels import ChannelsPage
from toban.web.pages.explore import ExplorePage
from toban.web.pages.incident_charts import IncidentChartReader
from toban.web.pages.incidents import IncidentsPages
from toban.web.pages.logs import LogsPage
from toban.web.pages.maintenance import MaintenancePages
from toban.web.pages.oncall import OnCallPages
from toban.web.pages.overview import OverviewPage
from toban.web.pages.passkeys import PasskeyPages
from toban.web.pages.preferences import TIMEZONE, PreferencesPage
from toban.web.pages.rendering import REPORT_FAILURES
from toban.web.pages.reports import ReportsPage
from toban.web.pages.review import ReviewPage
from toban.web.pages.rules import RulesPages
from toban.web.pages.runbooks import RunbooksPages
from toban.web.pages.settings import SettingsPage
from toban.web.pages.sign_in import SignInPages
from toban.web.pages.silences import SilencesPages
from toban.web.pages.slo import SloPage
from toban.web.pages.status_page import StatusPages
from toban.web.pages.targets import TargetsPage
from toban.web.pages.users import UsersPages
from toban.web.prometheus_rules import PrometheusRulesApi
from toban.web.prometheus_status import PrometheusStatusApi
from toban.web.sentry_webhook import ReceivedBodies, SentryWebhook
from toban.web.settings import WebSettings
from toban.web.uptimerobot_webhook import UptimerobotWebhook


class HasRoutes(Protocol):
    """An API or a page."""

    def routes(self) -> list[Endpoint]:
        """Return its routes."""
        ...


@dataclass(frozen=True, slots=True)
class Features:
    """What the web shows and forwards to."""

    process: ProcessInfo
    flags: Mapping[str, str]
    settings: Callable[[], Sequence[EffectiveSetting]]
    address: str
    """The URL at which people reach toban; empty where none is set."""
    state: State
    store: Store
    queries: QueryEngine
    """Runs toban's own queries."""
    client_queries: QueryEngine
    collection: CollectionService
    ingest: Ingest
    logs: Logs
    health: HealthService
    shop: ShopReport
    alerting: Alerting
    notifications: Notifications
    incidents: Incidents
    runbooks: Runbooks
    maintenance: Maintenance
    reports: ReportService
    review: Review
    backtests: Backtests
    answers: Answers
    deploys: DeployService
    github_secret: Callable[[], SecretStr | None]
    sentry_secret: Callable[[], SecretStr | None]
    sentry_bodies: ReceivedBodies
    services: Sequence[Service]
    boards: Boards
    access: Access
    oidc: OidcProvider | None
    status_page: StatusPage
    reload: Callable[[Actor], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Web:
    """The applications, and the overview that they and the greeting show."""

    app: ASGIApp
    metrics_app: ASGIApp
    """`/metrics` alone, for a socket of its own."""
    overview: Callable[[], Awaitable[Overview]]
    end_streams: Callable[[], None]
    """Ends the streams of open pages, when other services take the place of these."""


def open_web(settings: WebSettings, features: Features, clock: Clock, meters: MetricRegistry) -> Web:
    """Return the applications over some features."""
    it, notifications = features, features.notifications
    quarantine = it.state.quarantine
    status = StatusApi(
        it.process,
        lambda: it.alerting.evaluation.report().alerts,
        lambda: notifications.service.report().suppressed(),
        it.collection.targets,
        it.health,
        it.services,
        it.shop,
        it.alerting.evaluation.metrics_of,
        quarantine,
    )
    history = partial(stage_history, it.state)
    alerts = AlertsApi(
        it.alerting.evaluation,
        notifications.service,
        history,
        it.alerting.acknowledgements,
        notifications.channels,
        notifications.drills,
        clock,
    )
    alertmanager = AlertmanagerApi(
        it.alerting.evaluation,
        it.alerting.external_alerts,
        notifications.service,
        notifications.silences,
        quarantine,
        clock,
    )
    logs, log_tail = LogsApi(it.logs.engine, clock), LogTail(it.logs.feed, clock)
    loki_tail = LokiTail(it.logs.engine, it.logs.feed, clock)
    rules = RulesApi(it.alerting.evaluation)
    silences = SilencesApi(notifications.silences, clock)
    effective_settings, audit = SettingsApi(it.settings), AuditApi(partial(recent_entries, it.state))
    about = AboutApi(it.process, it.flags, it.services, it.queries, clock)
    status_page = StatusPageApi(it.status_page, clock)
    live, sign_in = LiveUpdates(partial(_versions, it), clock), SignInPages(it.access, it.oidc, it.address)
    incidents = IncidentsApi(it.incidents.commands, lambda: it.incidents.service.policy, clock)
    on_call = OnCallApi(
        it.incidents.on_call,
        it.incidents.on_call_commands,
        lambda: it.incidents.service.policy,
        it.address or it.process.pages,
        clock,
    )
    runbooks = RunbooksApi(it.runbooks.commands)
    maintenance = MaintenanceApi(it.maintenance.commands)
    reports = ReportsApi(it.reports)
    slo = SloApi(it.review.levels)
    review = ReviewApi(it.review.reviews, it.review.proposals, it.review.limits)
    firings = FiringsApi(it.review.firings, clock)
    backtests = BacktestsApi(it.backtests, it.review.firings)
    deploys = DeploysApi(it.deploys, it.github_secret, clock)
    apis: list[HasRoutes] = [
        IngestApi(it.ingest.otlp, it.ingest.events, it.ingest.remote_write, settings.body_limit),
        logs,
        log_tail,
        LogPushApi(it.logs.receiver, settings.body_limit),
        LokiApi(it.logs.engine, clock, FairStreaming()),
        loki_tail,
        rules,
        effective_settings,
        audit,
        about,
        PrometheusRulesApi(it.alerting.evaluation),
        alerts,
        alertmanager,
        silences,
        incidents,
        on_call,
        runbooks,
        maintenance,
        reports,
        slo,
        firings,
        backtests,
        review,
        deploys,
        AnswerHooks(it.answers, clock),
        UptimerobotWebhook(it.alerting.external_alerts, clock),
        SentryWebhook(it.alerting.external_alerts, it.sentry_secret, it.sentry_bodies, clock, meters),
        QuarantineApi(QuarantineCommands(it.state), quarantine),
        ReloadApi(it.reload),
        BoardsApi(it.boards, it.client_queries, clock, deploys.between),
        OverviewPage(status, incidents.open_now, deploys.latest),
        IncidentsPages(
            incidents,
            IncidentChartReader(alerts, OrdersAround(it.queries, clock), it.alerting.engines, clock),
            runbooks,
        ),
        OnCallPages(on_call, clock),
        RunbooksPages(runbooks),
        MaintenancePages(maintenance),
        ReportsPage(reports),
        SloPage(slo),
        ReviewPage(review),
        BacktestsPages(backtests, clock),
        AlertsPages(alerts, it.queries, it.alerting.engines, clock),
        SilencesPages(silences, lambda: it.alerting.evaluation.report().alerts, notifications.service.report),
        RulesPages(rules, alerts, firings),
        TargetsPage(status),
        ChannelsPage(alerts),
        LogsPage(logs, clock),
        SettingsPage(effective_settings),
        AuditPage(audit),
        AboutPage(about),
        status_page,
        StatusPages(status_page, clock, it.address),
        BoardsPages(it.boards, it.client_queries, clock),
        PreferencesPage(),
        live,
        AccessApi(it.access, it.address or it.process.pages),
        sign_in,
        PasskeyPages(it.access, sign_in, it.address),
        UsersPages(it.access, it.address, clock),
        QueriesApi(it.store, clock),
        ExplorePage(it.client_queries, it.store, clock),
    ]
    runtime = PrometheusStatusApi(it.process.started, it.flags, it.store, clock, lambda: meters.value(CORRUPTIONS))
    app = application(
        status,
        it.health,
        it.queries,
        it.client_queries,
        it.store,
        it.collection,
        it.services,
        clock,
        runtime,
        [route for api in apis for route in api.routes()],
        it.address,
    )
    app.add_middleware(PageState, live=live)
    setattr(app.state, REPORT_FAILURES, quarantine.report)
    setattr(app.state, TIMEZONE, notifications.service.report().policy.settings.timezone)

    def end_streams() -> None:
        live.end()
        log_tail.end()
        loki_tail.end()

    return Web(app, metrics_alone(it.collection, it.queries, it.store, clock), status.overview, end_streams)


def _versions(features: Features) -> dict[str, object]:
    """Return what open pages show, in a form that can be compared."""
    alerts = [(it.fingerprint, it.status, it.acknowledged) for it in features.alerting.evaluation.report().alerts]
    notifications = features.notifications.service.report()
    return {
        "alerts": (alerts, notifications.suppressed()),
        "incidents": [(it.id, it.updated) for it in features.incidents.service.book.incidents.values()],
        "on_call": features.incidents.on_call.overrides,
        "runbooks": (features.runbooks.service.changes, features.runbooks.service.held),
        "maintenance": features.maintenance.service.changes,
        "backtests": features.backtests.changes,
        "firings": features.review.firings.changes,
        "thresholds": features.review.proposals.changes,
        "deploys": features.deploys.last,
        LOGS: features.logs.pipeline.stored,
        "targets": [(it.name, it.state) for it in features.collection.targets()],
        "channels": [(it.name, it.waiting, it.error) for it in notifications.channels],
    }
