"""The generation of services that is built from each configuration, on one foundation."""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from toban.access.oidc import OidcProvider
from toban.alerting.assembly import Alerting, AlertingPorts, open_alerting
from toban.alerting.rule_replays import RuleReplays
from toban.alerting.service import CollectedTargets, EvaluationService
from toban.alerting.templating.template import External
from toban.answers.assembly import Answers, open_answers
from toban.collect.assembly import open_collection
from toban.collect.service import CollectionService
from toban.collect.tools import CollectorTools
from toban.core.actor import Actor
from toban.core.alerts import Alert
from toban.core.item_isolation import health_by_service
from toban.core.lifecycle import ResourceStack
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import host_names
from toban.core.ports import Clock, HealthStatus, LineSink, Service
from toban.dashboards.board_loader import Boards
from toban.engines import rule_engines
from toban.foundation import Foundation
from toban.health.checks import checks
from toban.health.components import component_of
from toban.health.impact import ShopImpact
from toban.health.service import HealthService
from toban.health.shop_report import ShopReport
from toban.incidents.assembly import Incidents, open_incidents
from toban.ingest.assembly import Ingest, IngestPorts, open_ingest
from toban.logs.assembly import open_shippers, open_tails
from toban.logs.fly_log_stream import FlyLogConnection, FlyLogStream
from toban.maintenance.assembly import Maintenance, open_maintenance
from toban.notify.assembly import Notifications, channel_tools, open_notifications, policy
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.oncall.service import OnCallService
from toban.reports.service import ReportService
from toban.review.assembly import Review, ReviewPorts, open_review
from toban.runbooks.assembly import Runbooks, open_runbooks
from toban.service_ports import (
    deploy_ports,
    evaluated_rules,
    incident_ports,
    maintenance_ports,
    on_call_zone,
    open_reports,
    recorder_ports,
    review_thresholds,
    runbook_ports,
)
from toban.settings import Settings, load_rules, service_levels
from toban.shop.connections import open_connections
from toban.status_page.commands import StatusPage
from toban.web.assembly import Features, Web, open_web
from toban.web.sentry_webhook import ReceivedBodies


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
                settings,
                base,
                tools,
                notifications.silences,
                missing,
                lambda order: reports.send(order),
                lambda tell: review_thresholds(review.proposals, tell),
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
                incidents.history,
                settings.source,
                self._reload,
            ),
            base.state,
            clock,
            meters,
        )
        reports = open_reports(settings, base, incidents, maintenance, review)
        answers = open_answers(
            settings.channels,
            lambda: channel_tools(settings.notify, settings.shop.title, tools.http, clock),
            incidents,
            runbooks,
            base.access.service,
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
            rules = policy(settings.notify, settings.channels, settings.personal_channels)
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
