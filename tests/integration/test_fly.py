"""Fly as a strict fake, with a real VictoriaMetrics as its Prometheus."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.fake_fly import FakeFly
from tests.fake_http import broken, busy, half, late, reset, says
from tests.fakes import FakeClock
from tests.fly_day import GIB, SCRAPE, Day, clock
from tests.integration.scraping import collector_tools, open_scraper
from tests.rule_evaluation import RuleEvaluation
from tests.vendure_shop import SLOW
from toban.alerting.rule_file import RuleGroup
from toban.alerting.rule_loader import shipped_groups
from toban.collect.collectors.fly.fly import Fly
from toban.collect.service import ScrapeLoop
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.shop.fly import authorization
from toban.state.backends import SqliteBackend
from toban.state.database import State
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
RULES = ("fly_machine_not_as_wanted", "fly_machine_crash_loop", "high_error_rate", "high_memory_usage",
         "disk_usage_high", "out_of_memory_kill")  # fmt: skip


def collector(fly, **fields):
    given = {"token": fly.token, "org": fly.org, "api": fly.api, "metrics": fly.metrics, **fields}
    return Fly.model_validate({"kind": "fly", "name": "fly", **given})


def rules() -> list[RuleGroup]:
    """Return the shipped rules that Fly's numbers can fire."""
    found = [
        replace(group, rules=tuple(rule for rule in group.rules if rule.name in RULES)) for group in shipped_groups()
    ]
    return [group for group in found if group.rules]


class FlyMonitoring:
    """A toban beside Fly: it looks every minute, keeps, and judges."""

    def __init__(
        self, store: Store, state: State, tools: CollectorTools, fly: FakeFly, clock: FakeClock, folder: Path
    ) -> None:
        self.store, self.fly, self.clock = store, fly, clock
        self.watch = ScrapeLoop(collector(fly), store, replace(tools, clock=clock, state=state))
        self.evaluated = RuleEvaluation(rules(), store, state, folder, clock)

    async def minute(self) -> None:
        await self.watch.collect()
        for bench in self.evaluated.evaluation.groups:
            await self.evaluated.evaluation.evaluate(bench)
        if self.clock.now().minute == 0:
            await self.store.maintain()

    def usage(self, query: str, *by: str) -> dict[tuple[str, ...], float]:
        """Ask PromQL, and return the values by some labels."""
        response = self.evaluated.engine.engine.instant(query, milliseconds(self.clock.now()))
        return {tuple(one.labels.get(name, "") for name in by): float(one.values[-1]) for one in response.series}

    def one(self, query: str) -> float:
        """Return the only value."""
        (only,) = self.usage(query, "instance", "app").values()
        return only


@asynccontextmanager
async def living(folder: Path, victoria: str, start: datetime) -> AsyncIterator[tuple[FlyMonitoring, Day]]:
    """Let a toban and a pretended Fly live on the same clock."""
    clock, meters = FakeClock(start), MetricRegistry()
    async with AsyncExitStack() as stack:
        fly = await stack.enter_async_context(FakeFly(clock, victoria))
        tools = await stack.enter_async_context(collector_tools())
        state = await stack.enter_async_context(State(SqliteBackend(folder / "toban.db"), clock, meters))
        store = stack.enter_context(Store(folder / "tsdb", TsdbSettings(), clock, meters))
        life = FlyMonitoring(store, state, tools, fly, clock, folder)
        await life.evaluated.evaluation.open()
        yield life, Day(fly)


async def scraped(victoria: httpx2.AsyncClient, lines: list[str]) -> None:
    """Put what was scraped into Fly's Prometheus."""
    (await victoria.post("/api/v1/import/prometheus", content="\n".join(lines))).raise_for_status()
    (await victoria.get("/internal/force_flush")).raise_for_status()


ALERTS = """
09:54 firing high_memory_usage w1
10:01 resolved high_memory_usage w1
10:01 firing out_of_memory_kill w1
10:15 resolved out_of_memory_kill w1
12:05 firing fly_machine_crash_loop s2
12:07 firing high_error_rate shop
12:13 firing fly_machine_not_as_wanted s2
12:21 resolved fly_machine_crash_loop s2
12:41 resolved fly_machine_not_as_wanted s2
12:43 resolved high_error_rate shop
18:03 firing fly_machine_not_as_wanted f1
18:11 resolved fly_machine_not_as_wanted f1
19:12 firing disk_usage_high d1
21:01 resolved disk_usage_high d1
"""
MACHINES = ("s1", "s2", "s3", "w1", "f1", "f2", "d1")


def quiet(life: FlyMonitoring, day: Day) -> None:
    """Look at every number of a minute in which nothing happens."""
    usage = {name: day.usage[name] for name in MACHINES}
    assert life.usage("system_memory_usage_bytes", "instance") == {
        (name,): pytest.approx(it.memory * GIB, abs=1) for name, it in usage.items()
    }
    assert life.usage("system_cpu_usage_percent", "instance") == {
        (name,): pytest.approx(100 * it.busy, abs=0.5) for name, it in usage.items()
    }
    assert set(life.usage("system_cpus", "instance").values()) == {2}
    assert life.one('avg by (app) (system_disk_size_bytes{mount="/",app="storefront"})') == pytest.approx(8e9, abs=4096)
    assert life.one('system_disk_usage_bytes{mount="/data"}') == pytest.approx(6e9, abs=4096)
    assert life.one('fly_volume_used_ratio{volume="vol_1"}') == pytest.approx(0.6)
    assert life.one("fly_volume_attached") == 1
    assert life.one('rate(system_network_receive_bytes_total{instance="s1"}[5m])') == pytest.approx(1000)
    assert life.usage("fly_machine_as_wanted", "instance", "app", "group")["w1", "shop", "worker"] == 1
    assert set(life.usage("fly_machine_as_wanted", "instance").values()) == {1}
    assert life.usage("fly_app_release", "app") == dict.fromkeys([("shop",), ("shop-db",), ("storefront",)], 63)
    assert life.usage("sum by (app) (rate(fly_edge_http_responses_count[5m]))", "app") == {
        (app,): pytest.approx(8, rel=0.01) for app in ("shop", "storefront")
    }
    half = "histogram_quantile(0.5, sum by (le) (rate(fly_edge_http_response_time_seconds_bucket[5m])))"
    assert life.one(half) == pytest.approx(0.1, rel=0.01)
    mean = "_sum[5m])) / sum(rate(fly_edge_http_response_time_seconds_count"
    assert life.one(f'sum(rate(fly_edge_http_response_time_seconds{mean}{{status="200"}}[5m]))') == pytest.approx(0.2)
    assert life.one('up{job="fly"}') == 1


def resting(life: FlyMonitoring, day: Day) -> None:
    """A machine that rests is well, and has no numbers of a running one."""
    assert life.usage('fly_machine_state{state="stopped"}', "instance") == {("s3",): 1, ("f2",): 1}
    assert set(life.usage("fly_machine_as_wanted", "instance").values()) == {1}
    assert {name for (name,) in life.usage("system_memory_usage_bytes", "instance")} == {*MACHINES} - {"s3", "f2"}


def deploying(life: FlyMonitoring, day: Day) -> None:
    """Somebody holds the machines, which are on their way."""
    assert {name for (name,) in life.usage("fly_machine_lease_expiry_timestamp_seconds", "instance")} == {
        *("s1", "s2", "s3", "w1")
    }
    assert set(life.usage("fly_machine_as_wanted", "instance").values()) == {1}


def deployed(life: FlyMonitoring, day: Day) -> None:
    """The release has changed, once; nobody holds anything."""
    assert life.one('fly_app_release{app="shop"}') == 64
    assert life.one('changes(fly_app_release{app="shop"}[1h])') == 1
    assert life.usage('fly_machine_info{instance="s1"}', "image", "release") == {("shop:deployment-64", "64"): 1}
    assert life.usage("fly_machine_lease_expiry_timestamp_seconds", "instance") == {}


def proxies_anew(life: FlyMonitoring, day: Day) -> None:
    """Proxies that began anew have served nobody twice."""
    assert life.one('sum(increase(fly_edge_http_responses_count{app="shop"}[20m]))') == pytest.approx(9600, rel=0.02)


def killed(life: FlyMonitoring, day: Day) -> None:
    """What was ended for want of memory is told with its time."""
    assert life.one('fly_machine_exits_total{reason="oom"}') == 1
    assert life.one("system_oom_kills_total") == 1
    at = BEGAN + timedelta(hours=10)
    assert life.one("fly_machine_last_oom_timestamp_seconds") == at.timestamp()


def crashed(life: FlyMonitoring, day: Day) -> None:
    """Each crash is counted, and the machine stays down."""
    assert life.one('fly_machine_exits_total{reason="crash"}') == 6
    assert life.one('fly_machine_restarts{instance="s2"}') == 6
    assert life.one('fly_machine_as_wanted{instance="s2"}') == 0


def in_trouble(life: FlyMonitoring, day: Day) -> None:
    """The target is down while Fly answers nothing of use."""
    assert life.one('up{job="fly"}') == 0


def evening(life: FlyMonitoring, day: Day) -> None:
    """What visitors met all day is complete, also what was asked for after the trouble."""
    first, last = BEGAN + timedelta(seconds=30), life.clock.now() - timedelta(seconds=30)
    for app in ("shop", "storefront"):
        for (status,), value in life.usage(f'fly_edge_http_responses_count{{app="{app}"}}', "status").items():
            met = day.visits[last][app][status] - day.visits[first][app].get(status, 0)
            assert value == pytest.approx(met, abs=1), (app, status)


CHECKS = {
    clock("07:45"): quiet,
    clock("04:00"): resting,
    clock("08:05"): deploying,
    clock("08:15"): deployed,
    clock("09:15"): proxies_anew,
    clock("10:05"): killed,
    clock("12:20"): crashed,
    clock("16:10"): in_trouble,
    clock("23:30"): evening,
}


@SLOW
@pytest.mark.parametrize(("begin", "end"), [("07:00", "13:00"), pytest.param("00:00", "24:00", marks=pytest.mark.soak)])
async def test_a_day_of_seven_machines(
    tmp_path: Path, record_property: Callable[[str, object], None], begin: str, end: str
):
    """
    Deploys, an autostop, memory running out, a crash loop, a host that is lost, a volume that fills, proxies that start
    anew, and an API that has a bad quarter of an hour: every number and every alert is right, and Fly is asked less
    than it allows.
    """
    with servers.victoria() as server:
        url = f"http://127.0.0.1:{server.port}"
        start = BEGAN + timedelta(minutes=clock(begin))
        async with living(tmp_path, url, start) as (life, day), httpx2.AsyncClient(base_url=url) as victoria:
            for minute in range(clock(begin), clock(end)):
                day.play(minute)
                lines = list[str]()
                for _ in range(4):
                    life.clock.advance(SCRAPE.total_seconds())
                    lines += day.move(life.clock.now())
                await scraped(victoria, lines)
                if clock("16:00") <= minute < clock("16:15"):
                    fault = late if minute == clock("16:09") else (busy(60), broken, half, reset)[minute % 4]
                    life.fly.next(*[fault] * 3)
                await life.minute()
                if minute in CHECKS:
                    CHECKS[minute](life, day)
            changes = await life.evaluated.changes()
            record_property("requests a minute", max(life.fly.per_minute.values()))
    usage = [(change.alert, f"{change.at:%H:%M} {change.alert.status.value} {change.alert.name}") for change in changes]
    expected = [line for line in ALERTS.splitlines()[1:] if begin <= line[:5] < end]
    assert [f"{what} {alert.labels.get('instance') or alert.labels['app']}" for alert, what in usage] == expected
    assert max(life.fly.per_minute.values()) <= 20


# What else may come.


@pytest.fixture
async def fly():
    async with FakeFly(FakeClock(BEGAN)) as it:
        yield it


@pytest.fixture
async def tools(fly):
    async with collector_tools() as tools:
        yield replace(tools, clock=fly.clock)


async def scrape_once(one, tools):
    found = await open_scraper(one, tools).collect()
    return found, {
        (sample.family.name, sample.labels.get("instance", sample.labels.get("app"))): sample.value
        for sample in found.samples
    }


async def test_machines_are_reported_while_prometheus_is_unavailable(fly, tools):
    """
    What one of Fly's services can't say the other still does: the target is down, and half of it is seen.
    """
    fly.add("shop", "s1")
    found, numbers = await scrape_once(collector(fly), tools)
    assert "prometheus/shop-gmbh/api/v1/query: answered 422" in found.error
    assert numbers["fly_machine_as_wanted", "s1"] == 1
    assert "in plain text" not in str(found)


async def test_a_missing_app_does_not_affect_the_others(fly, tools):
    """
    Its name is told.
    """
    fly.add("shop", "s1")
    found, numbers = await scrape_once(collector(fly, apps=["gone", "shop"]), tools)
    assert found.error.startswith("fly: GET apps/gone/machines: answered 404")
    assert numbers["fly_machine_as_wanted", "s1"] == 1


async def test_the_organisation_is_that_of_the_first_app(fly, tools):
    """
    Its slug stands nowhere in a machine's environment.
    """
    fly.add("shop", "s1")
    found, _ = await scrape_once(collector(fly, org="", apps=["shop"]), tools)
    assert "prometheus/shop-gmbh/" in found.error
    with pytest.raises(CollectError, match="neither `apps` nor `org` is set"):
        await collector(fly, org="").collect(tools)


async def test_a_token_without_permission_is_an_error_with_the_remedy(fly, tools):
    """
    Without the token itself.
    """
    fly.add("shop", "s1")
    with pytest.raises(CollectError, match="fly tokens create readonly") as caught:
        await collector(fly, token="FlyV1 fm2_other").collect(tools)
    assert "fm2_other" not in str(caught.value)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"null", b'"machines"', b'[1, {}, {"id": 5}]', b'{"apps": [{}, 3]}'])
async def test_an_invalid_response_of_fly_is_an_error(fly, tools, body):
    """
    Wherever it comes; the next look is well.
    """
    fly.add("shop", "s1")
    one = collector(fly)
    await open_scraper(one, tools).collect()
    fly.clock.advance(300)
    fly.next(*[says(200, body)] * 8)
    found = await open_scraper(one, tools).collect()
    assert found.error
    fly.clear_faults()
    fly.clock.advance(60)
    assert (await scrape_once(one, tools))[1]["fly_machine_as_wanted", "s1"] == 1


async def test_exits_are_counted_once_across_restarts(fly, tools, tmp_path):
    """
    Those before the first look are not; those while toban was away are.
    """
    machine = fly.add("shop", "s1")
    fly.exit(machine, exit_code=1)
    clock = fly.clock

    async def ends():
        async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
            one, found = collector(fly).open(replace(tools, state=state)), []
            for _ in range(2):
                clock.advance(60)
                found.append((await one.collect()).batches)
            return [
                {
                    str(labels): value
                    for batch in batches
                    for labels, value in zip(batch.layout.series, batch.values, strict=True)
                }
                for batches in found
            ]

    assert await ends() == [{}, {}]
    fly.exit(machine, oom_killed=True)
    first, second = await ends()
    assert first == second
    assert sorted(first.values()) == [1, 1]
    fly.exit(machine, exit_code=3)
    assert sorted((await ends())[1].values()) == [1, 1, 1]
    assert sorted((await ends())[1].values()) == [1, 1, 1]


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("FlyV1 fm2_abc,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("fm2_abc", "FlyV1 fm2_abc"),
        ("an-old-token", "Bearer an-old-token"),
    ],
)
def test_the_authorization_header_depends_on_the_token(token, header):
    """
    Macaroons bring a word of their own.
    """
    assert authorization(token) == header
