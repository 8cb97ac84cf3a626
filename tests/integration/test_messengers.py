"""Messengers, SMS and calls against fakes on loopback, which are as strict as the services."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from tests import fake_teams, fake_twilio
from tests.fake_chatwork import FakeChatwork
from tests.fake_discord import FakeDiscord
from tests.fake_http import Fault, broken
from tests.fake_line import FakeLine
from tests.fake_ntfy import FakeNtfy
from tests.fake_teams import FakeTeams
from tests.fake_telegram import FakeTelegram
from tests.fake_twilio import FakeTwilio
from tests.fakes import FakeClock
from tests.messengers import (
    LINKS,
    MESSENGERS,
    PHONE,
    SECOND,
    Messenger,
    as_text,
    attempt,
    chatwork,
    discord,
    http,
    line,
    message,
    ntfy,
    teams,
    telegram,
    twilio,
)
from toban.core.errors import DeliveryError
from toban.core.notification import Fact, Link, NotificationKind
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channels.chatwork import Chatwork
from toban.notify.channels.discord import Discord
from toban.notify.channels.line import Line
from toban.notify.channels.ntfy import Ntfy
from toban.notify.channels.teams import Teams
from toban.notify.channels.telegram import Telegram
from toban.notify.channels.twilio import Twilio

__all__ = ["attempt", "http"]


@pytest.fixture(params=MESSENGERS)
def messenger(request: pytest.FixtureRequest) -> Messenger:
    return MESSENGERS[request.param]


STORY = (NotificationKind.FIRING, NotificationKind.REMINDER, NotificationKind.ACKNOWLEDGED, NotificationKind.RESOLVED)


async def send_story(channel: Channel, attempt: Callable[[], ChannelTools], **fields: Any) -> None:
    """Send what is said of a group from its beginning to its end."""
    handle: Any = {}
    for number, kind in enumerate(STORY):
        handle = await channel.send(message(kind, number, **fields), handle, attempt())


# Texts from outside


HOSTILE = (
    "@everyone <@1234> <!channel> <b>bold</b> <a href='https://evil.example'>click</a> & &amp; "
    "[click](https://evil.example) **bold** `code` [To:42] [/info] [toall] \u202egnp.exe\u202c \u200b\ud83d "
    "</Say><Dial>+1900</Dial> \x1b[31m 🔥"
)


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE * 60, '倉🔥"' * 5_000], ids=["short", "long", "many bytes"])
async def test_hostile_texts_are_shown_and_do_nothing(messenger: Messenger, attempt, text: str) -> None:
    """
    Markup, mentions, HTML, directions of text, half an emoji, and ten kilobytes and more of it.
    """
    evil = message(
        title=text,
        lines=(text, "# heading", "- item", *(text for _ in range(19))),
        facts=tuple(Fact(text, text) for _ in range(10)),
        links=(Link(text, "https://wiki.example/orders"), Link("x", "javascript:alert(1)"), *LINKS),
    )
    async with messenger.fake() as fake:
        handle = await messenger.channel(fake).send(evil, {}, attempt())
        await messenger.channel(fake).send(
            message(NotificationKind.RESOLVED, 1, title=text, lines=(text,)), handle, attempt()
        )
        shown = "\n".join(messenger.seen(fake))
    assert "\u202e" not in shown
    assert "javascript:" not in shown
    assert "everyone" in shown or "倉🔥" in shown


async def test_markdown_and_mentions_are_escaped_for_discord(attempt) -> None:
    async with FakeDiscord() as fake:
        await discord(fake).send(message(title=HOSTILE, lines=("# heading", HOSTILE)), {}, attempt())
        (shown,) = fake.messages.values()
    (embed,) = shown["embeds"]
    assert r"\@everyone \<\@1234> \<!channel>" in embed["title"]
    assert r"\[click\](https://evil.example) \*\*bold\*\* \`code\`" in embed["title"]
    assert embed["description"].startswith("\\# heading\n")


async def test_tags_are_broken_for_chatwork(attempt) -> None:
    async with FakeChatwork() as fake:
        await chatwork(fake, mention=("7",)).send(message(title=HOSTILE), {}, attempt())
        await chatwork(fake, mention=("7",)).send(message(NotificationKind.RESOLVED, 1), {}, attempt())
    first, last = fake.messages
    assert re.findall(r"\[[^\u200b].*?\]", first) == ["[To:7]", "[info]", "[title]", "[/title]", "[/info]"]
    assert "[To:" not in last


async def test_html_and_mentions_are_escaped_for_telegram(attempt) -> None:
    async with FakeTelegram() as fake:
        await telegram(fake).send(message(title=HOSTILE), {}, attempt())
        (shown,) = fake.messages.values()
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown["text"]
    assert "@\u2060everyone" in shown["text"]


async def test_teams_reads_no_text_as_markdown(attempt) -> None:
    async with FakeTeams() as fake:
        await teams(fake).send(message(title=HOSTILE), {}, attempt())
        (card,) = fake.posted
    assert any("[click](https://evil.example)" in text for text in fake_teams.texts(card))
    assert [part["text"] for part in card["body"] if part["type"] == "TextBlock"] == ["Firing"]


async def test_a_call_says_twice_what_is_wrong(attempt) -> None:
    """
    Whatever the text is, it is spoken and no TwiML.
    """
    async with FakeTwilio() as fake:
        await twilio(fake, by="call").send(message(title=HOSTILE, language="ja"), {}, attempt())
        (call,) = fake.calls
    first, second = fake_twilio.spoken(call["Twiml"])
    assert first == second
    assert "</Say><Dial>+1900</Dial>" in first
    assert 'language="ja-JP"' in call["Twiml"]


# What each service shows of a group from its beginning to its end


async def test_a_discord_message_is_updated_and_changes_are_posted(attempt) -> None:
    async with FakeDiscord() as fake:
        await send_story(discord(fake, thread="42"), attempt)
        first, *changes = fake.messages.values()
    assert (first["embeds"][0]["title"], first["embeds"][0]["color"]) == ("Resolved: Orders fail", 0x36A64F)
    buttons = [(it["label"], it["url"]) for it in first["components"][0]["components"]]
    assert buttons == [("Runbook", "https://wiki.example/orders"), ("toban", "https://toban.example/alerts/0123")]
    states = [it["content"].partition(":")[0] for it in changes]
    assert states == ["Still firing", "Acknowledged", "Resolved"]
    assert fake.threads == ["42"] * 4


async def test_a_telegram_message_is_updated_and_replied_to(attempt) -> None:
    async with FakeTelegram() as fake:
        await send_story(telegram(fake, topic=5), attempt)
    (only,) = fake.messages.values()
    assert only["text"].startswith("<b>Resolved: Orders fail</b>\n")
    assert [[it["url"] for it in row] for row in only["reply_markup"]["inline_keyboard"]] == [
        ["https://wiki.example/orders"],
        ["https://toban.example/alerts/0123"],
    ]
    states = [it["text"].partition(":")[0] for it in fake.replies]
    assert states == ["Still firing", "Acknowledged", "Resolved"]
    assert {it["reply_parameters"]["message_id"] for it in fake.replies} == {1}
    assert {it["message_thread_id"] for it in fake.replies} == {5}


async def test_an_ntfy_notification_is_replaced_on_the_phone(attempt) -> None:
    async with FakeNtfy() as fake:
        await send_story(ntfy(fake), attempt)
        await ntfy(fake).send(message(group_id="another", severity="warning"), {}, attempt())
    first, other = fake.phone.values()
    assert (first["title"], first["priority"], first["tags"]) == ("Resolved: Orders fail", 3, ["white_check_mark"])
    assert (other["priority"], other["tags"], fake.sounds) == (4, ["warning"], 5)
    assert first["click"] == "https://toban.example/alerts/0123"
    assert [it["label"] for it in first["actions"]] == ["Runbook", "toban"]


async def test_line_shows_buttons_and_colors(attempt) -> None:
    async with FakeLine() as fake:
        await send_story(line(fake), attempt, language="ja")
    assert [it["altText"] for it in fake.messages] == [
        f"{state}: Orders fail" for state in ("発生", "継続中", "確認済み", "復旧")
    ]
    first, last = (it["contents"] for it in (fake.messages[0], fake.messages[-1]))
    assert [it["body"]["contents"][0]["color"] for it in (first, last)] == ["#d32f2f", "#2e7d32"]
    assert [it["action"]["label"] for it in first["footer"]["contents"]] == ["Runbook", "toban"]


async def test_teams_gets_a_card_with_buttons(attempt) -> None:
    async with FakeTeams() as fake:
        await send_story(teams(fake), attempt)
    first, last = fake.posted[0], fake.posted[-1]
    assert [(it["body"][0]["text"], it["body"][0]["color"]) for it in (first, last)] == [
        ("Firing", "Attention"),
        ("Resolved", "Good"),
    ]
    assert fake_teams.texts(first)[:2] == ["Orders fail", "Now: 12.5 % (limit: 10 %)."]
    assert "Shop: shop.example" in fake_teams.texts(first)
    assert [it["title"] for it in first["actions"]] == ["Runbook", "toban"]


async def test_a_text_message_ends_with_the_link(attempt) -> None:
    async with FakeTwilio() as fake:
        await twilio(fake, sender="MG" + "0" * 32, to=f"{PHONE}, {SECOND}").send(message(), {}, attempt())
    first, second = fake.messages
    assert (first["To"], second["To"]) == (PHONE, SECOND)
    assert first["MessagingServiceSid"].startswith("MG")
    assert first["Body"].startswith("Firing: Orders fail\nNow: 12.5 %")
    assert first["Body"].endswith("\nhttps://toban.example/alerts/0123")


async def test_nobody_is_called_because_an_alert_is_resolved(attempt) -> None:
    async with FakeTwilio() as fake:
        await send_story(twilio(fake, by="call"), attempt)
    assert (len(fake.calls), len(fake.messages)) == (2, 2)


@pytest.mark.parametrize(
    ("severity", "group", "calls"), [("info", "silence-1", 0), ("critical", "incident-1", 1), ("info", "test-1", 1)]
)
async def test_a_notice_is_a_call_if_it_is_critical_or_a_test(attempt, severity: str, group: str, calls: int) -> None:
    """
    The end of a silence is none; an incident that somebody is assigned to is one.
    """
    async with FakeTwilio() as fake:
        told = message(NotificationKind.NOTICE, severity=severity, group_id=group)
        await twilio(fake, by="call").send(told, {}, attempt())
    assert (len(fake.calls), len(fake.messages)) == (calls, 1 - calls)


# What else may happen at each service


async def test_line_detects_a_repeated_message(attempt) -> None:
    async with FakeLine() as fake:
        await line(fake).send(message(), {}, attempt())
        await line(fake).send(message(is_retry=True), {}, attempt())
        await line(fake).send(message(NotificationKind.RESOLVED, 1), {}, attempt())
    assert len(fake.messages) == 2


@pytest.mark.parametrize(("spoil", "of"), [(FakeLine, "monthly limit"), (FakeNtfy, "daily message quota")])
async def test_a_quota_that_is_used_up_is_a_permanent_error(attempt, spoil, of: str) -> None:
    """
    So that another channel gets the message at once.
    """
    async with spoil() as fake:
        fake.quota, fake.day_is_used_up = 0, True
        channel = line(fake) if isinstance(fake, FakeLine) else ntfy(fake)
        with pytest.raises(DeliveryError, match=of) as caught:
            await channel.send(message(), {}, attempt())
        assert caught.value.permanent


@pytest.mark.parametrize("make", [FakeDiscord, FakeTelegram])
async def test_a_deleted_message_is_posted_again(attempt, make) -> None:
    async with make() as fake:
        channel = discord(fake) if isinstance(fake, FakeDiscord) else telegram(fake)
        handle = await channel.send(message(), {}, attempt())
        fake.messages.clear()
        handle = await channel.send(message(NotificationKind.ACKNOWLEDGED, 1), handle, attempt())
        await channel.send(message(NotificationKind.RESOLVED, 2), handle, attempt())
        (first, *_) = as_text(fake.messages.values())
    assert "Resolved: Orders fail" in first


@pytest.mark.parametrize("make", [FakeDiscord, FakeTelegram])
async def test_an_address_that_is_no_button_does_not_cost_the_message(attempt, make) -> None:
    """
    A host of the own network has no dot in its name.
    """
    async with make() as fake:
        channel = discord(fake) if isinstance(fake, FakeDiscord) else telegram(fake)
        await channel.send(message(links=(Link("toban", "http://toban:9119/alerts"),)), {}, attempt())
        (shown,) = as_text(fake.messages.values())
    assert "Orders fail" in shown
    assert isinstance(fake, FakeDiscord) or "toban: http://toban:9119/alerts" in shown


async def test_a_deleted_webhook_of_discord_is_a_permanent_error(attempt) -> None:
    async with FakeDiscord() as fake:
        fake.deleted = True
        with pytest.raises(DeliveryError, match="Unknown Webhook: somebody deleted the webhook") as caught:
            await discord(fake).send(message(), {}, attempt())
    assert caught.value.permanent


async def test_an_update_that_changes_nothing_is_no_error_of_telegram(attempt) -> None:
    async with FakeTelegram() as fake:
        handle = await telegram(fake).send(message(), {}, attempt())
        await telegram(fake).send(message(number=1), handle, attempt())
    assert len(fake.replies) == 1


async def test_a_group_of_telegram_that_has_moved_is_followed(attempt) -> None:
    async with FakeTelegram() as fake:
        fake.moved_to = -1009876543210
        handle = await telegram(fake).send(message(), {}, attempt())
        await telegram(fake).send(message(NotificationKind.RESOLVED, 1), handle, attempt())
    assert {it["chat_id"] for it in (*fake.messages.values(), *fake.replies)} == {fake.moved_to}


async def test_a_bot_that_was_removed_is_a_permanent_error(attempt) -> None:
    async with FakeTelegram() as fake:
        fake.blocked = True
        with pytest.raises(DeliveryError, match="bot was kicked from the group chat") as caught:
            await telegram(fake).send(message(), {}, attempt())
    assert caught.value.permanent


async def test_a_rejected_number_does_not_affect_the_others(attempt) -> None:
    """
    The number that Twilio refuses, and the one that the carrier did not reach.
    """
    async with FakeTwilio() as fake:
        fake.unsubscribed.add(PHONE)
        fake.becomes[SECOND] = ["queued", "sending", "undelivered"]
        third, tools = "+4915112345678", attempt()
        await twilio(fake, to=(PHONE, SECOND, third)).send(message(), {}, tools)
    assert tools.attempt.accepted == {third}
    assert [refusal.permanent for refusal in tools.attempt.refused.values()] == [True, True]
    assert "unsubscribed recipient" in tools.attempt.refused[PHONE].message
    assert "undelivered, error 30003" in tools.attempt.refused[SECOND].message


async def test_only_the_numbers_that_are_left_get_a_repeated_message(attempt) -> None:
    async with FakeTwilio() as fake:
        await twilio(fake, to=(PHONE, SECOND)).send(message(recipients=(SECOND,)), {}, attempt())
    assert [it["To"] for it in fake.messages] == [SECOND]


@pytest.mark.parametrize(
    ("status", "reached"),
    [("busy", False), ("no-answer", False), ("failed", False), ("in-progress", True), ("ringing", True)],
)
async def test_a_call_that_nobody_answers_is_rejected(attempt, status: str, reached: bool) -> None:
    """
    It goes to another channel; nobody is called again and again. One that still rings after a while counts.
    """
    async with FakeTwilio() as fake, AsyncExitStack() as expected:
        fake.becomes[PHONE] = [status]
        if not reached:
            caught = expected.enter_context(pytest.raises(DeliveryError, match=status))
        await twilio(fake, by="call").send(message(), {}, attempt())
    assert reached or caught.value.permanent


async def test_a_status_that_can_not_be_read_is_not_bad_news(attempt) -> None:
    async with FakeTwilio() as fake:
        tools = attempt()
        fake.next(Fault("none", done=True), broken)
        await twilio(fake).send(message(), {}, tools)
    assert (tools.attempt.accepted, tools.attempt.unanswered) == ({PHONE}, False)


class BlockedClock(FakeClock):
    """A clock on which nobody wakes up."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await asyncio.Event().wait()


async def test_a_message_may_have_arrived_when_toban_stops_while_it_asks(http: httpx2.AsyncClient) -> None:
    async with FakeTwilio() as fake:
        clock = BlockedClock()
        tools = ChannelTools(http, clock)
        task = asyncio.create_task(twilio(fake).send(message(), {}, tools))
        await clock.asleep.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert tools.attempt.unanswered


# Checks without sending


@asynccontextmanager
async def spoiled(fake: Any, field: str, value: Any) -> AsyncIterator[Any]:
    async with fake:
        setattr(fake, field, value)
        yield fake


async def test_a_connection_is_checked_without_sending(messenger: Messenger, attempt) -> None:
    async with messenger.fake() as fake:
        found = await messenger.channel(fake).check_connection(attempt())
        assert found.ok, found.message
        assert messenger.seen(fake) == []
        channel = messenger.channel(fake)
    gone = await channel.check_connection(attempt())
    assert not gone.ok
    assert messenger.secret not in gone.message


@pytest.mark.parametrize(
    ("make", "channel", "said"),
    [
        (FakeLine, lambda it: line(it, token="wrong"), "invalid token"),
        (lambda: FakeLine(quota=0), line, "0 of this month's 0 messages are used: LINE accepts no more"),
        (FakeChatwork, lambda it: chatwork(it, token="wrong"), "Invalid API token"),
        (FakeTelegram, lambda it: telegram(it, token="1:wrong"), "Unauthorized"),
        (FakeTelegram, lambda it: telegram(it, chat="-5"), "chat not found"),
        (FakeTwilio, lambda it: twilio(it, token="wrong"), "Authenticate"),
        (FakeDiscord, lambda it: discord(it, webhook=f"{it.url}/api/webhooks/1/wrong"), "Unknown Webhook"),
    ],
)
async def test_what_is_wrong_with_a_channel_is_found_before_the_night(attempt, make, channel, said: str) -> None:
    async with make() as fake:
        found = await channel(fake).check_connection(attempt())
    assert (found.ok, said in found.message) == (False, True), found.message


@pytest.mark.parametrize(
    ("make", "channel", "field", "value", "ok", "said"),
    [
        (FakeLine, line, "used", 170, True, "170 of this month's 200 messages are used, and a group counts once"),
        (FakeChatwork, chatwork, "role", "readonly", False, "may only read in Shop alerts"),
        (FakeTwilio, twilio, "status", "suspended", False, "the account Shop is suspended"),
    ],
)
async def test_the_state_of_an_account_is_checked(attempt, make, channel, field, value, ok, said) -> None:
    async with spoiled(make(), field, value) as fake:
        found = await channel(fake).check_connection(attempt())
    assert (found.ok, said in found.message) == (ok, True), found.message


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Line(token="x", to="shop"), "the ID of a user"),
        (lambda: Teams(url="https://example.webhook.office.com/webhookb2/x"), "create a workflow"),
        (lambda: Discord(webhook="https://discord.com/api/webhooks/1/x/slack"), "ends there"),
        (lambda: Chatwork(token="x", room="#!rid1"), "it is a number"),
        (lambda: Telegram(token="x", chat="shop"), "the number of a chat"),
        (lambda: Ntfy(topic="shop/alerts"), "letters, digits"),
        (lambda: Twilio(account="AC1", token="x", sender="x", to=(PHONE,)), "34 characters"),
        (lambda: Twilio(account=FakeTwilio.account, token="x", sender="x", to="0901234567"), "with the country"),
        (lambda: Twilio(account=FakeTwilio.account, token="x", sender="x", to=""), "at least one number"),
    ],
)
def test_an_invalid_messenger_is_rejected_with_the_remedy(make, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make()


def test_what_alertmanager_can_do_is_exported() -> None:
    """
    It has receivers for Discord, Teams, and chats of Telegram that have a number.
    """
    channels = [
        Discord(webhook="https://discord.com/api/webhooks/1/x"),
        Teams(url="https://x.logic.azure.com/workflows/1?sig=x"),
        Telegram(token="x", chat="-1001"),
        Telegram(token="x", chat="@shop"),
        Ntfy(topic="shop"),
    ]
    found = [channel.receiver(lambda name, secret: f"secrets/{name}") for channel in channels]
    sorts = [receiver and receiver.sort for receiver in found]
    assert sorts == ["discord_configs", "msteamsv2_configs", "telegram_configs", None, None]
    assert found[2] and found[2].settings["chat_id"] == -1001
