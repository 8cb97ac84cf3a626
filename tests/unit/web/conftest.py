"""Pages over an engine in memory, without a socket."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import numpy as np
import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.collect.service import TargetStatus
from toban.core.alerts import Alert
from toban.core.item_isolation import ItemFailure
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import HealthStatus
from toban.core.samples import Batch, Layout, counter, gauge
from toban.health.checks import checks
from toban.health.service import HealthService
from toban.health.shop_report import ShopReport
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.shop.settings import ShopSettings
from toban.web.api.deploys import DeployModel
from toban.web.api.status import ProcessInfo, StatusApi
from toban.web.application import application
from toban.web.auth import NetworkAccess
from toban.web.endpoint import Endpoint
from toban.web.pages.overview import OverviewPage
from toban.web.prometheus_status import PrometheusStatusApi
from toban.web.settings import WebSettings


async def nothing_deployed() -> list[DeployModel]:
    return []


NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = round(NOW.timestamp() * 1000)
UP, DOWN = {"job": "host", "instance": "local"}, {"job": "postgres", "instance": "db:5432/shop"}


class Pretend:
    """Stands for the collecting service: two targets, one of them down."""

    name = "collect"
    condition = HealthStatus(True, "2 targets watched")

    def __init__(self) -> None:
        self.more: list[TargetStatus] = []

    def targets(self) -> list[TargetStatus]:
        return [
            TargetStatus("host", "host", UP, 30, NOW, 0.5, 3, True),
            TargetStatus("postgres", "postgres", DOWN, 30, NOW, 0.1, 0, False, "<b>wrong password</b>"),
            TargetStatus("late", "http", {"job": "late", "instance": "http://x/"}, 30),
            *self.more,
        ]

    def newest(self) -> list[Batch]:
        families = gauge("heat", 'How "warm" it is.'), counter("orders_total", "Orders.")
        layout = Layout([Labels(__name__="heat", room="a\nb"), Labels(__name__="orders_total")], families)
        return [Batch(layout, AT, np.array([20.5, 3.0]))]

    def health(self) -> HealthStatus:
        return self.condition


@pytest.fixture
def collecting() -> Pretend:
    return Pretend()


@pytest.fixture
def source() -> ScriptSource:
    """Three series over the last minutes: `up` of two targets, and a disk that is a tenth full."""
    source = ScriptSource()
    times = [AT - 60_000, AT - 30_000, AT]
    for labels, values in ((UP, (1, 1, 1)), (DOWN, (1, 1, 0))):
        source.add({"__name__": "up", **labels}, zip(times, values, strict=True))
    for name, value in (("system_disk_usage_bytes", 10), ("system_disk_available_bytes", 90)):
        source.add({"__name__": name, "mount": "/", **UP}, [(time, value) for time in times])
    return source


@pytest.fixture
def alerts() -> list[Alert]:
    """What stands: nothing, until a test says otherwise."""
    return []


@pytest.fixture
def failures() -> list[ItemFailure]:
    """The parts of pages that could not be shown."""
    return []


FLAGS = {"evaluation_interval": "15s", "storage.tsdb.retention.time": "90d"}


@pytest.fixture
def endpoints() -> list[Endpoint]:
    """Endpoints of a test beside those that are always there."""
    return []


@pytest.fixture
async def client(
    request: pytest.FixtureRequest, source, collecting, alerts, failures, endpoints
) -> AsyncIterator[httpx2.AsyncClient]:
    """Asks the pages, as somebody on this machine; marked with `listening`, as somebody elsewhere."""
    marked = request.node.get_closest_marker("listening")
    settings = WebSettings(**marked.kwargs) if marked else WebSettings()
    clock = FakeClock(NOW)
    async with QueryExecutor(PromqlEngine(source)) as engine:
        shop = ShopSettings(database="postgresql://db/shop")
        health = HealthService(*checks(shop), engine, clock)
        own = StatusApi(
            ProcessInfo(NOW, "/data", "http://127.0.0.1:9119"),
            alerts.copy,
            dict,
            collecting.targets,
            health,
            [collecting],
            ShopReport(engine, clock, UTC),
            lambda _: (),
        )
        app = application(
            own,
            health,
            engine,
            engine,
            source,
            collecting,
            [collecting],
            clock,
            PrometheusStatusApi(NOW, FLAGS, source, clock, lambda: 0),
            [*OverviewPage(own, list, nothing_deployed).routes(), *endpoints],
        )
        app.state.report_failures = lambda owner, found: failures.extend(found)
        transport = httpx2.ASGITransport(NetworkAccess(app, settings, MetricRegistry()))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
