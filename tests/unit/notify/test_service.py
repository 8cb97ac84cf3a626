"""From a sample to a delivered message, whatever happens in between."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy
from structlog.testing import capture_logs

from tests.alerting_process import RECEIVERS, AlertingProcess, ProcessKilled, Receiver, ends_resolved, random_outcomes
from tests.fakes import FakeClock
from tests.notifications import alert, notification
from tests.rule_evaluation import DOWN_RULE, START, load_series
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.core.actor import ANONYMOUS
from toban.core.errors import StateError
from toban.notify import repository
from toban.notify.flap_detection import ReportedAs, TrackedAlert
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import PipelineState
from toban.notify.silences import Silence
from toban.notify.stages import dedupe
from toban.state import outbox, quarantine

DAY = 86_400


@pytest.fixture
def receivers():
    RECEIVERS.clear()
    RECEIVERS.update({name: Receiver() for name in ("slack", "email", "pagerduty")})
    yield RECEIVERS
    RECEIVERS.clear()


def at(seconds):
    return START + timedelta(seconds=seconds)


def when(receiver):
    return [(round((at - START).total_seconds()), it.kind.value) for at, it in receiver.received]


async def test_an_alert_and_its_resolution_are_sent_to_every_channel(tmp_path, receivers):
    """
    To every channel, once.
    """
    life = AlertingProcess(
        DOWN_RULE, load_series('up{job="web"} 1x4 0x20 1x100'), tmp_path, FakeClock(), ["slack", "pagerduty"]
    )
    await life.until(at(1200))
    await life.close()
    for name in ("slack", "pagerduty"):
        assert [kind for _, kind in when(receivers[name])] == ["firing", "resolved"]
    assert receivers["slack"].received[0][1].title == "web is down"
    assert life.notification.health().ok


async def test_a_message_is_rerouted_after_two_minutes_of_failure(tmp_path, receivers):
    """
    With a word why; it is told all the same when it comes back, after an hour too, and in order.
    """
    clock = FakeClock()
    receivers["slack"].outcome = lambda: "broken" if clock.now() < at(3600) else "ok"
    source, routes = load_series('up{job="web"} 0x40 1x400', step="15s"), ({"channels": ("slack",)},)
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock, ["slack", "email"], routes=routes)
    await life.until(at(900))
    assert not life.notification.health().ok
    (_, first), *_ = receivers["email"].received
    assert (first.receiver, first.kind.value) == ("slack", "firing")
    assert "slack could not deliver this: slack: answered 500" in first.lines
    assert 60 + 120 <= when(receivers["email"])[0][0] <= 60 + 10 + 200
    await life.until(at(5400), interval=60)
    await life.close()
    assert [kind for _, kind in when(receivers["slack"])] == ["firing", "resolved"]
    assert life.notification.health().ok


async def test_a_rejected_message_is_rerouted_at_once(tmp_path, receivers):
    """
    And shows in toban's own health.
    """
    receivers["slack"].outcome = lambda: "refused"
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 0x100'), tmp_path, FakeClock(), ["slack", "email"])
    await life.until(at(120))
    await life.close()
    assert when(receivers["email"])[-1][0] < 120
    assert {sent.receiver for _, sent in receivers["email"].received} == {"slack", "email"}
    assert life.notification.health().message == "slack: rejected: slack: answered 404"


async def test_messages_of_a_removed_channel_are_rerouted_after_a_restart(tmp_path, receivers):
    """
    What waited for it goes to another one, and so does the end of what it was told.
    """
    clock = FakeClock()
    receivers["slack"].outcome = lambda: "broken"
    source = load_series('up{job="web"} 0x20 1x1000')
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock, ["slack"])
    await life.until(at(150))
    await life.close()
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock, ["email"])
    await life.until(at(1200))
    await life.close()
    assert [kind for _, kind in when(receivers["email"])] == ["firing", "resolved"]
    counts = await _counts(tmp_path, clock, "channel:slack")
    assert counts.dropped == {"channel removed": 1}
    assert counts.waiting == 0


async def test_messages_of_a_channel_removed_by_a_reload_are_rerouted(tmp_path, receivers):
    """
    What waited for it goes to one that is there, and so does the end of what it was told; nothing is told twice.
    """
    clock = FakeClock()
    receivers["slack"].outcome = lambda: "broken"
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 0x20 1x1000'), tmp_path, clock, ["slack"])
    await life.until(at(150))
    await life.reload(["email"])
    await life.until(at(1200))
    await life.close()
    assert [kind for _, kind in when(receivers["email"])] == ["firing", "resolved"]
    counts = await _counts(tmp_path, clock, "channel:slack")
    assert (counts.dropped, counts.waiting) == ({"channel removed": 1}, 0)


@pytest.mark.parametrize("seed", range(1))
async def test_reloads_at_any_time_lose_and_repeat_no_message(seed, tmp_path, receivers):
    await reloading(seed, tmp_path, receivers)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 50))
async def test_reloads_at_any_time_lose_and_repeat_no_message_soak(seed, tmp_path, receivers):
    await reloading(seed, tmp_path, receivers)


async def reloading(seed, folder, receivers):
    """
    Of channels that come, go and come again, with other settings each time: who stays hears of each thing once.
    """
    chance, clock = random.Random(seed), FakeClock()
    life = AlertingProcess(
        DOWN_RULE, load_series('up{job="web"} 1x4 0x20 1x40 0x20 1x1000'), folder, clock, ["slack", "email"]
    )
    for _ in range(40):
        await life.until(clock.now() + timedelta(seconds=chance.choice([1, 20, 61, 150])))
        others = chance.sample(["email", "pagerduty"], chance.randint(0, 2))
        await life.reload(["slack", *others], language=chance.choice(["en", "ja"]), repeat_interval="90d")
    await life.until(clock.now() + timedelta(seconds=7_200))
    await life.close()
    own = [it.kind.value for _, it in receivers["slack"].received if it.receiver == "slack"]
    assert [kind for kind in own if kind != "flapping"] == ["firing", "resolved"] * 2


async def test_all_queued_messages_of_a_group_are_rerouted_in_order(tmp_path, receivers):
    """
    Its beginning, its news and its end stand behind each other on one line; none of them stays behind.
    """
    clock = FakeClock()
    receivers["slack"].outcome = lambda: "broken"
    source = load_series('up{job="web"} 0x20 1x1000')
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock, ["slack"])
    await life.until(at(900))
    await life.close()
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock, ["email"])
    await life.until(at(1200))
    await life.close()
    assert [kind for _, kind in when(receivers["email"])] == ["firing", "resolved"]
    counts = await _counts(tmp_path, clock, "channel:slack")
    assert (counts.dropped, counts.waiting) == ({"channel removed": 2}, 0)


async def test_failing_channels_back_off(tmp_path, receivers):
    """
    Each that fails lets its lane rest until its next try is due; two that help each other out don't keep each other up.
    """
    clock = FakeClock()
    for name in ("slack", "email"):
        receivers[name].outcome = lambda: "broken"
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 0x1000'), tmp_path, clock, ["slack", "email"])
    await life.until(at(600))
    drains, workers = 0, life.notification.workers.values()
    rung = []
    for channel_worker in workers:
        channel_worker.wake = lambda name=channel_worker.name: rung.append(name)
    while clock.now() < at(1200):
        drains += 1
        clock.advance(min([await channel_worker.drain() for channel_worker in workers]) or 0.001)
    await life.close()
    assert rung == []
    assert drains < 100


async def test_the_log_has_a_line_for_each_alert_and_each_message(tmp_path, receivers):
    """
    What fires, is acknowledged and is over; what was sent, what failed and why, and what was given up.
    """
    clock = FakeClock()
    random_outcomes = ["broken", "broken", "ok", "ok", "refused"]
    receivers["slack"].outcome = lambda: random_outcomes.pop(0) if random_outcomes else "ok"
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x40 1x100'), tmp_path, clock)
    with capture_logs() as logged:
        await life.until(at(600))
        (alert,) = (it for it in life.alert_store.alerts() if it.name == "down")
        await AcknowledgeCommands(life.alert_store, clock).acknowledge(
            alert.fingerprint, ANONYMOUS, "ann@example.com", "on it"
        )
        await life.until(at(1800))
    await life.close()
    about = [it for it in logged if it.get("alert") == "down"]
    assert {it["fingerprint"] for it in about} == {alert.fingerprint}
    assert [it["event"] for it in about if it["event"].startswith("alert ")] == [
        "alert firing",
        "alert acknowledged",
        "alert resolved",
    ]
    assert [(it["event"], it["kind"], it["attempt"]) for it in about if it["event"].startswith("notification ")] == [
        ("notification failed", "firing", 1),
        ("notification failed again", "firing", 2),
        ("notification sent", "firing", 3),
        ("notification sent", "acknowledged", 1),
        ("notification rejected", "resolved", 1),
    ]
    assert [it["error"] for it in about if "error" in it] == ["slack: answered 500"] * 2 + ["slack: answered 404"]
    assert {it["channel"] for it in about if "channel" in it} == {"slack"}
    assert "ann@example.com" not in str(logged)


async def test_an_alert_sent_without_state_is_logged_once(tmp_path, receivers, monkeypatch):
    """
    As after state was away: the feed tells what was heard directly.
    """
    clock = FakeClock()
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x400'), tmp_path, clock)
    await life.until(at(45))
    there = life.state.transaction

    async def away(work):
        raise StateError("state: the disk is full")

    with capture_logs() as logged:
        monkeypatch.setattr(life.state, "transaction", away)
        await life.until(at(300))
        monkeypatch.setattr(life.state, "transaction", there)
        await life.until(at(900))
    await life.close()
    assert [it["event"] for it in logged if it.get("alert") == "down" and it["event"].startswith("alert ")] == [
        "alert firing"
    ]


async def _counts(folder, clock, channel_worker):
    life = AlertingProcess(DOWN_RULE, load_series(""), folder, clock, ["email"])
    found = await life.state.transaction(lambda connection: outbox.counts(connection, channel_worker))
    await life.close()
    return found


async def test_without_state_messages_are_sent_from_memory(tmp_path, receivers, monkeypatch):
    """
    With the same keys: what is told again when state is back is seen to be the same.
    """
    clock = FakeClock()
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x40 1x100'), tmp_path, clock)
    await life.until(at(45))
    there = life.state.transaction

    async def away(work):
        raise StateError("state: the disk is full")

    monkeypatch.setattr(life.state, "transaction", away)
    await life.until(at(300))
    assert [kind for _, kind in when(receivers["slack"])] == ["firing"]
    assert not life.notification.health().ok
    monkeypatch.setattr(life.state, "transaction", there)
    await life.until(at(1500))
    assert receivers["slack"].kinds("slack").popitem()[1] == ["firing", "resolved"]
    assert receivers["slack"].duplicates() == 0
    assert life.notification.health().ok
    await life.close()


async def test_queued_messages_are_sent_while_state_is_read_only(tmp_path, receivers, monkeypatch):
    """
    As on a full disk: once, in order, and it is marked when that is possible again.
    """
    clock = FakeClock()
    claim = outbox.claim

    def claimed(connection, queue, now, lease, limit=1):
        if at(30) < now < at(1200):
            raise StateError("the disk is full")
        return claim(connection, queue, now, lease, limit)

    monkeypatch.setattr(outbox, "claim", claimed)
    receivers["slack"].outcome = lambda: "broken" if clock.now() < at(200) else "ok"

    def sent():
        """Return what was told of the site; toban tells of its own trouble too."""
        return [it.kind.value for _, it in receivers["slack"].received if it.title == "web is down"]

    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x20 1x100'), tmp_path, clock)
    await life.until(at(1100))
    assert sent() == ["firing", "resolved"]
    await life.until(at(1500))
    assert sent() == ["firing", "resolved"]
    assert await life.state.transaction(lambda connection: outbox.peek(connection, "channel:slack")) == []
    await life.close()


async def test_a_process_killed_without_state_repeats_messages_under_the_same_key(tmp_path, receivers, monkeypatch):
    """
    Under the same key.
    """
    clock = FakeClock()
    source = load_series('up{job="web"} 1x4 0x40 1x100')
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock)
    await life.until(at(45))
    there = life.state.transaction

    async def away(work):
        raise StateError("state: the disk is full")

    monkeypatch.setattr(life.state, "transaction", away)
    await life.until(at(300))
    monkeypatch.setattr(life.state, "transaction", there)
    await life.close()
    life = AlertingProcess(DOWN_RULE, source, tmp_path, clock)
    await life.until(at(1500))
    await life.close()
    (kinds,) = receivers["slack"].kinds("slack").values()
    assert kinds == ["firing", "resolved"]
    assert receivers["slack"].duplicates() == 1


async def test_the_end_of_a_silence_with_suppressed_alerts_is_announced(tmp_path, receivers):
    """
    A quarter of an hour before, once.
    """
    clock = FakeClock()
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 0x1000'), tmp_path, clock)
    silence = Silence("1", (), at(0), at(7200), "ann", "deploy", at(0))
    await life.state.transaction(lambda connection: repository.save_silence(connection, silence))
    await life.until(at(7200))
    await life.close()
    sent = [(kind, moment) for moment, kind in when(receivers["slack"])]
    assert [kind for kind, _ in sent] == ["notice"]
    assert 6300 <= sent[0][1] <= 6340
    assert receivers["slack"].received[0][1].lines == ("Still firing: down.", "Created by ann: deploy")


@pytest.mark.parametrize("seed", range(2))
async def test_every_notification_is_delivered_whenever_the_process_is_killed(seed, tmp_path, receivers):
    await dying(seed, tmp_path, receivers)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 1002))
async def test_every_notification_is_delivered_whenever_the_process_is_killed_soak(seed, tmp_path, receivers):
    await dying(seed, tmp_path, receivers)


async def dying(seed, folder, receivers):
    """
    A channel with bad days, a process that dies in transactions, between them and while it sends: every firing and
    every resolved arrives in order, and what arrives twice has the same key.
    """
    chance = random.Random(seed)
    clock = FakeClock()
    runs = " ".join(f"{chance.randint(0, 1)}x{chance.randint(1, 20)}" for _ in range(8))
    source = load_series(f'up{{job="web"}} {runs} 1x400\nup{{job="worker"}} {runs[::-1].replace("x", " ")[:3]} 1x500')
    calm = at(2400)
    bad = {"ok": 5, "broken": 2, "busy": 1, "half": 2, "dies before": 1, "dies after": 1}
    for receiver in receivers.values():
        mood = random_outcomes(chance, bad)
        receiver.outcome = lambda mood=mood: mood() if clock.now() < calm else "ok"
    deaths = 0
    end = at(6000)
    while clock.now() < end:
        life = AlertingProcess(DOWN_RULE, source, folder, clock, ["slack", "email"], group_interval="1m")
        _deadly(life, chance, clock, calm)
        try:
            await life.until(end)
        except ProcessKilled:
            deaths += 1
            clock.advance(chance.choice([1, 5, 30]))
        await life.close()
    assert deaths > 0
    for name in ("slack", "email"):
        own = [it for _, it in receivers[name].received if it.receiver == name]
        for kinds in receivers[name].kinds(name).values():
            assert ends_resolved(kinds), (name, kinds)
        assert receivers[name].duplicates() <= deaths + sum(1 for _ in own)
        numbers = {}
        for it in own:
            assert it.number >= numbers.get(it.group_id, 0)
            numbers[it.group_id] = it.number
    assert {it.group_id for _, it in receivers["slack"].received} == {
        it.group_id for _, it in receivers["email"].received
    }


def _deadly(life, chance, clock, calm):
    """Let the process die before or after one of its transactions."""
    there = life.state.transaction
    left = [chance.randint(1, 120)]

    async def transaction(work):
        left[0] -= 1
        dies = left[0] == 0 and clock.now() < calm
        if dies and chance.random() < 0.5:
            raise ProcessKilled
        result = await there(work)
        if dies:
            raise ProcessKilled
        return result

    life.state.transaction = transaction


@pytest.fixture
def failing(monkeypatch):
    """The groups about which can't be decided while they are in this set."""
    found = set()

    def refuse(run, group):
        if group.id in found:
            raise ZeroDivisionError
        return routes(run, group)

    routes = dedupe._timing
    monkeypatch.setattr(dedupe, "_timing", refuse)
    return found


async def test_a_group_that_always_fails_is_quarantined_and_its_alerts_regrouped(tmp_path, receivers, failing):
    """
    After five minutes in which it is reported, tried again, and stays as it was; then it is in quarantine, and that is
    reported until somebody has looked. Again and again it is kept there once.
    """
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x2000', step="15s"), tmp_path, FakeClock())
    await life.until(at(180))
    (before,) = life.notification.state.groups.values()
    failing.add(before.id)
    await life.until(at(180 + 240))
    assert list(life.notification.state.groups.values()) == [before]
    assert f"group {before.id} is skipped: ZeroDivisionError" in life.state.quarantine.health().message
    await life.until(at(180 + 1200))
    await life.state.quarantine.refresh()
    assert "(1 of notify_group)" in life.state.quarantine.health().message
    (kept,) = await life.state.transaction(quarantine.rows)
    assert (kept.key, kept.error) == (before.id, "ZeroDivisionError: ")
    assert before.title in kept.content
    failing.clear()
    await life.until(at(180 + 1500))
    assert [it.kind.value for _, it in receivers["slack"].received] == ["firing", "firing"]
    await life.close()


async def test_a_group_that_fails_temporarily_continues(tmp_path, receivers, failing):
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x30 1x2000', step="15s"), tmp_path, FakeClock())
    await life.until(at(180))
    (one,) = life.notification.state.groups
    for end in (400, 650):
        failing.add(one)
        await life.until(at(end))
        failing.clear()
        await life.until(at(end + 30))
    await life.until(at(1500))
    assert {it.group_id for _, it in receivers["slack"].received} == {one}
    assert ends_resolved([it.kind.value for _, it in receivers["slack"].received])
    assert await life.state.transaction(quarantine.counts) == {}
    await life.close()


async def test_an_unreadable_group_is_quarantined_at_once(tmp_path, receivers):
    """
    Its alerts are told in a new one; what stood in its place is kept.
    """
    clock = FakeClock()
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x2000', step="15s"), tmp_path, clock)
    await life.until(at(180))
    await life.close()

    def spoil(connection):
        connection.execute(
            sqlalchemy.text("""UPDATE notify_group SET body = REPLACE(body, '"channels": [', '"channels": [5,')""")
        )

    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x4 0x2000', step="15s"), tmp_path, clock)
    await life.state.transaction(spoil)
    await life.until(at(300))
    (kept,) = await life.state.transaction(quarantine.rows)
    assert (kept.source, "[5," in kept.content) == ("notify_group", True)
    assert [it.kind.value for _, it in receivers["slack"].received] == ["firing", "firing"]
    assert len(life.notification.state.groups) == 1
    await life.close()


async def test_an_unprocessable_change_is_quarantined(tmp_path, receivers, monkeypatch):
    """
    The cursor passes over it: in the same transaction it is put in quarantine.
    """
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 0x100', step="15s"), tmp_path, FakeClock())
    monkeypatch.setattr("toban.notify.alert_changes.track_change", lambda *_: 1 / 0)
    await life.until(at(120))
    (kept, *_) = await life.state.transaction(quarantine.rows)
    assert (kept.source, kept.error) == ("event", "ZeroDivisionError: division by zero")
    assert "web is down" in kept.content
    await life.close()


async def test_a_clock_that_is_set_back_delays_no_message(tmp_path, receivers):
    """
    What was told, put and resolved by a clock that ran ahead lies in the future then; nothing waits for that.
    """
    clock = FakeClock()
    ahead = timedelta(hours=3)
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x800'), tmp_path, clock)
    await life.until(at(60))
    now = clock.now()
    about = alert(starts=now + ahead, fired=now + ahead)
    thread = NotificationGroup(
        "t", "k", ("slack",), about.labels, now + ahead, {about.fingerprint: ReportedAs.FIRING}, 1, now + ahead
    )
    over = TrackedAlert(about.resolved(now + ahead), now + ahead, (now + ahead,), False, about.fingerprint)
    state = PipelineState({about.fingerprint: over}, {"t": replace(thread, members=frozenset({about.fingerprint}))})
    waiting = notification(number=0)

    def plant(connection):
        repository.save(connection, PipelineState(), state)
        outbox.enqueue(connection, "channel:slack", waiting.key, waiting.as_dict(), now + ahead, waiting.group_id)

    await life.state.transaction(plant)
    await life.close()
    life = AlertingProcess(DOWN_RULE, load_series('up{job="web"} 1x800'), tmp_path, clock)
    await life.until(now + timedelta(minutes=10))
    await life.close()
    assert [it.kind.value for _, it in receivers["slack"].received] == ["firing", "resolved"]
