"""What stays open as long as toban runs, and how it is opened."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import httpx2

import toban
from toban.access.assembly import Access
from toban.alerting.alert_store import AlertStore
from toban.alerting.backtests import Backtests
from toban.alerting.external_alerts import ExternalAlerts
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.collect.tools import CollectorTools
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, Service
from toban.deploys.service import DeployService
from toban.engines import Engines
from toban.incidents.service import IncidentService
from toban.instruments.error_reports import ErrorReports
from toban.logs.assembly import Logs
from toban.maintenance.service import MaintenanceService
from toban.notify.service import NotificationService
from toban.review.recorder import FiringRecorder
from toban.runbooks.service import RunbookService
from toban.settings import Settings
from toban.shop.connections import open_connections
from toban.state.database import State
from toban.web.api.status import ProcessInfo
from toban.web.http_server import HttpService

USER_AGENT: Final = f"toban/{toban.__version__}"
"""Identifies toban's own requests in the shop's logs."""


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


def open_http_client() -> httpx2.AsyncClient:
    """Return the one HTTP client."""
    return httpx2.AsyncClient(headers={"user-agent": USER_AGENT}, timeout=10)


async def open_collector_tools(
    stack: AsyncExitStack, settings: Settings, clock: Clock, meters: MetricRegistry
) -> CollectorTools:
    """Open what collectors may use, without state."""
    shop = await stack.enter_async_context(open_connections(settings.shop))
    return CollectorTools(await stack.enter_async_context(open_http_client()), clock, meters, shop)
