"""Delivery of messages, from the outbox to the recipients, with failing mail servers and services."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import httpx2
import pytest
from aiosmtplib.protocol import SMTPProtocol

from tests.fake_http import FakeService, Reply, half, late, says
from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.fake_smtp import ScriptedSmtp
from tests.fakes import FakeClock
from tests.integration.test_channels import AT, Listening, message
from toban.core.errors import DeliveryError
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification, NotificationKind
from toban.notify import channel_worker
from toban.notify.channel import ChannelTools
from toban.notify.channel_worker import REROUTE_AFTER, ChannelWorker
from toban.notify.channels.apprise import Apprise
from toban.notify.channels.email import Email
from toban.notify.channels.pagerduty import Pagerduty
from toban.notify.channels.slack import Slack
from toban.notify.channels.webhook import Webhook
from toban.notify.queued_notifications import queue_of
from toban.state import outbox
from toban.state.backends import SqliteBackend
from toban.state.database import State

ANN, BOB = "ann@example.com", "bob@example.com"
DAY = 86_400


class ChannelProcess:
    """One life of a channel's worker over a folder and a clock that outlive it."""

    def __init__(self, channel, folder, clock):
        self.clock = clock
        self.state = State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry())
        # Servers that hang must not last for long; on a busy machine a connection may.
        self.http = httpx2.AsyncClient(timeout=httpx2.Timeout(1.0, connect=20))
        self.worker = ChannelWorker(
            channel, "spare", self.state, ChannelTools(self.http, clock), MetricRegistry(), lambda _: None
        )

    async def put(self, *messages):
        def work(connection):
            for it in messages:
                outbox.enqueue(connection, queue_of("ops"), it.key, it.as_dict(), self.clock.now(), it.group_id)

        await self.state.transaction(work)

    async def tries(self, many=1, seconds=3600):
        """Let the worker send what is due, so many times with so much time between."""
        for _ in range(many):
            await self.worker.drain()
            self.clock.advance(seconds)
        await self.worker.drain()

    async def elsewhere(self):
        """Return what was put on the other channel's queue."""
        waiting = await self.state.transaction(lambda connection: outbox.peek(connection, queue_of("spare")))
        return [Notification.from_dict(it.body) for it in waiting]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.http.aclose()
        await self.state.__aexit__(None, None, None)


@pytest.fixture
def clock():
    return FakeClock(AT)


def mailer(mail, *to, **other):
    fields = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "sender": "toban <t@example.com>", "name": "ops"}
    return Email(**{**fields, "to": to or (ANN,), **other})


# What decides whether a mail was taken


@pytest.mark.parametrize("end", ["hang", "close", "trickle", "500 5.5.1 what?", "421 4.4.2 closing", "nonsense"])
async def test_a_mail_that_was_accepted_is_sent_whatever_quit_does(tmp_path, clock, end, monkeypatch):
    monkeypatch.setattr("toban.notify.smtp.QUIT_SECONDS", 0.05)
    async with ScriptedSmtp({"QUIT": [end] * 9}) as mail, ChannelProcess(mailer(mail), tmp_path, clock) as life:
        await life.put(message())
        await life.tries(3)
        assert len(mail.mails) == 1
        assert (life.worker.waiting.size, life.worker.problem) == (0, "")


async def test_a_late_response_delays_messages_of_its_group_only(tmp_path, clock, monkeypatch):
    """
    Another thread's message passes; one of the same thread waits for its turn.
    """
    monkeypatch.setattr(channel_worker, "SLOW_SECONDS", 0.02)
    async with ScriptedSmtp({".": ["hang"]}) as mail, ChannelProcess(mailer(mail), tmp_path, clock) as life:
        await life.put(message(), message(NotificationKind.RESOLVED, 1), message(group_id="other", key="other.0.ops"))
        running = asyncio.create_task(life.worker.run())
        await mail.until(lambda: len(mail.mails) == 2)
        assert mail.received(ANN) == ["firing", "firing"]
        mail.go_on.set()
        await mail.until(lambda: len(mail.mails) == 3)
        assert mail.received(ANN)[2] == "resolved"
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("end", ["hang", "close", "trickle", "nonsense"])
async def test_a_mail_without_response_is_sent_twice_at_most(tmp_path, clock, end):
    """
    However often it is tried, and then it is told elsewhere; the one after it is sent all the same.
    """
    script = {".": [end] * 2}
    async with ScriptedSmtp(script) as mail:
        channel = mailer(mail, confirmation=timedelta(milliseconds=150))
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.worker.drain()
            clock.advance(REROUTE_AFTER.total_seconds() - 1)
            await life.worker.drain()
            assert len(mail.mails) == 1
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.tries(5)
            assert len(mail.mails) == 2
            assert "it was sent twice and may have arrived" in life.worker.problem
            assert life.worker.waiting.size == 0
            (sent,) = await life.elsewhere()
            assert "may have arrived" in sent.lines[-1]
            await life.put(message(NotificationKind.RESOLVED, 1))
            await life.tries()
            assert mail.received(ANN) == ["firing", "firing", "resolved"]
            assert life.worker.problem == ""


async def test_a_shutdown_while_awaiting_a_response_counts_as_an_attempt(tmp_path, clock):
    """
    Three lives, each of which is stopped while the server keeps silent about the mail: two copies.
    """
    async with ScriptedSmtp({".": ["hang"] * 9}) as mail:
        for _ in range(3):
            async with ChannelProcess(mailer(mail), tmp_path, clock) as life:
                if not mail.mails:
                    await life.put(message())
                before = len(mail.mails)
                running = asyncio.create_task(life.worker.run())
                if before < 2:
                    await mail.until(lambda before=before: len(mail.mails) > before)
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
        async with ChannelProcess(mailer(mail), tmp_path, clock) as life:
            await life.tries(2)
            assert len(mail.mails) == 2
            assert life.worker.waiting.size == 0
            assert len(await life.elsewhere()) == 1


@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_shutdown_that_coincides_with_a_response_is_obeyed(tmp_path, clock, monkeypatch, nth):
    """
    `asyncio.wait_for` of Python 3.11 drops such a cancel, and the worker went on for ever.
    """
    received, sent = SMTPProtocol.data_received, []

    def data_received(self, data):
        received(self, data)
        sent.append(data)
        if len(sent) == nth:
            running.cancel()

    monkeypatch.setattr(SMTPProtocol, "data_received", data_received)
    async with ScriptedSmtp() as mail, ChannelProcess(mailer(mail), tmp_path, clock) as life:
        await life.put(message(), message(group_id="other", key="other.0.ops"))
        running = asyncio.create_task(life.worker.run())
        await asyncio.wait([running], timeout=5)
        ended = running.done()
        while not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=0.1)
        assert ended


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("GREETING", "421 4.3.2 not available"),
        ("GREETING", "close"),
        ("MAIL", "451 4.3.0 later"),
        (f"RCPT {ANN}", "450 4.2.0 greylisted"),
        (f"RCPT {ANN}", "421 4.7.0 closing"),
        ("DATA", "421 4.4.2 timeout"),
        ("DATA", "close"),
        (".", "451 4.3.0 try again"),
        (".", "452 4.3.1 no room"),
    ],
)
async def test_a_temporarily_rejected_mail_is_sent_later(tmp_path, clock, step, reply):
    async with ScriptedSmtp({step: [reply]}) as mail, ChannelProcess(mailer(mail), tmp_path, clock) as life:
        await life.put(message())
        await life.worker.drain()
        assert life.worker.waiting.size == 1
        assert reply == "close" or reply.split(maxsplit=1)[1] in life.worker.problem
        await life.tries(2)
        assert (life.worker.waiting.size, life.worker.problem) == (0, "")
        assert mail.received(ANN) == ["firing"] * (2 if step == "." else 1)  # it counts mail refused after the dot


@pytest.mark.parametrize("step", ["GREETING", "MAIL", f"RCPT {ANN}", "DATA", "."])
async def test_a_permanently_rejected_mail_is_attempted_once(tmp_path, clock, step):
    async with ScriptedSmtp({step: ["554 5.7.1 your address is blocked"] * 9}) as mail:
        async with ChannelProcess(mailer(mail), tmp_path, clock) as life:
            await life.put(message())
            await life.tries(3)
            assert "554 5.7.1 your address is blocked" in life.worker.problem
            assert life.worker.waiting.size == 0
            assert len(await life.elsewhere()) == 1
        assert mail.count("EHLO") <= 1


# Each recipient's fate


@pytest.mark.parametrize("reply", ["452 4.5.3 too many recipients", "450 4.2.0 greylisted", "451 4.7.1 try later"])
async def test_a_temporarily_rejected_recipient_gets_the_mail_later(tmp_path, clock, reply):
    """
    Also through a restart; what comes meanwhile reaches the others at once, and everybody in order.
    """
    async with ScriptedSmtp({f"RCPT {BOB}": [reply] * 2}) as mail:
        channel = mailer(mail, ANN, BOB)
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.worker.drain()
            assert (mail.received(ANN), mail.received(BOB)) == (["firing"], [])
            assert f"{BOB}: {reply}" in life.worker.problem
            await life.put(message(NotificationKind.RESOLVED, 1))
            await life.worker.drain()
            assert (mail.received(ANN), mail.received(BOB)) == (["firing", "resolved"], [])
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.tries(2)
            assert (mail.received(ANN), mail.received(BOB)) == (["firing", "resolved"], ["firing", "resolved"])
            assert (life.worker.waiting.size, life.worker.problem) == (0, "")
        assert mail.count(f"RCPT TO:<{ANN}>") == 2
        ids = {mail.message["Message-ID"] for mail in mail.mails}
        assert len(ids) == 2


async def test_a_permanently_rejected_recipient_is_reported(tmp_path, clock):
    """
    In the server's words, and it is not tried again with the same message.
    """
    async with ScriptedSmtp({f"RCPT {BOB}": ["550 5.1.1 user unknown"]}) as mail:
        channel = mailer(mail, ANN, BOB)
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.tries(3)
            assert mail.count("MAIL") == 1
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.tries()
            assert life.worker.problem == f"{BOB} is rejected: 550 5.1.1 user unknown"
            assert life.worker.refused[BOB].permanent
            await life.put(message(NotificationKind.RESOLVED, 1))
            await life.tries()
            assert life.worker.problem == ""
        assert mail.received(BOB) == ["resolved"]


async def test_only_temporarily_rejected_recipients_are_retried(tmp_path, clock):
    script = {f"RCPT {ANN}": ["450 4.2.0 greylisted"], f"RCPT {BOB}": ["550 5.1.1 user unknown"] * 9}
    async with ScriptedSmtp(script) as mail, ChannelProcess(mailer(mail, ANN, BOB), tmp_path, clock) as life:
        await life.put(message())
        await life.tries(3)
        assert mail.received(ANN) == ["firing"]
        assert (mail.count(f"RCPT TO:<{ANN}>"), mail.count(f"RCPT TO:<{BOB}>")) == (2, 1)
        assert life.worker.problem == f"{BOB} is rejected: 550 5.1.1 user unknown"


async def test_non_ascii_addresses_need_smtputf8(tmp_path, clock):
    """
    A domain is written in ASCII everywhere; a name before the @ needs SMTPUTF8, and costs nobody else the mail.
    """
    odd, abroad = "böb@example.com", "ann@münchen.example"
    async with ScriptedSmtp() as mail, ChannelProcess(mailer(mail, abroad, odd), tmp_path, clock) as life:
        await life.put(message())
        await life.tries()
        assert mail.mails[0].to == ["ann@xn--mnchen-3ya.example"]
        assert "no SMTPUTF8" in life.worker.refused[odd].message
    (tmp_path / "toban.db").unlink()
    async with (
        ScriptedSmtp(None, "SMTPUTF8", "8BITMIME") as mail,
        ChannelProcess(mailer(mail, abroad, odd), tmp_path, clock) as life,
    ):
        await life.put(message())
        await life.tries()
        assert mail.mails[0].to == ["ann@xn--mnchen-3ya.example", odd]


# Logging in


@pytest.mark.parametrize(
    ("reply", "permanent", "words"),
    [
        (
            "534-5.7.9 Application-specific password required. Learn more at\r\n534 5.7.9  https://help.example - x",
            True,
            "534 5.7.9 Application-specific password required. Learn more at https://help.example - x",
        ),
        ("535 5.7.8 Username and Password not accepted: s3cr3t", True, "535 5.7.8 Username and Password not accepted"),
        ("454 4.7.0 Temporary authentication failure", False, "454 4.7.0 Temporary authentication failure"),
        ("421 4.7.0 Too many errors", False, "421 4.7.0 Too many errors"),
    ],
)
async def test_a_rejected_login_has_the_servers_message(tmp_path, clock, reply, permanent, words):
    """
    After one try, and without the password.
    """
    async with ScriptedSmtp({"AUTH": [reply] * 9}, "AUTH PLAIN LOGIN CRAM-MD5") as mail:
        channel = mailer(mail, username="u", password="s3cr3t")
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.worker.drain()
            assert mail.count("AUTH") == 1
            assert words in life.worker.problem
            assert "s3cr3t" not in life.worker.problem
            assert life.worker.failure.permanent is permanent
            proof = await channel.check_connection(ChannelTools(life.http, clock))
        assert not proof.ok
        assert words in proof.message


async def test_an_unavailable_login_method_is_skipped(tmp_path, clock):
    """
    That a server offers what it does not have says nothing about the password.
    """
    script = {"AUTH": ["504 5.5.4 unrecognized", "334 UGFzc3dvcmQ6"]}
    async with ScriptedSmtp(script, "AUTH PLAIN LOGIN") as mail:
        channel = mailer(mail, username="u", password="s3cr3t")
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.worker.drain()
            assert mail.received(ANN) == ["firing"]


async def test_a_server_without_known_login_methods_is_a_permanent_error(tmp_path, clock):
    async with ScriptedSmtp(None, "AUTH XOAUTH2") as mail:
        channel = mailer(mail, username="u", password="s3cr3t")
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.tries(2)
            assert "it offers XOAUTH2" in life.worker.problem
        assert mail.count("EHLO") == 1


# Services


@pytest.mark.parametrize(
    "response",
    [
        Reply(200, b"ok"),
        Reply(200, b"ok\n"),
        Reply(200, b'{"success":true}', "application/json"),
        Reply(200, b'{"ok":true}', "application/json"),
        Reply(200, b"", "application/json"),
        Reply(200, b"ok", "text/plain; charset=utf-16"),
        Reply(200, b"ok", "text/plain; charset=none-such"),
        Reply(201, b'{"id":"1"}', "application/json"),
        Reply(202),
        Reply(204),
        Reply(200, b"posted to your channel"),
    ],
)
async def test_a_slack_compatible_receiver_with_2xx_has_the_message(tmp_path, clock, response):
    service = ConstantService(response)
    async with service, ChannelProcess(Slack(webhook=f"{service.url}/hooks/1", name="ops"), tmp_path, clock) as life:
        await life.put(message())
        await life.tries(3)
        assert len(service.requests) == 1
        assert life.worker.problem == ""


@pytest.mark.parametrize(
    ("response", "words", "permanent"),
    [
        (Reply(200, b"invalid_payload"), "answered 200: invalid_payload", True),
        (Reply(200, b'{"ok":false,"error":"channel_not_found"}'), "answered 200: channel_not_found", True),
        (Reply(200, b'{"success":false,"error":"unknown room"}'), "answered 200: unknown room", True),
        (Reply(200, b"rate_limited"), "answered 200: rate_limited", False),
        (Reply(404, b'{"id":"web.x","message":"Invalid webhook","status_code":404}'), "404: Invalid webhook", True),
        (Reply(404, b"Cannot POST /services/abcdefghijkl"), "404: Cannot POST", True),
        (Reply(500, b"server_error"), "answered 500: server_error", False),
    ],
)
async def test_the_error_of_a_slack_compatible_receiver_is_reported(tmp_path, clock, response, words, permanent):
    service = ConstantService(response)
    async with service:
        channel = Slack(webhook=f"{service.url}/services/abcdefghijkl", name="ops")
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.tries(2)
            assert words in life.worker.problem
            assert "abcdefghijkl" not in life.worker.problem
            assert life.worker.failure.permanent is permanent
            assert len(service.requests) == (1 if permanent else 3)


@pytest.mark.parametrize("fault", [late, half, says(200, b"<!DOCTYPE html><title>Log in</title>")])
async def test_an_unconfirmed_slack_webhook_message_is_sent_twice_at_most(tmp_path, clock, fault):
    async with FakeSlack() as slack:
        slack.next(*[fault] * 9)
        async with ChannelProcess(Slack(webhook=slack.webhook, name="ops"), tmp_path, clock) as life:
            await life.put(message())
            await life.tries(4)
            assert len(slack.requests) == 2
            assert len(await life.elsewhere()) == 1


@pytest.mark.parametrize("fault", [late, half])
async def test_idempotent_receivers_are_retried_until_they_respond(tmp_path, clock, fault):
    """
    PagerDuty by its key, a webhook by the header that says that it is the same.
    """
    async with FakePagerDuty() as pagerduty:
        pagerduty.next(*[fault] * 3)
        async with ChannelProcess(Pagerduty(key=pagerduty.key, api=pagerduty.url, name="ops"), tmp_path, clock) as life:
            await life.put(message())
            await life.tries(4)
            assert (life.worker.waiting.size, len(pagerduty.requests), len(pagerduty.alerts)) == (0, 4, 1)
    (tmp_path / "toban.db").unlink()
    async with Listening() as service:
        service.next(*[fault] * 3)
        async with ChannelProcess(Webhook(url=service.url, name="ops"), tmp_path, clock) as life:
            await life.put(message())
            await life.tries(4)
            assert {it.headers["idempotency-key"] for it in service.requests} == {message().key}
            assert life.worker.waiting.size == 0


@pytest.mark.parametrize(
    ("response", "posts", "words"),
    [
        (Reply(200, b'{"status":"success"}'), 1, ""),
        (Reply(202, b'{"status":"success","warnings":["severity is deprecated"]}'), 1, ""),
        (Reply(204), 1, ""),
        (Reply(200, b'{"status":"invalid event","errors":["no payload"]}'), 1, "invalid event: no payload"),
        (Reply(200, b"<html>log in first</html>"), 3, "which is not PagerDuty's"),
        (Reply(400, b'{"message":"Event object is invalid","errors":["no payload"]}'), 1, "is invalid: no payload"),
    ],
)
async def test_any_2xx_of_pagerduty_counts_as_accepted(tmp_path, clock, response, posts, words):
    service = ConstantService(response)
    async with service, ChannelProcess(Pagerduty(key="0" * 32, api=service.url, name="ops"), tmp_path, clock) as life:
        await life.put(message())
        await life.tries(2)
        assert len(service.requests) == posts
        assert words in life.worker.problem


@pytest.mark.parametrize(("status", "permanent"), [(404, True), (429, False), (500, False)])
async def test_apprise_errors_are_classified_by_its_log(clock, status, permanent):
    service = ConstantService(Reply(status))
    async with service, httpx2.AsyncClient() as http:
        channel = Apprise(name="line", url=f"json://{service.url.removeprefix('http://')}/")
        with pytest.raises(DeliveryError, match=f"error={status}") as refused:
            await channel.send(message(), {}, ChannelTools(http, clock))
    assert refused.value.permanent is permanent


class ConstantService(FakeService):
    """Answers everything the same."""

    def __init__(self, reply):
        super().__init__()
        self.reply = reply

    def respond(self, request):
        return self.reply
