"""The history of firings, as both databases keep it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from toban.core import acts, alerts, deploys, notification, runbook_events
from toban.core.acts import Act
from toban.core.alerts import Acknowledgement, Alert, AlertChange, AlertStatus
from toban.core.deploys import Deploy
from toban.core.errors import StateError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Delivery
from toban.core.runbook_events import RunbookEvent
from toban.review import repository
from toban.review.firing import Firing, FiringAct, MonthSum
from toban.review.recorder import FiringRecorder, RecorderPorts
from toban.state import event_log

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = FakeClock().now()
MINUTE = timedelta(minutes=1)
DOWN = Labels(alertname="down", job="web", severity="critical")


def alert(fired, labels=DOWN, **changes):
    return Alert(labels, {}, AlertStatus.FIRING, fired - MINUTE, fired, **changes)


def firing_of(name="down", fired=NOW, **fields):
    return Firing(name, f"{name:0>16}"[:16], Labels(alertname=name), fired - MINUTE, fired, "2026-01", **fields)


@pytest.fixture
def recorder(state, clock):
    return FiringRecorder(RecorderPorts(frozenset({"phone"}), TOKYO), state, clock, MetricRegistry())


@pytest.fixture
async def log(state, recorder):
    """Append events, and let the recorder read them."""
    await recorder.record()

    async def append(*events):
        topics = {
            AlertChange: alerts.TOPIC,
            Delivery: notification.DELIVERY_TOPIC,
            RunbookEvent: runbook_events.TOPIC,
            Deploy: deploys.TOPIC,
            Act: acts.TOPIC,
        }

        def work(connection):
            for it in events:
                event_log.append(connection, topics[type(it)], it.as_dict(), it.at)

        await state.transaction(work)
        await recorder.record()

    return append


async def history(recorder, rule=""):
    return await recorder.history(NOW - timedelta(days=400), NOW + timedelta(days=400), rule)


async def test_a_firing_is_read_as_it_was_written(state):
    written = firing_of(
        ended=NOW + 2 * MINUTE,
        why="its rule was removed or renamed",
        acknowledged=NOW + MINUTE,
        acknowledged_by="ann",
        first_message=NOW,
        messages=2,
        pages=1,
        acts=(FiringAct("note", NOW, "ann"),),
    )

    def work(connection):
        repository.save(connection, [(None, written)])
        return repository.between(connection, NOW, NOW + MINUTE), repository.months(connection, "2026-01")

    (read,), months = await state.transaction(work)
    assert read == written
    assert months == [("2026-01", "down", MonthSum(1, 1, 120.0, 1, 1, 0, 2, 1))]


async def test_an_alert_is_followed_from_its_begin_to_its_end(log, recorder):
    began = alert(NOW)
    seen = alert(NOW, acknowledged=Acknowledgement("ann", NOW + MINUTE))
    await log(AlertChange(began, NOW))
    await log(AlertChange(seen, NOW + MINUTE, "ann acknowledged it"))
    await log(AlertChange(seen.resolved(NOW + 9 * MINUTE), NOW + 9 * MINUTE))
    found = await history(recorder)
    (it,) = found.firings
    assert (it.rule, it.labels, it.priority, it.duration) == ("down", DOWN, "P1", 9 * MINUTE)
    assert (it.acknowledged, it.acknowledged_by, it.acts) == (NOW + MINUTE, "ann", ())
    assert [(month, rule, total.fired, total.acted_on) for month, rule, total in found.months] == [
        ("2026-01", "down", 1, 0)
    ]


async def test_messages_and_pages_are_those_that_say_that_it_fires(log, recorder):
    name = alert(NOW).fingerprint
    await log(
        AlertChange(alert(NOW), NOW),
        Delivery("t", "slack", "firing", "down", NOW + MINUTE, (name,)),
        Delivery("t", "phone", "firing", "down", NOW + 2 * MINUTE, (name,)),
        Delivery("t", "phone", "firing", "down", NOW + 2 * MINUTE, (name,), "busy"),
        Delivery("t", "phone", "resolved", "down", NOW + 3 * MINUTE, (name,)),
        Delivery("t", "phone", "firing", "other", NOW + 3 * MINUTE, ("0" * 16,)),
    )
    (it,) = (await history(recorder)).firings
    assert (it.messages, it.pages, it.first_message) == (2, 1, NOW + MINUTE)


async def test_what_is_done_until_an_hour_after_its_end_is_an_act(log, recorder):
    resolved = alert(NOW).resolved(NOW + 2 * MINUTE)
    hour = timedelta(hours=1)
    await log(AlertChange(alert(NOW), NOW), AlertChange(resolved, NOW + 2 * MINUTE))
    await log(
        RunbookEvent(1, "restart", "started", "", resolved.fingerprint, NOW + MINUTE),
        RunbookEvent(1, "restart", "acted", "", resolved.fingerprint, NOW + MINUTE),
        Act("note", NOW + MINUTE, "ann", alerts=(resolved.fingerprint,)),
        Act("note", NOW + MINUTE, "ann", alerts=("0" * 16,)),
        Act("silence", NOW + hour, "bob", matchers=('alertname="down", job=~"w.*"',)),
        Act("silence", NOW + hour, "bob", matchers=('alertname="up"',)),
        Act("silence", NOW + hour, "bob", matchers=("not a matcher",)),
        Deploy("v2", NOW - MINUTE, "api", "ann"),
        Deploy("v3", NOW + hour, "api", "ann"),
        Deploy("v4", NOW + hour + 3 * MINUTE, "api", "ann"),
    )
    found = await history(recorder)
    assert [it.kind for it in found.firings[0].acts] == ["runbook", "note", "silence", "deploy"]
    assert found.months[0][2].acted_on == 1


async def test_events_that_come_twice_count_once(log, recorder):
    """
    As after a crash between the file of alerts and state.
    """
    changes = [AlertChange(alert(NOW), NOW), AlertChange(alert(NOW).resolved(NOW + MINUTE), NOW + MINUTE)]
    await log(*changes)
    await log(*changes)
    found = await history(recorder)
    assert len(found.firings) == 1
    assert (found.months[0][2].fired, found.months[0][2].useless) == (1, 1)


async def test_an_end_without_a_begin_is_a_firing_too(log, recorder):
    """
    Of an alert that fired before the history began.
    """
    await log(AlertChange(alert(NOW - timedelta(days=2)).resolved(NOW), NOW))
    (it,) = (await history(recorder)).firings
    assert it.duration == timedelta(days=2)


async def test_a_firing_whose_end_was_not_told_ends_with_the_next(log, recorder):
    await log(AlertChange(alert(NOW), NOW), AlertChange(alert(NOW + 9 * MINUTE), NOW + 9 * MINUTE))
    newest, oldest = (await history(recorder)).firings
    assert newest.ended is None
    assert (oldest.ended, oldest.why) == (NOW + 8 * MINUTE, "its end was not recorded")


async def test_months_are_those_of_the_shop(log, recorder):
    """
    At 18:00 in UTC of the last day it is the next month in Tokyo already.
    """
    at = datetime(2026, 1, 31, 18, tzinfo=UTC)
    await log(AlertChange(alert(at), at))
    assert [month for month, _, _ in (await history(recorder)).months] == ["2026-02"]


async def test_firings_are_kept_for_25_months_and_sums_outlast_what_is_too_much(state):
    old = firing_of("old", NOW - timedelta(days=800), ended=NOW - timedelta(days=790))
    still = firing_of("still", NOW - timedelta(days=900))
    new = [firing_of(f"new{it}", NOW, ended=NOW) for it in range(5)]

    def work(connection):
        repository.save(connection, [(None, it) for it in (old, still, *new)])
        repository.prune(connection, NOW - timedelta(days=761), "2024-01", most=3)
        found = repository.between(connection, NOW - timedelta(days=1000), NOW + MINUTE)
        return [it.rule for it in found], len(repository.months(connection, "2020-01"))

    assert await state.transaction(work) == (["new4", "new3", "new2", "still"], 7)


async def test_nothing_is_lost_while_state_is_unavailable(log, recorder, state, monkeypatch):
    async def refuse(work):
        raise StateError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(state, "transaction", refuse)
        await recorder.record()
        assert not recorder.health().ok
    await log(AlertChange(alert(NOW), NOW))
    assert recorder.health().ok
    assert len((await history(recorder)).firings) == 1
