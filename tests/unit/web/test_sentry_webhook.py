"""What Sentry's webhooks mean: alerts that begin, go on and end."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from toban.core.alerts import Alert, AlertStatus
from toban.web import sentry_webhook
from toban.web.sentry_webhook import ISSUE_TIMEOUT, ReceivedBodies, alerts, is_old, is_signed

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def issue_alert(rule="Checkout fails", issue="4711", level="error", **event):
    given = {
        "issue_id": issue,
        "title": "ValueError: wrong",
        "culprit": "pay(shop.py)",
        "level": level,
        "project": 7,
        "datetime": "2026-12-01T11:59:00.000000Z",
        "url": "https://sentry.io/api/0/projects/acme/shop/events/1/",
        "web_url": "https://sentry.io/organizations/acme/issues/4711/",
        **event,
    }
    return {"action": "triggered", "data": {"event": given, "triggered_rule": rule}}


def metric_alert(action, number=3):
    incident = {"id": "9", "title": "Errors", "alert_rule": {"id": number, "name": "Error rate"}}
    text = {"description_title": "Critical: Error rate", "description_text": "500 events in 10 minutes"}
    return {"action": action, "data": {"metric_alert": incident, "web_url": "https://sentry.io/x", **text}}


def issue(action, number="4711"):
    return {"action": action, "data": {"issue": {"id": number, "title": "ValueError"}}}


def fired(posted):
    """The alerts as they fire once they are posted."""
    return [
        Alert(it.labels, it.annotations, AlertStatus.FIRING, it.starts, NOW, ends=it.ends, source="sentry")
        for it in posted
        if it.ends > NOW
    ]


def test_an_issue_alert_says_what_and_where():
    (posted,) = alerts("event_alert", issue_alert(), [], NOW)
    assert dict(posted.labels) == {
        "alertname": "sentry_issue",
        "severity": "warning",
        "project": "shop",
        "level": "error",
        "issue_id": "4711",
        "rule": "Checkout fails",
    }
    assert posted.annotations["summary"] == "Sentry: ValueError: wrong"
    assert posted.annotations["description"] == "pay(shop.py)"
    assert posted.link == "https://sentry.io/organizations/acme/issues/4711/"
    assert (posted.starts, posted.ends) == (NOW - timedelta(minutes=1), NOW + ISSUE_TIMEOUT)


def test_an_issue_is_one_alert_for_each_rule():
    firing = fired(alerts("event_alert", issue_alert(), [], NOW))
    (again,) = alerts("event_alert", issue_alert(level="fatal"), firing, NOW)
    assert again.labels == firing[0].labels
    (other,) = alerts("event_alert", issue_alert("Many errors"), firing, NOW)
    assert other.labels != firing[0].labels


@pytest.mark.parametrize("action", ["resolved", "archived"])
def test_a_resolved_issue_ends_its_alerts(action):
    firing = [
        *fired(alerts("event_alert", issue_alert(), [], NOW)),
        *fired(alerts("event_alert", issue_alert("Many errors"), [], NOW)),
        *fired(alerts("event_alert", issue_alert(issue="4712"), [], NOW)),
        *fired(alerts("metric_alert", metric_alert("warning", 4711), [], NOW)),
    ]
    ended = alerts("issue", issue(action), firing, NOW)
    assert [(it.labels, it.ends) for it in ended] == [(it.labels, NOW) for it in firing[:2]]


def test_a_metric_alert_changes_its_severity_and_ends():
    warning = fired(alerts("metric_alert", metric_alert("warning"), [], NOW))
    critical = alerts("metric_alert", metric_alert("critical"), warning, NOW)
    assert [(it.labels["severity"], it.ends > NOW) for it in critical] == [("critical", True), ("warning", False)]
    ended = alerts("metric_alert", metric_alert("resolved"), fired(critical), NOW)
    assert [(it.labels["severity"], it.ends) for it in ended] == [("critical", NOW)]


@pytest.mark.parametrize(
    ("resource", "body"),
    [
        ("installation", {"action": "created", "data": {}}),
        ("issue", issue("assigned")),
        ("issue", issue("resolved", "1")),
        ("metric_alert", metric_alert("snoozed")),
        ("comment", {"action": "created"}),
    ],
)
def test_other_webhooks_mean_no_alert(resource, body):
    assert alerts(resource, body, [], NOW) == []


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "action",
                    "data",
                    "event",
                    "issue",
                    "id",
                    "issue_id",
                    "metric_alert",
                    "alert_rule",
                    "title",
                    "datetime",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["event_alert", "issue", "metric_alert"]),
    st.sampled_from(["triggered", "resolved", "critical"]),
    ANY_JSON,
)
def test_garbage_is_refused_or_means_nothing_wrong(resource, action, data):
    try:
        posted = alerts(resource, {"action": action, "data": data}, [], NOW)
    except ValueError:
        return
    assert all(it.labels["alertname"].startswith("sentry_") for it in posted)


def test_a_link_is_a_web_address():
    (posted,) = alerts("event_alert", issue_alert(web_url="javascript:alert(1)"), [], NOW)
    assert posted.link == ""


def test_the_signature_is_that_of_the_bytes():
    body = '{"action": "triggered",  "text": "日本"}'.encode()
    right = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    assert is_signed(SecretStr("secret"), body, right)
    for wrong in ("", right.upper(), right[:-1], "é" * 64):
        assert not is_signed(SecretStr("secret"), body, wrong)
    assert not is_signed(SecretStr("secret"), body + b" ", right)


def test_an_alert_of_yesterday_is_old():
    assert is_old("event_alert", issue_alert(datetime="2026-11-30T12:00:00Z"), NOW)
    assert not is_old("event_alert", issue_alert(), NOW)
    assert not is_old("issue", issue("resolved"), NOW)


def test_remembered_bodies_are_limited(monkeypatch):
    monkeypatch.setattr(sentry_webhook, "REMEMBERED", 2)
    received = ReceivedBodies()
    assert [received.add(it) for it in "aabcb"] == [True, False, True, True, False]
    assert received.add("a")
