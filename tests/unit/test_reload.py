"""One generation of services after the other."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.fakes import FakeClock
from toban.core.actor import SIGNAL, Actor
from toban.core.errors import SettingsError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import HealthStatus
from toban.reload import SUCCESSFUL, ReloadService, unchangeable
from toban.settings import Settings, build_settings
from toban.state.audit_log import AuditEntry

ANN = Actor("ann", "local socket")


@dataclass
class RecordingService:
    """A service that notes when it runs."""

    name: str
    log: list[str]

    async def run(self) -> None:
        self.log.append(f"{self.name} runs")
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append(f"{self.name} ends")

    def health(self) -> HealthStatus:
        return HealthStatus(True, "")


@dataclass
class FakeGeneration:
    """A generation of one service."""

    settings: Settings
    log: list[str]
    services: list[RecordingService] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = [RecordingService(self.settings.notify.language, self.log)]

    async def finish(self) -> None:
        self.log.append(f"{self.services[0].name} finishes")

    async def close(self) -> None:
        self.log.append(f"{self.services[0].name} closes")


def configured(**settings: object) -> Settings:
    return build_settings(settings, {"HOME": "/home/ann"}, "a test")


class ReloadSetup:
    """A reloading whose settings are what the test says."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.read = 0
        self.audit: list[AuditEntry] = []
        self.next: Settings | Exception = configured()
        self.meters = MetricRegistry()
        self.reloading = ReloadService(self._read, self._audit, FakeClock(), self.meters)

    async def begin(self) -> None:
        await self.reloading.begin(configured(), self._build, self._take_over)

    def _read(self) -> Settings:
        self.read += 1
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    async def _build(self, settings: Settings, before: object) -> FakeGeneration:
        return FakeGeneration(settings, self.log)

    async def _audit(self, entry: AuditEntry) -> None:
        self.audit.append(entry)

    async def _take_over(self, after: FakeGeneration, before: FakeGeneration | None) -> None:
        if before:
            self.log.append("taken over")


@pytest.fixture
async def bench():
    bench = ReloadSetup()
    await bench.begin()
    task = asyncio.create_task(bench.reloading.run())
    await asyncio.sleep(0)
    yield bench
    task.cancel()
    await asyncio.wait([task])


async def test_old_services_stop_before_new_ones_start(bench):
    """
    And is closed last.
    """
    bench.next = configured(notify={"language": "ja"})
    assert await bench.reloading.reload(ANN) == ""
    await asyncio.sleep(0)
    assert bench.log == ["en runs", "en finishes", "en ends", "taken over", "en closes", "ja runs"]
    assert bench.reloading.health().ok


@pytest.mark.parametrize("error", [SettingsError("toban.yaml: web: wrong"), ZeroDivisionError("wrong")])
async def test_an_invalid_configuration_changes_nothing(bench, error):
    """
    Also a fault in reading.
    """
    bench.next = error
    assert "wrong" in await bench.reloading.reload(ANN)
    assert bench.log == ["en runs"]
    assert [(it.actor, it.action, "wrong" in it.facts["error"]) for it in bench.audit] == [
        (ANN, "reloaded the configuration", True)
    ]
    assert not bench.reloading.health().ok
    assert bench.meters.value(SUCCESSFUL) == 0
    bench.next = configured()
    assert await bench.reloading.reload(ANN) == ""
    assert bench.meters.value(SUCCESSFUL) == 1


async def test_concurrent_reloads_are_combined(bench):
    """
    By the reading that runs, at most, and one more.
    """
    for _ in range(1_000):
        bench.reloading.request(SIGNAL)
    assert set(await asyncio.gather(*(bench.reloading.reload(ANN) for _ in range(50)))) == {""}
    assert bench.read <= 2
    assert {it.actor for it in bench.audit} == {ANN, SIGNAL}
    assert len(bench.audit) <= 3


async def test_a_failing_service_ends_the_process(bench):
    """
    As without reloads: the next start finds everything in state.
    """

    class Broken(RecordingService):
        async def run(self) -> None:
            raise ZeroDivisionError

    async def build(settings: Settings, before: FakeGeneration | None) -> FakeGeneration:
        generation = FakeGeneration(settings, bench.log)
        generation.services = [Broken("broken", bench.log)]
        return generation

    reloading = ReloadService(bench._read, bench._audit, FakeClock(), MetricRegistry())
    await reloading.begin(configured(), build, bench._take_over)
    with pytest.raises(ExceptionGroup):
        await reloading.run()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"data": "/elsewhere"}, ["data"]),
        ({"state": "postgresql://db/toban"}, ["state"]),
        ({"web": {"listen": "127.0.0.1:1", "metrics": "127.0.0.1:2"}}, ["web.listen", "web.metrics"]),
        ({"metrics": {"retention": "1d", "lookback_delta": "1m"}}, ["metrics.lookback_delta", "metrics.retention"]),
        ({"web": {"token": "x"}, "shop": {"redis": "redis://h"}, "notify": {"language": "ja"}}, []),
    ],
)
def test_settings_that_need_a_restart_are_named(changed, named):
    """
    Files and sockets stay open.
    """
    assert sorted(unchangeable(configured(), configured(**changed))) == named
