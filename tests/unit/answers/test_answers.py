"""What a button or the words of a command stand for, who is meant, and whose signature is right."""

import hashlib
import hmac
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fake_slack import FakeSlack
from tests.fakes import FakeClock
from tests.notifications import notification
from toban.access.accounts import Accounts, User
from toban.access.permissions import Role
from toban.answers import pagerduty, slack
from toban.answers.answer import Answer, Verb, clicked, commanded
from toban.answers.people import permissions_of, person_at_pagerduty, person_at_slack, person_with_email
from toban.core.errors import InvalidCommandError
from toban.core.notification import Link, Notification, Offer, OfferKind
from toban.incidents.incident import IncidentState
from toban.incidents.incident_messages import incident_offers
from toban.incidents.lifecycle import opened
from toban.notify.channels.slack import render_offers
from toban.oncall.settings import OnCallSettings

PEOPLE = OnCallSettings.model_validate(
    {
        "people": {
            "ann": {"slack": "U1", "email": "Ann@Example.com", "pagerduty": "PANN"},
            "ben": {"email": "ben@example.com", "pagerduty": "ben@pager.example"},
            "cai": {"user": "root"},
        }
    }
)


@pytest.mark.parametrize(
    ("action", "value", "found"),
    [
        ("toban.acknowledge", "i42.v7", Answer(Verb.ACKNOWLEDGE, 42, 7)),
        ("toban.snooze", "i42.v7.30m", Answer(Verb.SNOOZE, 42, 7, timedelta(minutes=30))),
        ("toban.approve", "r3.0123456789abcdef", Answer(Verb.APPROVE, 3, approval="0123456789abcdef")),
    ],
)
def test_a_button_stands_for_an_answer(action, value, found):
    assert clicked(action, value) == found


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("toban.acknowledge", ""),
        ("toban.acknowledge", "r3.0123456789abcdef"),
        ("toban.approve", "i42.v7"),
        ("x", "i1.v1"),
    ],
)
def test_a_button_that_toban_did_not_make_stands_for_nothing(action, value):
    with pytest.raises(InvalidCommandError):
        clicked(action, value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Answer(Verb.STATUS)),
        ("oncall", Answer(Verb.ON_CALL)),
        (" ack #42 ", Answer(Verb.ACKNOWLEDGE, 42)),
        ("note 42 restarted  it", Answer(Verb.NOTE, 42, text="restarted  it")),
        ("snooze 42", Answer(Verb.SNOOZE, 42, length=timedelta(hours=1))),
        ("snooze 42 2h until the deploy", Answer(Verb.SNOOZE, 42, length=timedelta(hours=2), text="until the deploy")),
        ("assign 42 ben", Answer(Verb.ASSIGN, 42, text="ben")),
        ("escalate 42", Answer(Verb.ESCALATE, 42)),
        ("run high_memory_usage", Answer(Verb.RUN, text="high_memory_usage")),
        ("stop it flaps", Answer(Verb.STOP, text="it flaps")),
    ],
)
def test_a_command_stands_for_an_answer(text, found):
    assert commanded(text) == found


@pytest.mark.parametrize(
    ("text", "reason"), [("ack", "number"), ("ack x", "number"), ("snooze 1 x", "duration"), ("dance", "unknown")]
)
def test_a_command_that_is_none_says_what_to_write(text, reason):
    with pytest.raises(InvalidCommandError, match=reason):
        commanded(text)


def test_people_are_found_by_what_names_them_elsewhere():
    assert person_at_slack(PEOPLE, "U1") == "ann"
    assert person_at_slack(PEOPLE, "") == ""
    assert person_with_email(PEOPLE, "ann@example.com ") == "ann"
    assert person_with_email(PEOPLE, "") == ""
    assert person_at_pagerduty(PEOPLE, "PANN", "") == "ann"
    assert person_at_pagerduty(PEOPLE, "PX", "Ben@Pager.example") == "ben"
    assert person_at_pagerduty(PEOPLE, "PX", "ben@example.com") == "ben"
    assert person_at_pagerduty(PEOPLE, "", "") == ""


def test_only_a_fresh_request_with_the_right_signature_comes_from_slack():
    now, body = FakeClock().now(), b"payload=%7B%7D"
    stamp = str(int(now.timestamp()))
    right = "v0=" + hmac.new(b"secret", b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    assert slack.is_signed("secret", stamp, body, right, now)
    assert slack.is_signed("secret", stamp, body, right, now + timedelta(seconds=299))
    assert not slack.is_signed("secret", stamp, body, right, now + timedelta(seconds=302))
    assert not slack.is_signed("secret", stamp, body, right, now - timedelta(seconds=302))
    assert not slack.is_signed("secret", stamp, body + b"x", right, now)
    assert not slack.is_signed("other", stamp, body, right, now)
    for wrong in ("", "v0=", "é", right.upper()):
        assert not slack.is_signed("secret", stamp, body, wrong, now)
    for wrong in ("", "-1", "1e9", "9" * 40, "٣"):
        assert not slack.is_signed("secret", wrong, body, right, now)


def test_while_a_secret_of_pagerduty_is_changed_one_right_signature_is_enough():
    right = "v1=" + hmac.new(b"secret", b"{}", hashlib.sha256).hexdigest()
    assert pagerduty.is_signed("secret", b"{}", f"v1=00, {right}")
    assert not pagerduty.is_signed("secret", b"{}", "v1=00,v1=é")
    assert not pagerduty.is_signed("secret", b"{ }", right)
    assert not pagerduty.is_signed("secret", b"{}", "")


def test_copies_of_a_click_have_one_key_and_two_clicks_have_two():
    def click(user, ts):
        return {
            "type": "block_actions",
            "user": {"id": user},
            "actions": [{"action_id": "toban.note", "action_ts": ts}],
        }

    keys = {slack.idempotency_key(click(*it)) for it in (("U1", "1.1"), ("U1", "1.1"), ("U1", "1.2"), ("U2", "1.1"))}
    assert len(keys) == 3
    assert all(len(it) <= 100 for it in keys)
    assert slack.idempotency_key({"type": "block_actions", "actions": [None]}) == ""
    assert slack.idempotency_key({"type": "shortcut"}) == ""


def test_a_message_from_before_there_were_buttons_is_still_read():
    body = notification(offers=(Offer(OfferKind.NOTE, "i1.v0"),)).as_dict()
    assert Notification.from_dict(body).offers == (Offer(OfferKind.NOTE, "i1.v0"),)
    del body["offers"]
    assert Notification.from_dict(body).offers == ()


def test_buttons_are_for_open_incidents_and_carry_their_number_and_version_alone():
    now = FakeClock().now()
    incident = opened(42, "Orders fail", "P1", now, now).incident.changed(now, messages=7)
    assert {it.value for it in incident_offers(incident)} == {"i42.v7"}
    assert incident_offers(incident.changed(now, state=IncidentState.RESOLVED)) == ()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_buttons_are_within_the_limits_of_slack(language):
    offers = [Offer(kind, "i1.v0") for kind in OfferKind]
    found = render_offers(notification(language=language, links=()), offers)
    assert not FakeSlack()._wrong_attachment(found)
    assert len(found["blocks"][0]["elements"]) == len(offers)


def test_the_last_button_opens_the_page_of_the_incident_where_it_has_an_address():
    offers = [Offer(OfferKind.NOTE, "i1.v0")]
    page = Link("Open incident", "https://toban.example/incidents/1")
    found = render_offers(notification(links=(page,)), offers)
    assert not FakeSlack()._wrong_attachment(found)
    assert found["blocks"][0]["elements"][-1]["url"] == page.href
    odd = render_offers(notification(links=(Link("Open incident", "javascript:alert(1)"),)), offers)
    assert [it["action_id"] for it in odd["blocks"][0]["elements"]] == ["toban.note"]


@pytest.mark.parametrize("verb", Verb)
def test_a_viewer_asks_and_only_who_may_act_answers(verb):
    viewer, operator = User(1, "ann", Role.VIEWER, FakeClock().now()), User(2, "root", Role.OPERATOR, FakeClock().now())
    accounts = Accounts(users={1: viewer, 2: operator})
    assert verb.permission in permissions_of(PEOPLE, "ben", accounts)  # nobody of that name signs in
    asks = verb in {Verb.STATUS, Verb.INCIDENTS, Verb.ON_CALL}
    assert (verb.permission in permissions_of(PEOPLE, "ann", accounts)) is asks
    assert verb.permission in permissions_of(PEOPLE, "cai", accounts)  # the user `root`
    disabled = Accounts(users={1: replace(viewer, enabled=False)})
    assert verb.permission not in permissions_of(PEOPLE, "ann", disabled)
