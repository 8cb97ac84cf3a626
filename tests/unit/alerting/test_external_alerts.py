"""External alerts, and the actors who post them."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.alerting import external_alerts, repository
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import REJECTED, RESOLVE_TIMEOUT, SLICE, ExternalAlerts, posted_alert
from toban.alerting.states import RESOLVED_RETENTION
from toban.core.actor import Actor
from toban.core.alerts import AlertStatus
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.state import audit_log
from toban.state.backends import SqliteBackend
from toban.state.database import State

PROMETHEUS = Actor("web.token", "token")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(tmp_path, clock):
    async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
        yield state


@pytest.fixture
async def store(state, tmp_path):
    async def urgent(changes):
        pass

    store = AlertStore(state, tmp_path, lambda: None, urgent)
    await store.open()
    return store


def posted(clock, name, *, over=False):
    return posted_alert({"alertname": name}, {}, clock.now(), clock.now() if over else clock.now() + timedelta(hours=1))


async def audit(state):
    return [(it.actor, it.action, dict(it.facts)) for it in await state.transaction(audit_log.recent)][::-1]


async def test_alerts_that_fire_or_resolve_are_audited_once(store, state, clock):
    """
    A Prometheus posts what fires again every minute: that is no news.
    """
    external = ExternalAlerts(store, clock, MetricRegistry())
    for _ in range(3):
        await external.post("Prometheus", [posted(clock, "a"), posted(clock, "b")], PROMETHEUS)
    await external.post("Prometheus", [posted(clock, "a", over=True)], PROMETHEUS)
    assert await audit(state) == [
        (PROMETHEUS, "posted alerts", {"source": "Prometheus", "fired": 2, "resolved": 0, "alerts": ["a", "b"]}),
        (PROMETHEUS, "posted alerts", {"source": "Prometheus", "fired": 0, "resolved": 1, "alerts": ["a"]}),
    ]


async def test_the_audit_row_of_what_happened_without_state_is_written_when_it_is_back(
    store, state, clock, tmp_path, monkeypatch
):
    """
    It waits in the fallback file beside its alert, also through a restart.
    """

    async def unavailable(work):
        raise StateError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(state, "transaction", unavailable)
        await ExternalAlerts(store, clock, MetricRegistry()).post("amtool", [posted(clock, "a")], PROMETHEUS)
    assert await audit(state) == []
    restarted = AlertStore(state, tmp_path, lambda: None, None)
    await restarted.open()
    facts = {"source": "amtool", "fired": 1, "resolved": 0, "alerts": ["a"]}
    assert await audit(state) == [(PROMETHEUS, "posted alerts", facts)]
    await restarted.catch_up()
    assert len(await audit(state)) == 1


def endless(*numbers):
    """Return alerts that are posted without an end."""
    return [posted_alert({"alertname": f"disk_{number}"}, {"summary": "The disk is full"}) for number in numbers]


async def test_an_alert_expires_unless_it_is_posted_again_and_is_removed_later(store, clock):
    external = ExternalAlerts(store, clock, MetricRegistry())
    await external.post("Prometheus", endless(1, 2), PROMETHEUS)
    clock.advance(RESOLVE_TIMEOUT.total_seconds() - 1)
    await external.post("Prometheus", endless(2), PROMETHEUS)
    clock.advance(1)
    await external.expire()
    assert {it.name: it.status.value for it in store.alerts()} == {"disk_1": "resolved", "disk_2": "firing"}
    clock.advance(RESOLVED_RETENTION.total_seconds() - 1)
    await external.post("Prometheus", endless(2), PROMETHEUS)
    await external.expire()
    assert len(store.alerts()) == 2
    clock.advance(1)
    await external.expire()
    assert {it.name: it.status for it in store.alerts()} == {"disk_2": AlertStatus.FIRING}


async def test_requests_at_the_same_time_lose_nothing(store, clock):
    """
    Of one source and of two, each larger than one step.
    """
    external, many = ExternalAlerts(store, clock, MetricRegistry()), SLICE + 10
    await asyncio.gather(
        external.post("one", endless(*range(many)), PROMETHEUS),
        external.post("one", endless(*range(many, 2 * many)), PROMETHEUS),
        external.post("other", endless(*range(many)), PROMETHEUS),
    )
    assert sorted(it.source for it in store.alerts()) == ["one"] * 2 * many + ["other"] * many


async def test_alerts_beyond_the_limit_are_rejected_and_counted(store, clock, monkeypatch):
    monkeypatch.setattr(external_alerts, "MAX_ALERTS", SLICE + 10)
    metrics = MetricRegistry()
    external = ExternalAlerts(store, clock, metrics)
    await external.post("one", endless(*range(SLICE + 5)), PROMETHEUS)
    await external.post("other", endless(*range(SLICE)), PROMETHEUS)
    assert len(store.alerts()) == SLICE + 10
    assert {family.name: list(values) for family, _, values in metrics.series()}[REJECTED.name] == [SLICE - 5]


async def test_one_of_many_alerts_that_is_posted_again_is_written_alone(store, clock, monkeypatch):
    external, written, save = ExternalAlerts(store, clock, MetricRegistry()), [], repository.save
    await external.post("Prometheus", endless(*range(100)), PROMETHEUS)
    monkeypatch.setattr(repository, "save", lambda connection, it: written.append(len(it)) or save(connection, it))
    clock.advance(1)
    await external.post("Prometheus", endless(7), PROMETHEUS)
    await external.expire()
    assert written == [1]
    clock.advance(RESOLVE_TIMEOUT.total_seconds())
    await external.expire()
    assert written == [1, 100]
