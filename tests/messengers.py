"""The services that toban writes to, each with its fake, its channel, and how to read what people see there."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.fake_chatwork import FakeChatwork
from tests.fake_discord import FakeDiscord
from tests.fake_line import FakeLine
from tests.fake_ntfy import FakeNtfy
from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.fake_teams import FakeTeams
from tests.fake_telegram import FakeTelegram
from tests.fake_twilio import FakeTwilio
from tests.fakes import FakeClock
from tests.notifications import notification
from toban.core.notification import Link, Notification, NotificationKind
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channels.chatwork import Chatwork
from toban.notify.channels.discord import Discord
from toban.notify.channels.line import Line
from toban.notify.channels.ntfy import Ntfy
from toban.notify.channels.pagerduty import Pagerduty
from toban.notify.channels.slack import Slack
from toban.notify.channels.teams import Teams
from toban.notify.channels.telegram import Telegram
from toban.notify.channels.twilio import Twilio

LINKS = (
    Link("Runbook", "https://wiki.example/orders"),
    Link("toban", "https://toban.example/alerts/0123"),
)
PHONE = "+81901234567"
SECOND = "+81907654321"


@dataclass(frozen=True)
class Messenger:
    """A service: its fake, the channel that writes to it, and how to read what people see there."""

    fake: Callable[[], Any]
    channel: Callable[..., Channel]
    seen: Callable[[Any], list[str]]
    secret: str
    idempotent: bool = False
    """Whether the service shows once what is sent twice."""
    finds: bool = False
    """Whether what may have arrived is found, or replaced, before it is sent again."""


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(10, read=0.3)) as client:
        yield client


@pytest.fixture
def attempt(http: httpx2.AsyncClient) -> Callable[[], ChannelTools]:
    """Return what makes the tools of an attempt."""
    clock = FakeClock()
    return lambda: ChannelTools(http, clock, "https://toban.example", "shop.example")


def line(fake: FakeLine, **other: Any) -> Line:
    return Line(name="ops", **{"api": fake.url, "token": fake.token, "to": fake.group, **other})


def teams(fake: FakeTeams, **other: Any) -> Teams:
    return Teams(name="ops", **{"url": fake.workflow, **other})


def discord(fake: FakeDiscord, **other: Any) -> Discord:
    return Discord(name="ops", **{"webhook": fake.webhook, **other})


def chatwork(fake: FakeChatwork, **other: Any) -> Chatwork:
    return Chatwork(name="ops", **{"api": fake.api, "token": fake.token, "room": fake.room, **other})


def telegram(fake: FakeTelegram, **other: Any) -> Telegram:
    return Telegram(name="ops", **{"api": fake.url, "token": fake.token, "chat": fake.chat, **other})


def ntfy(fake: FakeNtfy, **other: Any) -> Ntfy:
    return Ntfy(name="ops", **{"url": fake.url, "token": fake.token, "topic": fake.topic, **other})


def twilio(fake: FakeTwilio, **other: Any) -> Twilio:
    fields = {"api": fake.url, "account": fake.account, "token": fake.token, "sender": fake.sender, "to": (PHONE,)}
    return Twilio(name="ops", **{**fields, **other})


def call(fake: FakeTwilio, **other: Any) -> Twilio:
    return twilio(fake, by="call", **other)


def slack(fake: FakeSlack, **other: Any) -> Slack:
    return Slack(name="ops", **{"token": fake.token, "api": fake.api, **other})


def slack_webhook(fake: FakeSlack, **other: Any) -> Slack:
    return Slack(name="ops", **{"webhook": fake.webhook, **other})


def pagerduty(fake: FakePagerDuty, **other: Any) -> Pagerduty:
    return Pagerduty(name="ops", **{"key": fake.key, "api": fake.url, **other})


def as_text(messages: Any) -> list[str]:
    """Return each message as one text, with all that belongs to it."""
    return [json.dumps(message, ensure_ascii=False) for message in messages]


MESSENGERS = {
    "line": Messenger(FakeLine, line, lambda it: as_text(it.messages), FakeLine.token, idempotent=True),
    "teams": Messenger(FakeTeams, teams, lambda it: as_text(it.posted), FakeTeams.secret),
    "discord": Messenger(FakeDiscord, discord, lambda it: as_text(it.messages.values()), FakeDiscord.secret),
    "chatwork": Messenger(FakeChatwork, chatwork, lambda it: it.messages, FakeChatwork.token),
    "telegram": Messenger(
        FakeTelegram, telegram, lambda it: as_text((*it.messages.values(), *it.replies)), FakeTelegram.token
    ),
    "ntfy": Messenger(FakeNtfy, ntfy, lambda it: as_text(it.phone.values()), FakeNtfy.token, finds=True),
    "twilio": Messenger(FakeTwilio, twilio, lambda it: [each["Body"] for each in it.messages], FakeTwilio.token),
}
"""Those that show texts."""

SERVICES = MESSENGERS | {
    "twilio call": Messenger(FakeTwilio, call, lambda it: [each["Twiml"] for each in it.calls], FakeTwilio.token),
    "slack": Messenger(
        FakeSlack, slack, lambda it: as_text(each.body for each in it.messages), FakeSlack.token, idempotent=True
    ),
    "slack webhook": Messenger(
        FakeSlack, slack_webhook, lambda it: as_text(each.body for each in it.messages), FakeSlack.secret
    ),
    "pagerduty": Messenger(
        FakePagerDuty,
        pagerduty,
        lambda it: as_text(each.triggers[-1] for each in it.alerts.values()),
        FakePagerDuty.key,
        idempotent=True,
    ),
}
"""All of them."""


def message(kind: NotificationKind = NotificationKind.FIRING, number: int = 0, **fields: Any) -> Notification:
    return notification(kind, number, **{"links": LINKS, **fields})
