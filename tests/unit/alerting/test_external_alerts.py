"""Alerts that are posted by others, and who posted them."""

from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import ExternalAlerts, posted_alert
from toban.core.actor import Actor
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
