"""Rendering of messages."""

import re
from dataclasses import replace
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notifications import NIGHT, alert
from toban.core.alerts import Acknowledgement, Alert, AlertStatus
from toban.core.labels import Labels
from toban.core.message_catalogue import LANGUAGES
from toban.core.notification import NotificationKind
from toban.notify import rendering
from toban.notify.rendering import render
from toban.notify.texts import texts

TOKYO = ZoneInfo("Asia/Tokyo")
LATER = NIGHT + timedelta(minutes=7)
TEXTS = st.text(max_size=30) | st.builds(str.__mul__, st.text(min_size=1, max_size=5), st.just(150))
MOMENTS = st.datetimes(timezones=st.just(UTC))
ANNOTATIONS = st.dictionaries(
    st.sampled_from(["summary", "summary_ja", "description", "value", "limit", "action", "runbook", "dashboard"]), TEXTS
)
ACKNOWLEDGED = st.builds(Acknowledgement, TEXTS, MOMENTS, TEXTS)
ALERTS = st.lists(
    st.builds(
        Alert,
        labels=st.dictionaries(st.sampled_from(["alertname", "severity", "priority", "job", "x"]), TEXTS).map(Labels),
        annotations=ANNOTATIONS,
        status=st.sampled_from(AlertStatus),
        starts=MOMENTS,
        ends=st.none() | MOMENTS,
        value=st.none() | st.floats(),
        link=TEXTS,
    ),
    max_size=14,
)


def say(*alerts, kind=NotificationKind.FIRING, language="en", now=LATER, since=NIGHT, **more):
    return render(alerts, kind, language=language, zone=TOKYO, now=now, since=since, **more)


def test_a_message_has_value_limit_start_and_action():
    """
    In that order: what is wrong, the number and its limit, since when by the team's clock, what to do; then where.
    """
    found = say(
        alert(
            annotations={
                "description": "Payments are declined.",
                "value": "12.5 %",
                "limit": "10 %",
                "action": "Look at the payment provider's page.",
                "runbook": "https://wiki.example/orders",
            },
            link="https://toban.example/query",
        ),
        address="https://toban.example/",
    )

    assert found.title == "Orders fail"
    assert found.lines == (
        "Payments are declined.",
        "Now: 12.5 % (limit: 10 %).",
        "Since 2026-03-02 03:12 JST, for 7 min.",
        "What to do: Look at the payment provider's page.",
    )
    assert found.facts == (("Priority", "P1"), ("instance", "shop-1"))
    assert found.links == (
        ("Runbook", "https://wiki.example/orders"),
        ("Query", "https://toban.example/query"),
        ("toban", "https://toban.example/alerts/d3d3228e7d6a1435"),
    )


def test_a_japanese_message_prefers_japanese_annotations():
    """
    What a rule says in Japanese stands before what it says in English, each for itself.
    """
    found = say(alert(annotations={"action_ja": "決済代行会社に連絡", "description": "Declined."}), language="ja")

    assert found.title == "注文が失敗しています"
    assert found.lines == (
        "Declined.",
        "現在値: 0.125",
        "2026-03-02 03:12 JST から 7分続いています。",
        "対応: 決済代行会社に連絡",
    )
    assert found.facts[0] == ("優先度", "P1")


def test_a_message_lists_up_to_ten_alerts():
    """
    What they share is a fact, what tells them apart stands in each line; of more than ten the number is told.
    """
    many = [alert("disk", labels={"mount": f"/data{n:02}"}, annotations={"summary": ""}) for n in range(14)]
    found = say(*many, group={"alertname": "disk", "instance": "shop-1"})

    assert found.title == "disk"
    listed = [line for line in found.lines if line.startswith("•")]
    assert len(listed) == 10
    assert re.fullmatch(r"• disk \(/data\d\d\): 0\.125, since 2026-03-02 03:12 JST", listed[0])
    assert found.lines[-1] == "… and 4 more."
    assert ("instance", "shop-1") in found.facts


def test_a_group_keeps_its_title():
    """
    Whatever joins it or leaves it.
    """
    one, other = (
        alert(),
        alert(
            "redis", labels={"severity": "info"}, annotations={"summary": "Redis is away", "summary_ja": "Redis 停止"}
        ),
    )
    first = say(one)
    later = say(one, other, title=first.title)

    assert later.title == first.title
    assert say(one, other).title == "Orders fail, and others"
    assert say(one, other, language="ja").title == "注文が失敗しています、ほか"


def test_other_firing_alerts_are_listed_with_their_times():
    """
    The cause may be among it; at the end nobody wants to know.
    """
    others = [alert("locks", annotations={"summary": f"Thing {n}"}) for n in range(7)]

    expected = "Also firing: " + ", ".join(f"Thing {n} (since 2026-03-02 03:12 JST)" for n in range(5)) + "."
    assert say(alert(), others=others).lines[-1] == expected
    assert not any("Also firing" in line for line in say(alert(), others=others, kind=NotificationKind.RESOLVED).lines)


def test_the_error_of_a_target_is_quoted_while_it_lasts():
    down = alert(annotations={"error": "answered 500"})

    assert "Error: answered 500" in say(down).lines
    assert not any("500" in line for line in say(down.resolved(LATER), kind=NotificationKind.RESOLVED).lines)


def test_a_bare_0_or_1_is_no_value():
    """
    That a target is down is what the title says.
    """
    assert not any("Now:" in line for line in say(replace(alert(), value=0.0)).lines)
    assert not any("Now:" in line for line in say(replace(alert(), value=1.0)).lines)


def test_resolved_alerts_are_first_in_the_last_message_only():
    """
    In a message of an outage that goes on, what is over comes last; at the end it says how long it took.
    """
    ended = alert("redis", annotations={"summary": "Redis is away"}).resolved(LATER)
    assert say(ended, alert()).lines[-2:] == (
        "• Orders fail: 0.125, since 2026-03-02 03:12 JST",
        "• Redis is away: resolved at 2026-03-02 03:19 JST",
    )
    done = say(ended, kind=NotificationKind.RESOLVED, now=LATER + timedelta(hours=2))
    assert done.lines == ("Resolved at 2026-03-02 03:19 JST, after 7 min.",)


def test_each_kind_of_notification_begins_with_its_change():
    """
    Who acknowledged it; how long it has been firing; that it is flapping; what it inhibits.
    """
    acknowledgement = Acknowledgement("Yuki", LATER, "on it")
    now = NIGHT + timedelta(days=1, hours=2)

    assert (
        say(alert(), kind=NotificationKind.ACKNOWLEDGED, acknowledged=acknowledgement).lines[0]
        == "Acknowledged by Yuki at 2026-03-02 03:19 JST: on it"
    )
    assert say(alert(), kind=NotificationKind.REMINDER, now=now).lines[0] == "Still firing after 1 d 2 h."
    assert "2026-03-02 03:12 JST" in say(alert(), kind=NotificationKind.REMINDER, now=now).lines[2]
    assert say(alert(), kind=NotificationKind.FLAPPING).lines[0].startswith("Flapping")
    held = [alert(annotations={"summary": f"Thing {n}"}) for n in range(6)]
    assert say(alert(), inhibited=held).lines[-1] == "Inhibited by this: Thing 0, Thing 1, Thing 2, Thing 3 and 2 more."


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.92345, "0.9234"), (12, "12"), (2_500_000_000, "2,500,000,000"), (float("inf"), "∞"), (float("nan"), "NaN")],
)
def test_values_are_rounded_for_people(value, shown):
    """
    Whatever a rule computed.
    """
    assert say(alert(value=value)).lines[0] == f"Now: {shown}."


def test_only_urls_become_links():
    """
    A runbook may be a sentence: then it is what to do; a script is neither.
    """
    found = say(alert(annotations={"runbook": "Restart the worker."}, link="javascript:alert(1)"))

    assert "What to do: Restart the worker." in found.lines
    assert found.links == ()


@given(
    ALERTS,
    st.sampled_from(NotificationKind),
    st.sampled_from([*LANGUAGES, "fr"]),
    MOMENTS,
    MOMENTS,
    ALERTS,
    TEXTS,
    ACKNOWLEDGED,
)
def test_any_message_fits_its_limits(alerts, kind, language, now, since, held, text, acknowledged):
    """
    It never raises, is one line each, and never longer than it says.
    """
    found = render(
        alerts,
        kind,
        language=language,
        zone=TOKYO,
        now=now,
        since=since,
        inhibited=held,
        acknowledged=acknowledged,
        group={"job": text},
        title=text,
        address=text,
    )

    assert 0 < len(found.title) <= rendering.TITLE
    assert len(found.lines) <= rendering.LINES
    assert all(0 < len(line) <= rendering.LINE and len(line.splitlines()) == 1 for line in found.lines)
    assert len(found.facts) <= rendering.FACTS
    assert len(found.links) <= rendering.LINKS


def test_every_language_has_all_texts():
    """
    The same keys, with the same places to fill in.
    """

    def places(language: str) -> dict[str, list[str]]:
        return {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts(language).items()}

    assert all(places(language) == places(LANGUAGES[0]) for language in LANGUAGES)
