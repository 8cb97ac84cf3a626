"""The notification pipeline: time lines."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.timelines import BEGAN, Timeline, alert_of
from toban.core.notification import NotificationKind
from toban.notify.pipeline import decide


def test_an_alert_is_notified_when_it_fires_and_when_it_is_resolved():
    """
    After the wait for others, and after it has been over for a while.
    """
    line = Timeline()
    line.at("0s").fires("disk")
    line.at("10m").ends("disk")
    assert line.want("1h") == ["10s firing disk", "11m30s resolved disk"]


def test_alerts_of_one_name_are_grouped():
    """
    Those that join within the wait are in the first message; later ones make news after the interval, and ends alone
    when the others did not end too within five minutes.
    """
    line = Timeline()
    line.at("0s").fires("disk", instance="a")
    line.at("5s").fires("disk", instance="b")
    line.at("20s").fires("disk", instance="c")
    line.at("5m").ends("disk", instance="a")
    line.at("13m").ends("disk", instance="b")
    line.at("14m").ends("disk", instance="c")
    assert line.want("1h") == [
        "10s firing diska,diskb",
        "1m10s firing diska,diskb,diskc",
        "10m firing diska,diskb,diskc",
        "15m30s resolved diskb,diskc",
    ]


def test_an_alert_resolved_within_group_wait_is_not_notified():
    """
    Nobody is woken for what is over.
    """
    line = Timeline()
    line.at("0s").fires("disk")
    line.at("5s").ends("disk")
    assert line.want("1h") == []
    assert line.state.groups == {}


def test_a_firing_alert_is_repeated_every_four_hours():
    """
    Until somebody looks after it.
    """
    line = Timeline()
    line.at("0s").fires("disk")
    line.at("9h").acknowledged("disk")
    assert line.want("1d") == [
        "10s firing disk",
        "4h10s reminder disk",
        "8h10s reminder disk",
        "9h acknowledged disk",
    ]


def test_an_inhibited_alert_is_listed_with_its_cause():
    """
    The message of what explains it lists it; when that is over and the rest is not, it is told.
    """
    inhibit = [{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname=~"slow|errors"']}]
    line = Timeline(inhibit=inhibit)
    line.at("0s").fires("down").fires("slow").fires("disk")
    line.at("20m").ends("down")
    assert line.want("1h") == [
        "10s firing down",
        "10s firing disk",
        "21m30s resolved down",
        "21m40s1ms firing slow",
    ]
    assert any("Inhibited by this: slow is wrong" in text for text in line.messages[0].lines)
    assert any(text.startswith("Also firing: disk is wrong (since ") for text in line.messages[0].lines)


def test_an_inhibited_alert_over_a_range_is_not_notified_after_recovery():
    """
    A rate over five minutes is high for five minutes more, also where it begins to fire only then. What began later,
    or outlasts its window, is told.
    """
    inhibit = [{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname=~"slow|errors|late|real"']}]
    line = Timeline(inhibit=inhibit, flapping={"settle": "15s"})
    line.at("0s").fires("down")
    line.at("2m").fires("slow", window="5m")
    line.at("10m").ends("down")
    line.at("10m30s").fires("errors", window="5m")
    line.at("9m").fires("real", window="5m")
    line.at("14m").ends("slow", window="5m").ends("errors", window="5m")
    line.at("12m").fires("late", window="5m")
    assert line.want("1h") == [
        "10s firing down",
        "10m15s resolved down",
        "12m10s firing late",
        "16m10s firing real",
    ]


def test_a_cause_inhibits_until_its_resolution_is_sent():
    """
    Also what begins between its end and that message, with no window of its own.
    """
    inhibit = [{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname="slow"']}]
    line = Timeline(inhibit=inhibit, flapping={"settle": "5m"})
    line.at("0s").fires("down")
    line.at("10m").ends("down")
    line.at("12m").fires("slow")
    line.at("14m").ends("slow")
    assert line.want("1h") == ["10s firing down", "15m resolved down"]


def test_a_silence_suppresses_until_it_expires():
    """
    What fires before and after it is told after it; what was told before ends with a word, also within it.
    """
    line = Timeline()
    line.at("0s").fires("told")
    line.at("1m").silence('alertname=~".+"', "1h")
    line.at("2m").fires("held").fires("short")
    line.at("10m").ends("told")
    line.at("20m").ends("short")
    assert line.want("2h") == ["10s firing told", "11m30s resolved told", "1h1m10s firing held"]


def test_a_flapping_alert_is_notified_three_times():
    """
    A minute on, a minute off, for an hour: firing, flapping, resolved.
    """
    line = Timeline()
    for at in line.between("0s", "1h", "2m"):
        at.fires("web")
    for at in line.between("1m", "1h", "2m"):
        at.ends("web")
    first, second, third = line.want("3h")
    assert first == "10s firing web"
    assert "flapping" in second
    assert third == "1h9m resolved web"


def test_a_flapping_alert_that_stays_is_notified_as_firing():
    """
    Once it has stayed for a while.
    """
    line = Timeline()
    for at in line.between("0s", "12m", "2m"):
        at.fires("web")
    for at in line.between("1m", "11m", "2m"):
        at.ends("web")
    assert [sent.partition(" ")[2] for sent in line.want("30m")] == ["firing web", "flapping web", "firing web"]


def test_p1_alerts_go_to_a_paging_channel():
    """
    Whatever channels its rule names.
    """
    line = Timeline()
    line.at("0s").fires("order_failure_rate", severity="critical")
    assert line.want("1m") == ["10s firing order_failure_rate to slack,pagerduty"]


@pytest.mark.parametrize(
    ("labels", "sent"),
    [
        ({"channels": "", "severity": "critical"}, " to slack,email,pagerduty"),
        ({"channels": "", "severity": "warning"}, " to slack,email"),
        ({"channels": "email , nowhere"}, " to email"),
        ({"channels": "nowhere"}, " to slack,email"),
        ({"team": "night"}, " to pagerduty"),
        ({"team": "nobody"}, None),
        ({"team": "both"}, " to email|"),
    ],
)
def test_an_alert_is_routed_by_route_then_label_then_severity(labels, sent):
    """
    The first route that fits and those below it while it says so; an unknown channel is passed over.
    """
    routes = [
        {"matchers": ['team="night"'], "channels": ["pagerduty"]},
        {"matchers": ['team="nobody"'], "channels": []},
        {"matchers": ['team="both"'], "channels": ["email"], "continue": True},
        {"matchers": ['team="both"'], "channels": ["slack"]},
    ]
    line = Timeline(routes=routes)
    line.at("0s").fires("disk", **labels)
    found = "|".join(sent.removeprefix("10s firing disk") for sent in line.want("1m"))
    assert found == ("" if sent is None else sent)


@pytest.mark.parametrize(
    ("zone", "day", "opens", "closes"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28), "2026-03-28T01:30", "2026-03-28T02:30"),
        ("Europe/Berlin", datetime(2026, 3, 29), "2026-03-29T01:00", "2026-03-29T02:00"),
        ("Europe/Berlin", datetime(2026, 10, 25), "2026-10-25T00:30", "2026-10-25T01:30"),
        ("America/New_York", datetime(2026, 3, 8), "2026-03-08T07:00", "2026-03-08T08:00"),
        ("America/New_York", datetime(2026, 11, 1), "2026-11-01T07:30", "2026-11-01T08:30"),
        ("Asia/Tokyo", datetime(2026, 3, 29), "2026-03-28T17:30", "2026-03-28T18:30"),
        ("Asia/Tokyo", datetime(2026, 10, 25), "2026-10-24T17:30", "2026-10-24T18:30"),
    ],
)
def test_a_maintenance_window_starts_once_a_day_across_dst(zone, day, opens, closes):
    """
    At half past two of its zone: at three where the clock jumps over it, once where it strikes twice; for an hour.
    """
    start = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    window = {"name": "vacuum", "cron": "30 2 * * *", "for": "1h", "timezone": zone, "matchers": ['alertname="disk"']}
    line = Timeline(began=start, maintenance_windows=[window])
    muted = []
    for minutes in range(0, 24 * 60, 10):
        at = start + timedelta(minutes=minutes)
        if line.policy.windows.open(at):
            muted.append(at)
    assert muted[0] == datetime.fromisoformat(f"{opens}+00:00")
    assert muted[-1] + timedelta(minutes=10) == datetime.fromisoformat(f"{closes}+00:00")
    assert muted == [muted[0] + timedelta(minutes=10 * n) for n in range(len(muted))]


def test_an_alert_muted_by_a_window_is_notified_at_its_end():
    """
    If it still does.
    """
    line = Timeline(maintenance_windows=[{"name": "vacuum", "cron": "0 3 * * *", "for": "1h"}])
    line.at("3h5m").fires("disk").fires("short")
    line.at("3h30m").ends("short")
    assert line.want("5h") == ["4h10s firing disk"]


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["fires", "ends", "ack", "hush"]), NAMES), max_size=25)
POLICY = {
    "inhibit": [{"source_matchers": ['alertname="a"'], "target_matchers": ['alertname="b"']}],
    "group_by": ["severity"],
}


def played(steps, restarts=lambda: False, scrapes=()):
    line = Timeline(restarts=restarts, **POLICY)
    for scrape in scrapes:
        line.at(f"{scrape}s").nothing()
    seconds, state = 0, {}
    for after, what, name in steps:
        seconds += after
        at = line.at(f"{seconds}s" if seconds else "0s")
        if what == "fires" and not state.get(name):
            at.fires(name)
            state[name] = True
        elif what == "ends" and state.get(name):
            at.ends(name)
            state[name] = False
        elif what == "ack" and state.get(name):
            at.acknowledged(name)
        elif what == "hush":
            at.silence(f'alertname="{name}"', "5m")
    sent = line.want("2d")
    return line, sent, state


@given(STEPS, st.lists(st.booleans(), min_size=1))
def test_a_restart_at_any_step_changes_no_notification(steps, restarts):
    """
    What is written down after a decision is enough to go on from.
    """
    turns = iter(restarts * 1000)
    one, sent, _ = played(steps)
    other, again, _ = played(steps, lambda: next(turns))
    assert sent == again
    assert one.messages == other.messages


@given(STEPS, st.lists(st.integers(1, 20_000), max_size=20))
def test_deciding_more_often_changes_no_notification(steps, scrapes):
    """
    When something is decided depends on what happened alone.
    """
    assert played(steps)[0].messages == played(steps, scrapes=scrapes)[0].messages


@example([(0, "fires", "a"), (0, "fires", "b"), (0, "fires", "c"), (0, "ack", "c"), (11, "ends", "a")])
@given(STEPS)
def test_each_notified_group_is_resolved_once(steps):
    """
    However often it changed: the first message fires, the last one resolves, none follows; what still fires is open.
    """
    line, _, state = played(steps)
    threads = {}
    for message in line.messages:
        threads.setdefault(message.group_id, []).append(message)
    for messages in threads.values():
        kinds = [message.kind for message in messages]
        assert kinds[0] is NotificationKind.FIRING or kinds[0] is NotificationKind.ACKNOWLEDGED
        assert NotificationKind.RESOLVED not in kinds[:-1]
        assert [message.number for message in messages] == list(range(len(messages)))
        assert len({message.title for message in messages}) == 1
        if kinds[-1] is not NotificationKind.RESOLVED:
            assert any(state.values())
    firing = {name for name, fires in state.items() if fires} - ({"b"} if state.get("a") else set())
    spoken = {line.state.alerts[name].alert.name for thread in line.state.groups.values() for name in thread.reported}
    assert firing <= spoken


@given(STEPS)
def test_deciding_twice_notifies_once(steps):
    """
    At the same time from the picture afterwards there is nothing left to say.
    """
    line, _, _ = played(steps)
    now = BEGAN + timedelta(days=3)
    once = decide(line.policy, line.state, line.silences, now)
    assert decide(line.policy, once.after, line.silences, now).messages == ()


def test_every_alert_has_the_reasons_of_each_stage():
    """
    From each stage that had something to say of it.
    """
    line = Timeline(inhibit=[{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname="slow"']}])
    line.at("0s").fires("down").fires("slow").silence('alertname="disk"', "1h").fires("disk")
    line.want("5m")
    notes = {
        name: [note.stage for note in line.decision.run.notes[alert_of(name, {}, BEGAN).fingerprint]]
        for name in ("down", "slow", "disk")
    }
    assert notes == {"down": ["route", "send"], "slow": ["route", "inhibit"], "disk": ["route", "mute"]}
