"""Channels against servers: pretended ones that are as strict as the real, and a mail server that speaks SMTP."""

import gzip
import hashlib
import hmac
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from pydantic import ValidationError

from tests.fake_http import FakeService, ReceivedRequest, Reply, broken, busy, half, late, says, unchanged
from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.fake_smtp import FakeSmtp
from tests.fakes import FakeClock
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import DeliveryError
from toban.core.labels import Labels
from toban.core.notification import Document, DocumentSection, Fact, Link, Notification, NotificationKind
from toban.notify.channel import ChannelTools
from toban.notify.channels.apprise import Apprise
from toban.notify.channels.email import Email
from toban.notify.channels.pagerduty import Pagerduty
from toban.notify.channels.slack import Slack
from toban.notify.channels.webhook import Webhook

AT = datetime(2026, 1, 1, 3, tzinfo=UTC)
EVIL = "<!channel> & <https://evil|click>\r\nBcc: everybody@example.com"
DOWN = Alert(
    Labels(alertname="application_down", instance="https://shop.example", job="vendure", severity="critical"),
    {"summary": "Vendure application is down"},
    AlertStatus.FIRING,
    AT - timedelta(minutes=2),
    fired=AT,
    value=0.0,
)


@pytest.fixture
async def tools():
    async with httpx2.AsyncClient(timeout=2) as http:
        yield ChannelTools(http, FakeClock(AT), "https://toban.example", "shop.example (staging)")


def message(kind=NotificationKind.FIRING, number=0, **other):
    fields = {
        "group_id": "4f1c",
        "number": number,
        "key": f"4f1c.{number}.ops",
        "kind": kind,
        "severity": "critical",
        "title": "Vendure application is down",
        "lines": ("Since 03:00 UTC.", "What to do: look at the logs."),
        "facts": (Fact("Priority", "P1"),),
        "links": (Link("Runbook", "https://wiki.example/down"),),
        "at": AT + timedelta(minutes=number),
        "since": AT,
        "alerts": (DOWN if kind is not NotificationKind.RESOLVED else DOWN.resolved(AT + timedelta(minutes=5)),),
        "group_labels": Labels(alertname="application_down"),
        "receiver": "ops",
    }
    return Notification(**{**fields, **other})


STORY = (NotificationKind.FIRING, NotificationKind.REMINDER, NotificationKind.ACKNOWLEDGED, NotificationKind.RESOLVED)


async def send_story(channel, tools, kinds=STORY):
    """Tell a whole thread, each message with what the one before left."""
    handle = {}
    for number, kind in enumerate(kinds):
        handle = await channel.send(message(kind, number), handle, tools)
    return handle


# Slack


async def test_a_slack_webhook_gets_the_originals_attachment(tools):
    """
    Colours, fields, name and channel of the original design; green when it is over.
    """
    async with FakeSlack() as slack:
        await send_story(Slack(webhook=slack.webhook), tools, (NotificationKind.FIRING, NotificationKind.RESOLVED))
        first, last = slack.messages
    assert (first.body["channel"], first.body["username"]) == ("#vendure-alerts", "Vendure Monitor")
    assert (first.attachment["color"], last.attachment["color"]) == ("#ff0000", "#36a64f")
    assert first.attachment["ts"] == int(AT.timestamp())
    assert first.attachment["fields"][:2] == [
        {"title": "Severity", "value": "CRITICAL", "short": True},
        {"title": "Shop", "value": "shop.example (staging)", "short": True},
    ]
    assert "<https://wiki.example/down|Runbook>" in first.attachment["text"]


async def test_a_report_in_slack_has_its_figures_as_fields_and_a_link(tools):
    """
    By a webhook and by a bot alike; parts of it come from outside.
    """
    figures = (Fact("Orders", "2026-11: 1,234\nChange: +12 %"), Fact("<!channel>", "1 & 2"))
    sections = (
        DocumentSection(lines=("Customers could buy all the time.",)),
        DocumentSection("Sales", (), figures, "1 ▂█ 2"),
    )
    report = message(
        NotificationKind.NOTICE, document=Document("<p>", {}, sections), links=(Link("Open", "https://t.example/r"),)
    )
    async with FakeSlack() as slack:
        await Slack(webhook=slack.webhook).send(report, {}, tools)
        await Slack(token=slack.token, api=slack.api).send(report, {}, tools)
        shown = [it.body["blocks"] for it in slack.messages]
    assert shown[0] == shown[1]
    header, lead, heading, fields, chart, link = shown[0]
    assert (header["type"], lead["text"]["text"]) == ("header", "Customers could buy all the time.")
    assert heading["text"]["text"] == "*Sales*"
    assert [it["text"] for it in fields["fields"]] == [
        "*Orders*\n2026-11: 1,234\nChange: +12 %",
        "*&lt;!channel&gt;*\n1 &amp; 2",
    ]
    assert chart["elements"][0]["text"] == "`1 ▂█ 2`"
    assert link["elements"][0]["text"] == "<https://t.example/r|Open>"


async def test_a_report_of_any_length_is_accepted_by_slack_and_keeps_its_link(tools):
    section = DocumentSection("h" * 5_000, ("<" * 9_000,), (Fact("n" * 4_000, "&" * 4_000),) * 25, "█" * 9_000)
    report = message(
        NotificationKind.NOTICE,
        title="t" * 400,
        document=Document("<p>", {}, (section,) * 40),
        links=(Link("Open", "https://t.example/r"),),
    )
    async with FakeSlack() as slack:
        await Slack(token=slack.token, api=slack.api).send(report, {}, tools)
        (only,) = slack.messages
    assert len(only.body["blocks"]) == 50
    assert "https://t.example/r" in only.body["blocks"][-1]["elements"][0]["text"]


async def test_a_slack_bot_updates_one_message(tools):
    """
    With a reply for each change; what is said again is seen by everybody.
    """
    async with FakeSlack() as slack:
        await send_story(Slack(token=slack.token, api=slack.api), tools)
        (only,) = slack.messages
    assert only.attachment["color"] == "#36a64f"
    assert [reply.body["reply_broadcast"] for reply in only.replies] == [True, False, False]
    assert [reply.body["text"].partition(":")[0] for reply in only.replies] == [
        "Still firing",
        "Acknowledged",
        "Resolved",
    ]


async def test_a_deleted_slack_message_is_posted_again(tools):
    """
    Rather than never.
    """
    async with FakeSlack() as slack:
        channel = Slack(token=slack.token, api=slack.api)
        handle = await channel.send(message(), {}, tools)
        slack.lose()
        await channel.send(message(NotificationKind.RESOLVED, 1), handle, tools)
        assert len(slack.messages) == 1


@pytest.mark.parametrize("fault", [late, half])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_slack_message_whose_response_was_lost_is_found(tools, fault, before):
    """
    The message, or the reply to it: neither stands there twice.
    """
    async with FakeSlack() as slack:
        slack.page = 1
        channel = Slack(token=slack.token, api=slack.api)
        handle = await send_story(channel, tools, STORY[:before])
        await channel.send(message(group_id="another"), {}, tools)
        quick = replace(tools, http=httpx2.AsyncClient(timeout=0.2))
        story = message(STORY[before], before)
        slack.next(fault)
        with pytest.raises(DeliveryError):
            await channel.send(story, handle, quick)
        await quick.http.aclose()
        handle = await channel.send(replace(story, is_retry=True), handle, tools)
        await channel.send(message(NotificationKind.RESOLVED, 2), handle, tools)
        only, _ = sorted(slack.messages, key=lambda it: -len(it.replies))
        assert (len(slack.messages), len(only.replies)) == (2, before + 1)
        assert only.attachment["footer"] == "toban · Resolved"


@pytest.mark.parametrize(
    ("spoil", "many"),
    [
        (lambda slack: slack.scopes.remove("channels:history"), 2),
        (lambda slack: slack.scopes.remove("channels:read"), 2),
        (lambda slack: slack.lose(), 1),
        (lambda slack: None, 1),
    ],
)
async def test_without_history_permission_a_slack_message_may_be_duplicated(tools, spoil, many):
    """
    And once more when somebody deleted it.
    """
    async with FakeSlack() as slack:
        channel = Slack(token=slack.token, api=slack.api)
        await channel.send(message(), {}, tools)
        spoil(slack)
        await channel.send(message(is_retry=True), {}, tools)
        assert len(slack.messages) == many


async def test_a_slack_message_waits_two_minutes_for_the_history(tools):
    """
    Two minutes; then it is sent, whatever is there.
    """
    async with FakeSlack() as slack:
        channel = Slack(token=slack.token, api=slack.api, channel="C0000000001")
        await channel.send(message(), {}, tools)
        slack.next(broken, broken)
        with pytest.raises(DeliveryError):
            await channel.send(message(is_retry=True), {}, tools)
        await channel.send(message(is_retry=True, at=AT - timedelta(minutes=3)), {}, tools)
        assert len(slack.messages) == 2


async def test_texts_are_escaped_for_slack(tools):
    """
    Signs that mean something to Slack are written as themselves.
    """
    async with FakeSlack() as slack:
        evil = message(title=EVIL, lines=(EVIL,), facts=(Fact(EVIL, EVIL),), links=(Link(EVIL, "javascript:alert(1)"),))
        await Slack(webhook=slack.webhook).send(evil, {}, tools)
        shown = str(slack.messages[0].body)
    assert "<!" not in shown
    assert "<https" not in shown
    assert "<javascript" not in shown


@pytest.mark.parametrize(
    ("fault", "permanent", "after"),
    [
        (says(404, b"no_service"), True, None),
        (says(403, b"action_prohibited"), True, None),
        (says(400, b"invalid_payload"), True, None),
        (says(200, gzip.compress(bytes(5_000_000)), content_encoding="gzip"), False, None),
    ],
)
async def test_slack_errors_are_permanent_or_retried(tools, fault, permanent, after):
    """
    What may end otherwise is tried again, when Slack asks for it; the address is told to nobody.
    """
    async with FakeSlack() as slack:
        slack.next(fault)
        with pytest.raises(DeliveryError) as caught:
            await Slack(webhook=slack.webhook, name="ops").send(message(), {}, tools)
        assert (caught.value.permanent, caught.value.after) == (permanent, after)
        assert str(caught.value).startswith("ops: ")
        assert slack.secret not in str(caught.value)


async def test_a_missing_response_times_out(tools):
    """
    The client's time is over; the message may have arrived.
    """
    async with FakeSlack() as slack:
        slack.next(late)
        quick = replace(tools, http=httpx2.AsyncClient(timeout=0.2))
        with pytest.raises(DeliveryError, match="accepts connections but does not answer"):
            await Slack(webhook=slack.webhook).send(message(), {}, quick)
        await quick.http.aclose()
        assert len(slack.messages) == 1


@pytest.mark.parametrize(
    ("spoil", "checked"),
    [
        (lambda slack: slack.archived.add("C0000000001"), "is_archived"),
        (lambda slack: slack.channels.clear(), "channel_not_found: name a channel that there is"),
        (lambda slack: slack.scopes.clear(), "missing_scope: give the app the scopes"),
        (lambda slack: setattr(slack, "revoked", True), "token_revoked"),
    ],
)
async def test_slack_errors_with_status_200_are_errors(tools, spoil, checked):
    """
    And ends the try for good, with a word of what to do.
    """
    async with FakeSlack() as slack:
        spoil(slack)
        with pytest.raises(DeliveryError, match=checked) as caught:
            await Slack(token=slack.token, api=slack.api).send(message(), {}, tools)
        assert caught.value.permanent


async def test_the_slack_connection_is_checked(tools):
    """
    A token by asking who it is; a webhook by connecting.
    """
    async with FakeSlack() as slack:
        well = await Slack(token=slack.token, api=slack.api).check_connection(tools)
        hook = await Slack(webhook=slack.webhook).check_connection(tools)
        slack.scopes.remove("channels:history")
        blind = await Slack(token=slack.token, api=slack.api).check_connection(tools)
        slack.revoked = True
        ill = await Slack(token=slack.token, api=slack.api).check_connection(tools)
        assert slack.messages == []
    assert (well.ok, hook.ok, ill.ok) == (True, True, False)
    assert "twice" not in well.message
    assert blind.message.endswith("after a crash a message may come twice: the app lacks channels:history")
    assert "send a test notification to see" in hook.message
    gone = await Slack(webhook=slack.webhook).check_connection(tools)
    assert (gone.ok, "connection refused" in gone.message) == (False, True)


# PagerDuty


async def test_pagerduty_shows_one_incident_from_firing_to_resolved(tools):
    """
    However often it is told; it pages once.
    """
    async with FakePagerDuty() as pagerduty:
        channel = Pagerduty(key=pagerduty.key, api=pagerduty.url)
        handle = {}
        for number, kind in enumerate((NotificationKind.FIRING, NotificationKind.FIRING, NotificationKind.REMINDER)):
            handle = await channel.send(message(kind, number), handle, tools)
        (incident,) = pagerduty.alerts.values()
        assert (incident.status, incident.paged) == ("triggered", 1)
        handle = await channel.send(message(NotificationKind.ACKNOWLEDGED, 3), handle, tools)
        assert incident.status == "acknowledged"
        await channel.send(message(NotificationKind.RESOLVED, 4), handle, tools)
        assert incident.status == "resolved"
        payload = incident.triggers[0]["payload"]
        assert (payload["severity"], payload["source"]) == ("critical", "https://shop.example")
        assert pagerduty.dropped == []


async def test_an_acknowledgement_triggers_an_unknown_pagerduty_incident(tools):
    """
    It would be dropped without a word.
    """
    async with FakePagerDuty() as pagerduty:
        await Pagerduty(key=pagerduty.key, api=pagerduty.url).send(message(NotificationKind.ACKNOWLEDGED), {}, tools)
        (incident,) = pagerduty.alerts.values()
        assert incident.status == "acknowledged"


async def test_notices_of_toban_are_pagerduty_change_events(tools):
    """
    It is a change event.
    """
    async with FakePagerDuty() as pagerduty:
        await Pagerduty(key=pagerduty.key, api=pagerduty.url).send(message(NotificationKind.NOTICE), {}, tools)
        assert (len(pagerduty.changes), pagerduty.alerts) == (1, {})


async def test_a_large_pagerduty_event_is_sent_without_details(tools):
    """
    Not its alert.
    """
    async with FakePagerDuty() as pagerduty:
        await Pagerduty(key=pagerduty.key, api=pagerduty.url).send(message(lines=("x" * 600_000,)), {}, tools)
        (incident,) = pagerduty.alerts.values()
        assert "omitted" in incident.triggers[0]["payload"]["custom_details"]["error"]


# Webhook


class Listening(FakeService):
    """Takes everything."""

    def respond(self, request: ReceivedRequest) -> Reply:
        return Reply(200)

    pretended = respond


async def test_a_webhook_gets_alertmanagers_payload_signed(tools):
    """
    Whoever knows the secret can tell that it came from here.
    """
    async with Listening() as service:
        channel = Webhook(url=service.url, secret="s3cret", token="t0ken", headers={"x-team": "shop"})
        await channel.send(message(), {}, tools)
        await channel.send(message(NotificationKind.RESOLVED, 1), {}, tools)
        first, last = service.requests
    digest = hmac.new(b"s3cret", first.body, hashlib.sha256).hexdigest()
    assert first.headers["x-toban-signature"] == f"sha256={digest}"
    assert (first.headers["authorization"], first.headers["x-team"]) == ("Bearer t0ken", "shop")
    assert first.json["version"] == "4"
    assert (first.json["status"], last.json["status"]) == ("firing", "resolved")
    (alert,) = first.json["alerts"]
    assert (alert["endsAt"], alert["startsAt"]) == ("0001-01-01T00:00:00Z", "2026-01-01T03:00:00.000Z")
    assert last.json["alerts"][0]["endsAt"] == "2026-01-01T03:05:00.000Z"
    assert alert["fingerprint"] == DOWN.fingerprint


@pytest.mark.parametrize(
    ("fault", "permanent"),
    [(busy(3), False), (broken, False), (says(503), False), (says(410), True), (says(302), True), (unchanged, None)],
)
async def test_webhook_errors_are_permanent_or_retried(tools, fault, permanent):
    """
    A redirection is not followed: what is posted would be lost on the way.
    """
    async with Listening() as service:
        service.next(fault)
        if permanent is None:
            await Webhook(url=service.url).send(message(), {}, tools)
            return
        with pytest.raises(DeliveryError) as caught:
            await Webhook(url=service.url, token="t0ken").send(message(), {}, tools)
        assert caught.value.permanent is permanent


# E-mail


def mailer(mail, **other):
    fields = {
        "host": "127.0.0.1",
        "port": mail.port,
        "ca": mail.ca,
        "username": mail.user,
        "password": mail.password,
        "sender": "toban <alerts@example.com>",
        "to": ("ann@example.com", "Bob <bob@example.com>"),
        "timeout": timedelta(seconds=3),
    }
    return Email(**{**fields, **other})


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_a_group_is_one_thread_of_mails(tools, tmp_path, mode):
    """
    Text and HTML, over a verified line; each later mail refers to the first; the subject says the state and the place.
    """
    async with FakeSmtp(tmp_path, mode=mode) as mail:
        await send_story(mailer(mail, tls=mode), tools)
    assert [it.to for it in mail.mails] == [["ann@example.com", "bob@example.com"]] * 4
    first, *others = (it.message for it in mail.mails)
    title = "shop.example (staging): Vendure application is down"
    states = ("FIRING", "FIRING", "ACKNOWLEDGED", "RESOLVED")
    assert [it["Subject"].strip() for it in (first, *others)] == [f"[{state} critical] {title}" for state in states]
    assert all(it["In-Reply-To"] == first["Message-ID"] for it in others)
    assert len({it["Message-ID"] for it in (first, *others)}) == 4
    assert first["Auto-Submitted"] == "auto-generated"
    text, page = (part.get_content() for part in first.iter_parts())
    assert "What to do: look at the logs." in text
    assert '<a href="https://wiki.example/down">Runbook</a>' in page


async def test_texts_are_escaped_in_mail_headers_and_html(tools, tmp_path):
    """
    A line break is a space there, and a sign of HTML is itself.
    """
    async with FakeSmtp(tmp_path) as mail:
        evil = "<script>alert(1)</script>" + EVIL
        await mailer(mail).send(message(title=evil, lines=(evil,)), {}, tools)
    (only,) = mail.mails
    assert only.message["Bcc"] is None
    assert "<script>" not in list(only.message.iter_parts())[1].get_content()


async def test_a_rejected_recipient_does_not_affect_the_others(tools, tmp_path):
    """
    It is remembered who; all refused is a failure, for good when all say so.
    """
    async with FakeSmtp(tmp_path) as mail:
        mail.refuse["bob@example.com"] = "550 5.1.1 unknown"
        handle = await mailer(mail).send(message(), {}, tools)
        assert handle["reached"] == ["ann@example.com"]
        assert "550" in handle["refused"]["Bob <bob@example.com>"]
        mail.refuse["ann@example.com"] = "550 5.1.1 unknown"
        with pytest.raises(DeliveryError, match="no recipient was accepted") as caught:
            await mailer(mail).send(message(NotificationKind.RESOLVED, 1), handle, tools)
        assert caught.value.permanent
        mail.refuse["ann@example.com"] = "450 4.2.1 greylisted"
        with pytest.raises(DeliveryError) as caught:
            await mailer(mail).send(message(NotificationKind.RESOLVED, 1), handle, tools)
        assert not caught.value.permanent


@pytest.mark.parametrize(
    ("response", "permanent"), [("451 4.3.0 try again", False), ("554 5.7.1 looks like spam", True), ("drop", False)]
)
async def test_smtp_errors_are_permanent_or_retried(tools, tmp_path, response, permanent):
    """
    A mail whose answer was lost is sent again under the same Message-ID.
    """
    async with FakeSmtp(tmp_path) as mail:
        mail.next(response)
        with pytest.raises(DeliveryError) as caught:
            await mailer(mail).send(message(), {}, tools)
        assert caught.value.permanent is permanent
        if not permanent:
            await mailer(mail).send(message(), {}, tools)
            assert len({it.message["Message-ID"] for it in mail.mails}) == 1


async def test_an_unverified_smtp_connection_is_not_used(tools, tmp_path):
    """
    An unknown certificate, a server without STARTTLS, a wrong password: no secret leaves, and it says why.
    """
    async with FakeSmtp(tmp_path) as mail:
        with pytest.raises(DeliveryError, match=r"self-signed|self signed|verify"):
            await mailer(mail, ca=None).send(message(), {}, tools)
        with pytest.raises(DeliveryError, match="does not accept the user and password") as caught:
            await mailer(mail, password="wrong").send(message(), {}, tools)
        assert caught.value.permanent
        assert mail.mails == []
    async with FakeSmtp(tmp_path, mode="plain", login=False) as mail:
        with pytest.raises(DeliveryError, match="offers no STARTTLS") as caught:
            await mailer(mail).send(message(), {}, tools)
        assert caught.value.permanent
        await mailer(mail, tls="none", username="").send(message(), {}, tools)
        assert len(mail.mails) == 1


async def test_the_mail_server_connection_is_checked_with_login(tools, tmp_path):
    """
    Nothing is sent.
    """
    async with FakeSmtp(tmp_path) as mail:
        assert (await mailer(mail).check_connection(tools)).ok
        checked = await mailer(mail, password="wrong").check_connection(tools)
        assert (checked.ok, "user and password" in checked.message) == (False, True)
        assert mail.tries == 0
        gone = mailer(mail, port=9)
    assert not (await gone.check_connection(tools)).ok


@pytest.mark.parametrize(
    ("make", "checked"),
    [
        (lambda: Slack(), "needs either `webhook` or `token`"),
        (lambda: Slack(webhook="https://x", token="xoxb"), "needs either `webhook` or `token`"),
        (lambda: Pagerduty(key="short"), "has 32 characters"),
        (lambda: Email(host="mail.example", sender="a@b.c", to=("a@b.c",), tls="none"), "on this machine only"),
        (lambda: Email(host="mail.example", sender="a@b.c", to=()), "at least one recipient"),
        (lambda: Email(host="mail.example", sender="nobody", to=("a@b.c",)), "'nobody' is an invalid e-mail address"),
    ],
)
def test_an_invalid_channel_is_rejected(make, checked):
    """
    With what to do.
    """
    with pytest.raises(ValidationError, match=checked):
        make()


async def test_apprise_gets_title_body_and_type(tools):
    """
    An end is a success; what failed says why, without the address, and may be tried again.
    """
    async with Listening() as service:
        place = service.url.removeprefix("http://")
        channel = Apprise(name="line", url=f"json://user:s3cret@{place}/")
        await send_story(channel, tools, (NotificationKind.FIRING, NotificationKind.RESOLVED))
        first, last = (request.json for request in service.requests)
        service.next(broken)
        with pytest.raises(DeliveryError) as failed:
            await channel.send(message(), {}, tools)
        proof = await channel.check_connection(tools)
    assert (first["type"], last["type"]) == ("failure", "success")
    assert first["title"].endswith("Vendure application is down")
    assert "What to do: look at the logs.\nPriority: P1\nRunbook: https://wiki.example/down" in first["message"]
    assert not failed.value.permanent
    assert "s3cret" not in str(failed.value)
    assert proof.ok
    assert "Apprise reads the address as" in proof.message


async def test_an_unknown_apprise_url_is_a_permanent_error(tools, monkeypatch):
    """
    And where Apprise is not installed, what to install is said.
    """
    channel = Apprise(name="line", url="nothing://x")
    with pytest.raises(DeliveryError, match="can't read the address") as refused:
        await channel.send(message(), {}, tools)
    assert refused.value.permanent
    assert not (await channel.check_connection(tools)).ok
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(DeliveryError, match=r"pip install 'toban\[apprise\]'"):
        await channel.send(message(), {}, tools)
    assert "pip install" in (await channel.check_connection(tools)).message
