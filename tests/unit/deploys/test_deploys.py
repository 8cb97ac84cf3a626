"""Deploys: recorded once, noticed at Fly.io, and compared with the time before."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from toban.core.actor import Actor
from toban.core.deploys import TOPIC, Deploy
from toban.core.errors import InvalidCommandError
from toban.core.metric_registry import MetricRegistry
from toban.deploys.guard import Aspect, Regression, Traffic, regressions
from toban.deploys.service import DeployPorts, DeployService
from toban.deploys.settings import DeploySettings
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.state import audit_log, event_log
from toban.state.backends import SqliteBackend
from toban.state.database import State
from toban.web.api.deploys import _github_deploy

ANN = Actor("ann", "session")
CALM = Traffic(requests=1_000, errors=5, p95=0.2, orders=20)


@pytest.mark.parametrize(
    ("before", "after", "usual", "found"),
    [
        (CALM, CALM, 1.0, []),
        (CALM, replace(CALM, errors=20), 1.0, []),
        (CALM, replace(CALM, errors=30), 1.0, [Aspect.ERRORS]),
        (CALM, replace(CALM, p95=0.29), 1.0, []),
        (CALM, replace(CALM, p95=0.5), 1.0, [Aspect.LATENCY]),
        (CALM, replace(CALM, orders=9), 1.0, [Aspect.ORDERS]),
        (CALM, replace(CALM, orders=9), 0.5, []),
        (CALM, replace(CALM, orders=0), None, []),
        (replace(CALM, requests=10), replace(CALM, requests=10, errors=9), 1.0, []),
        (replace(CALM, orders=3), replace(CALM, orders=0), 1.0, []),
        (Traffic(), Traffic(), None, []),
        (CALM, replace(CALM, errors=100, p95=2.0, orders=0), 1.0, [Aspect.ERRORS, Aspect.LATENCY, Aspect.ORDERS]),
    ],
)
def test_only_what_became_clearly_worse_is_found(before, after, usual, found):
    assert [it.aspect for it in regressions(before, after, usual)] == found


def test_what_became_worse_is_said_with_both_values():
    [found] = regressions(CALM, replace(CALM, errors=100), None)
    assert found.text == "10.0% of requests fail, 0.5% before"


class Life:
    """The deploys of one process over a script of samples."""

    def __init__(self, folder, source: ScriptSource, engine) -> None:
        self.clock = FakeClock()
        self.source = source
        self.state = State(SqliteBackend(folder / "toban.db"), self.clock, MetricRegistry())
        self.service = DeployService(self.state, self.clock, MetricRegistry())
        self.reported: list[tuple[str, list[str]]] = []
        self.told = 0
        self.service.configure(DeployPorts(DeploySettings(), engine, self._report, self._tell))

    async def _report(self, deploy: Deploy, found: list[Regression], until: datetime) -> None:
        assert until > self.clock.now()
        self.reported.append((deploy.version, [it.aspect.value for it in found]))

    def _tell(self) -> None:
        self.told += 1


@pytest.fixture
async def life(tmp_path):
    source = ScriptSource()
    async with QueryExecutor(PromqlEngine(source)) as engine:
        yield Life(tmp_path, source, engine)


async def test_a_deploy_is_recorded_once_whoever_reports_it(life):
    now = life.clock.now()
    assert await life.service.record(Deploy("v1", now, "api", "ann"), ANN)
    assert not await life.service.record(Deploy("v1", now + timedelta(minutes=5), "github"), ANN)
    assert await life.service.record(Deploy("v1", now - timedelta(hours=3), "api"), ANN)
    assert [it.source for it in await life.service.deploys(now - timedelta(days=1), now)] == ["api", "api"]
    assert life.service.last.by == "ann"
    assert life.told == 2
    rows = await life.state.transaction(audit_log.recent)
    assert [row.action for row in rows] == ["recorded a deploy"] * 2
    subscribed = await life.state.transaction(
        lambda connection: (event_log.subscribe(connection, "x", from_start=True), event_log.read(connection, "x"))[1]
    )
    assert [event.topic for event in subscribed] == [TOPIC, TOPIC]


@pytest.mark.parametrize(
    ("deploy", "field"),
    [
        (Deploy(" ", datetime.fromisoformat("2026-01-01T00:00+00:00"), "api"), "version"),
        (Deploy("v1", datetime.fromisoformat("2026-01-02T00:00+00:00"), "api"), "at"),
        (Deploy("v1", datetime.fromisoformat("2026-01-01T00:00+00:00"), "api", url="javascript:x"), "url"),
        (Deploy("v" * 300, datetime.fromisoformat("2026-01-01T00:00+00:00"), "api"), "version"),
    ],
)
async def test_what_makes_no_sense_is_rejected(life, deploy, field):
    with pytest.raises(InvalidCommandError) as caught:
        await life.service.record(deploy, ANN)
    assert caught.value.field == field


async def test_a_new_release_at_fly_is_a_deploy_and_the_first_one_seen_is_not(life):
    start = life.clock.now()
    at = [round((start + timedelta(seconds=30 * step)).timestamp() * 1000) for step in range(10)]
    life.source.add(
        {"__name__": "fly_app_release", "app": "shop"}, [(time, 63 if n < 5 else 64) for n, time in enumerate(at)]
    )
    for _ in range(9):
        await life.service.once()
        life.clock.advance(30)
    found = await life.service.deploys(start, life.clock.now())
    assert [(it.version, it.source) for it in found] == [("shop v64", "fly")]


async def test_the_time_after_a_deploy_is_compared_for_half_an_hour(life):
    start = life.clock.now()
    deployed = start + timedelta(hours=1)
    total = errors = 0.0
    requests, failed = [], []
    for minute in range(150):
        at = start + timedelta(minutes=minute)
        total += 100
        errors += 20 if at > deployed else 0
        requests.append((round(at.timestamp() * 1000), total))
        failed.append((round(at.timestamp() * 1000), errors))
    life.source.add({"__name__": "vendure_api_requests_total", "status": "200"}, requests)
    life.source.add({"__name__": "vendure_graphql_errors_total", "fault": "shop"}, failed)
    life.clock.advance(3_600)
    await life.service.record(Deploy("v2", deployed, "api"), ANN)
    for _ in range(80):
        await life.service.once()
        life.clock.advance(30)
    assert {it for _, found in life.reported for it in found} == {"errors"}
    assert {version for version, _ in life.reported} == {"v2"}
    assert 50 <= len(life.reported) <= 56  # from 3 to 30 minutes after it


def test_githubs_events_become_deploys():
    now = datetime.fromisoformat("2026-01-01T00:00+00:00")
    status = {
        "deployment_status": {
            "state": "success",
            "created_at": "2026-01-01T00:01:00Z",
            "log_url": "https://g.example/1",
        },
        "deployment": {"ref": "main", "sha": "abcdef0123456789", "environment": "production"},
        "sender": {"login": "ann"},
    }
    found = _github_deploy("deployment_status", status, now)
    assert (found.version, found.by, found.text) == ("main", "ann", "production abcdef012345")
    assert found.at == now + timedelta(minutes=1)
    pending = {**status, "deployment_status": {"state": "pending"}}
    assert _github_deploy("deployment_status", pending, now) is None
    release = {"action": "published", "release": {"tag_name": "v3", "html_url": "javascript:x", "name": "Three"}}
    found = _github_deploy("release", release, now)
    assert (found.version, found.url, found.text) == ("v3", "", "Three")
    assert _github_deploy("push", {}, now) is None
    assert _github_deploy("release", [], now) is None
