"""A broken item affects itself alone."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.timelines import BEGAN, alert_of, policy
from toban.core.labels import Labels
from toban.core.matcher_syntax import parse_matchers
from toban.notify.flap_detection import TrackedAlert
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline import decide
from toban.notify.pipeline_run import PipelineState
from toban.notify.silences import Silence

NOW = BEGAN + timedelta(hours=1)
POLICY = policy(
    {
        "inhibit": [
            {"source_matchers": ['alertname="down"'], "target_matchers": ['alertname=~"slow.*"'], "equal": ["shop"]}
        ],
        "maintenance_windows": [
            {"name": "nights", "cron": "0 3 * * *", "for": "1h", "matchers": ['alertname="quiet"']}
        ],
        "routes": [{"matchers": ['shop=~"b.*"'], "channels": ["email"], "group_by": ["shop", "alertname"]}],
    }
)
NAMES = ("down", "slow", "slower", "disk", "quiet")


class Raising(dict):
    """Labels or annotations that can't be read."""

    def get(self, *_):
        raise ZeroDivisionError

    __getitem__ = items = values = keys = get


def tracked_alert(name: str, shop: str, **fields: object) -> TrackedAlert:
    alert = replace(alert_of(name, {"shop": shop}, BEGAN), **fields)
    return TrackedAlert(alert, BEGAN, fingerprint=alert.fingerprint)


def silence(name: str, text: str, **fields: object) -> Silence:
    made = Silence(name, tuple(parse_matchers([text])), BEGAN, NOW + timedelta(hours=1), "ann", "tea", BEGAN)
    return replace(made, **fields)


def broken_alert(sound: TrackedAlert, how: int) -> TrackedAlert:
    ways = [
        {"labels": Raising(sound.alert.labels)},
        {"labels": Labels({**sound.alert.labels, "bad": "\ud800"})},
        {"annotations": {"summary": 5}},
        {"annotations": Raising()},
        {"starts": datetime(2026, 1, 1)},  # that is what is wrong with it
        {"status": "on fire"},
        {"ends": "tomorrow"},
        {"acknowledged": "by ann"},
    ]
    return replace(sound, alert=replace(sound.alert, **ways[how % len(ways)]))


class Refusing:
    """A matcher that can't be asked."""

    def accepts(self, _):
        raise ZeroDivisionError

    matches = accepts


def broken_silence(sound: Silence, how: int) -> Silence:
    ways = [{"matchers": (Refusing(),)}, {"matchers": None}, {"ends": None}, {"by": 5}, {"comment": "\ud800"}]
    return replace(sound, **ways[how % len(ways)])


def broken_group(sound: NotificationGroup, how: int) -> NotificationGroup:
    ways = [{"channels": None}, {"opened": None}, {"reported": None}, {"members": None}, {"notified": "never"}]
    return replace(sound, **ways[how % len(ways)])


def sent_messages(decision):
    return sorted((it.key, it.title, it.lines, [a.fingerprint for a in it.alerts]) for it in decision.messages)


ALERTS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from("abc")), min_size=1, max_size=8, unique=True)
SILENCES = st.lists(st.sampled_from(['shop="a"', 'alertname="disk"', 'shop=~"b|c"']), max_size=3, unique=True)


@settings(max_examples=200)
@given(ALERTS, SILENCES, st.integers(0, 20), st.integers(0, 20), st.sampled_from(["alert", "silence", "group"]))
def test_a_broken_item_does_not_affect_the_others(alerts, silences, which, how, part):
    """
    All other messages are as they are without it, it is reported, and it is tried again the next time.
    """
    found = {it.alert.fingerprint: it for it in (tracked_alert(name, shop) for name, shop in alerts)}
    muting = [silence(f"s{n}", text) for n, text in enumerate(silences)]
    first = decide(POLICY, PipelineState(found), muting, NOW - timedelta(minutes=30))
    state = decide(POLICY, first.after, muting, NOW - timedelta(minutes=29)).after
    items = {"alert": sorted(found), "silence": [it.id for it in muting], "group": sorted(state.groups)}[part]
    if not items:
        return
    name = items[which % len(items)]

    without, broken = dict(state.alerts), dict(state.alerts)
    groups, broken_groups = dict(state.groups), dict(state.groups)
    muting_without, muting_broken = muting, muting
    if part == "alert":
        broken[name] = broken_alert(without.pop(name), how)
    elif part == "group":
        broken_groups[name] = broken_group(groups.pop(name), how)
    else:
        muting_without = [it for it in muting if it.id != name]
        muting_broken = [broken_silence(it, how) if it.id == name else it for it in muting]
    later = NOW + timedelta(hours=5)
    expected = decide(POLICY, PipelineState(without, groups), muting_without, later)
    decision = decide(POLICY, PipelineState(broken, broken_groups), muting_broken, later)

    assert sent_messages(decision) == sent_messages(expected)
    assert [(it.part, it.item) for it in decision.failures] == [(part, name)]
    if part == "alert":
        assert decision.after.alerts[name] is broken[name]


def test_a_broken_maintenance_window_mutes_nothing(monkeypatch):
    """
    And is named.
    """
    monkeypatch.setattr("toban.notify.maintenance_windows.opened_at", lambda *_: 1 / 0)
    found = tracked_alert("quiet", "a")
    decision = decide(POLICY, PipelineState({found.alert.fingerprint: found}), [], NOW)
    assert [(it.part, it.item) for it in decision.failures] == [("window", "nights")]
    assert decide(POLICY, decision.after, [], NOW + timedelta(minutes=1)).messages


def test_a_message_whose_rendering_fails_is_sent_with_alert_names(monkeypatch):
    """
    With the names of its alerts and a word that there should be more.
    """
    monkeypatch.setattr("toban.notify.stages.send.render", lambda *_, **__: 1 / 0)
    found = tracked_alert("disk", "a")
    decision = decide(POLICY, PipelineState({found.alert.fingerprint: found}), [], NOW)
    decision = decide(POLICY, decision.after, [], NOW + timedelta(minutes=1))
    assert {it.title for it in decision.messages} == {"disk"}
    assert all("could not be rendered" in it.lines[1] for it in decision.messages)
    assert [it.part for it in decision.failures] == ["message"]


@pytest.mark.parametrize("value", ["\ud800", "a\0b", "🏮"])
def test_silences_match_labels_of_any_text(value):
    """
    Of what can't be written, too: it costs nobody else anything.
    """
    sound = tracked_alert("disk", "a")
    found = replace(sound, alert=replace(sound.alert, labels=Labels({**sound.alert.labels, "shop": value})))
    decision = decide(POLICY, PipelineState({"f": found}), [silence("s", 'shop=~"x.*"')], NOW)
    assert len(decision.failures) == (value == "\ud800")
