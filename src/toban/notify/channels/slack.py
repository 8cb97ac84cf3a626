"""Slack, by an incoming webhook or as a bot: https://api.slack.com/messaging."""

from datetime import timedelta
from typing import Any, Final, Literal, Self

import orjson
import structlog
from pydantic import SecretStr, model_validator

from toban.core.config_types import Address, Secret, SecretAddress, Text
from toban.core.errors import DeliveryError
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, ConnectionCheck, Handle, Sealed
from toban.notify.connectivity import check_reachable
from toban.notify.http_delivery import PAGE, delivery_error, is_page, post, secret_parts
from toban.notify.notification import Link, Notification, NotificationKind
from toban.notify.rendering import catalogue
from toban.notify.slack_api import AGAIN, LostError, WebApi, marked, missing, refusal
from toban.notify.text_limits import is_web, truncate

log = structlog.get_logger("toban.notify")

COLORS: Final = {"info": "#36a64f", "warning": "#ff9900", "critical": "#ff0000"}
"""The original's: also what is over is green."""

_COLOR: Final = (
    f'{{{{ if eq .Status "resolved" }}}}{COLORS["info"]}'
    f'{{{{ else if eq .CommonLabels.severity "critical" }}}}{COLORS["critical"]}{{{{ else }}}}{COLORS["warning"]}'
    "{{ end }}"
)
"""The colours in Alertmanager's words."""

LOOKED_FOR: Final = timedelta(minutes=2)
"""For how long a message waits until Slack can say whether it has it; twice is better than late."""
SKEW: Final = timedelta(minutes=10)
"""How far Slack's clock may be from this machine's."""

_TITLE: Final = 300
_TEXT: Final = 2_900
_FIELD: Final = 500
_FIELDS: Final = 10


class Slack(Channel):
    """
    Write to a channel.

    As a bot (`token`) each thread is one message that changes through firing, acknowledged and resolved, with a reply
    for each change. An incoming webhook can't change what it has posted: each change is a message of its own.
    """

    kind: Literal["slack"] = "slack"

    webhook: SecretAddress | None = None
    """The address of an incoming webhook; it is a secret."""

    token: Secret | None = None
    """
    The token of a bot (xoxb-…) that is a member of the channel, with the scopes chat:write and chat:write.customize.

    With channels:read and channels:history too (groups:… for a private channel) it finds what it posted before a crash.
    """

    channel: Text = "#vendure-alerts"
    """The channel to write to. The webhook of an app knows its own."""

    username: Text = "Vendure Monitor"
    """The name to write under. The webhook of an app knows its own."""

    api: Address = "https://slack.com/api"
    """Where Slack's Web API is."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook is None) is (self.token is None):
            raise ValueError("it needs either `webhook` or `token`")
        return self

    @property
    def is_idempotent(self) -> bool:
        """A bot looks for what it posted; whoever is behind a webhook can't be asked."""
        return self.token is not None

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Post it, or change the message of its thread and reply to it.

        What was tried before may have arrived without a word of that: a bot that may read the channel looks first.
        """
        body = dressed(notification, tools.shop)
        if self.webhook:
            await self._to_webhook({"channel": self.channel, "username": self.username, **body}, tools)
            return {}
        api = self._api(tools)
        body |= marked({"thread": notification.group_id, "key": notification.key})
        if notification.is_retry:
            handle = await self._looked(api, notification, handle, tools)
        if handle.get("said") == notification.key:
            return handle
        try:
            return await self._told(api, notification, handle, body)
        except LostError:
            return await self._told(api, notification, {}, body)

    async def _told(self, api: WebApi, notification: Notification, handle: Handle, body: dict[str, Any]) -> Handle:
        """Post it, or change what is there and reply. Raises ``DeliveryError``."""
        if not handle.get("ts"):
            said = await api.post("chat.postMessage", {"channel": self.channel, "username": self.username, **body})
            if not said.get("ts"):
                raise DeliveryError(f"{self.name}: the answer names no message")
            return _remembered(said.get("channel", self.channel), said["ts"], notification.key)
        where = {"channel": handle["channel"], "ts": handle["ts"]}
        if notification.kind is not NotificationKind.REMINDER:
            await api.post("chat.update", {**where, **body})
        reply = {
            "channel": handle["channel"],
            "thread_ts": handle["ts"],
            "username": self.username,
            "text": _reply(notification),
            "reply_broadcast": notification.kind is NotificationKind.REMINDER,
            "metadata": body["metadata"],
        }
        await api.post("chat.postMessage", reply)
        return _remembered(handle["channel"], handle["ts"], notification.key)

    async def _looked(self, api: WebApi, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Return what the channel shows of a thread, when a try of a message ended without a word.

        Raises ``DeliveryError`` while Slack can't say; for `LOOKED_FOR` at most, and not where the bot may not look.
        """
        try:
            if handle.get("ts"):
                there = await api.replies(handle["channel"], handle["ts"])
                said = any(marks.get("key") == notification.key for _, marks in there)
                return {**handle, "said": notification.key} if said else handle
            where = await api.channel(self.channel)
            there = await api.history(where, notification.since - SKEW)
        except LostError:
            return {}
        except DeliveryError as error:
            if not error.permanent and tools.clock.now() - notification.at < LOOKED_FOR:
                raise
            log.info("whether Slack has a message can't be seen, it is sent again", channel=self.name, why=str(error))
            return handle
        for ts, marks in there:
            if marks.get("thread") == notification.group_id:
                return _remembered(where, ts, marks.get("key", ""))
        return handle

    def _api(self, tools: ChannelTools) -> WebApi:
        return WebApi(self.name, self.api, self.token or SecretStr(""), tools)

    async def _to_webhook(self, body: dict[str, Any], tools: ChannelTools) -> None:
        url = self.webhook.get_secret_value() if self.webhook else ""
        headers = {"content-type": "application/json"}
        response = await post(tools, url, orjson.dumps(body), headers, name=self.name, secrets=[])
        now = tools.clock.now()
        if not response.is_success:
            raise delivery_error(response, self.name, secret_parts(url), now)
        if is_page(response):
            # Some receiver may have the message all the same.
            tools.attempt.unanswered = True
            raise DeliveryError(f"{self.name}: {PAGE.format(status=response.status_code, service='Slack')}")
        if word := refusal(response):
            raise delivery_error(response, self.name, secret_parts(url), now, word, permanent=word not in AGAIN)

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask who the bot is; a webhook can only be connected to."""
        if self.webhook:
            return await check_reachable(
                self.webhook.get_secret_value(), "whether the webhook is right shows when it is used"
            )
        try:
            who, scopes = await self._api(tools).myself()
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        says = f"Slack knows the token ({who}); whether it may write to {self.channel} shows when it is used"
        lacks = missing(scopes)
        blind = f"; after a crash a message may come twice: the app has no {' and '.join(lacks)}" if lacks else ""
        return ConnectionCheck(ok=True, message=says + blind)

    def receiver(self, sealed: Sealed) -> AlertmanagerReceiver:
        """Return it as `slack_configs`; a bot posts each change as a message of its own there."""
        dress = {
            "channel": self.channel,
            "username": self.username,
            "color": _COLOR,
            "title": "{{ .CommonAnnotations.summary }}",
            "text": "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.action }}\n{{ end }}",
        }
        if self.webhook:
            return AlertmanagerReceiver("slack_configs", {"api_url_file": sealed(self.name, self.webhook), **dress})
        access = {"authorization": {"credentials_file": sealed(self.name, self.token or SecretStr(""))}}
        url = f"{self.api.rstrip('/')}/chat.postMessage"
        lost = "a message that changes; each change is one of its own"
        return AlertmanagerReceiver("slack_configs", {"api_url": url, "http_config": access, **dress}, lost)


def _remembered(channel: str, ts: str, key: str) -> Handle:
    """Return a thread's handle: where its message is, and the key of what was said last."""
    return {"channel": channel, "ts": ts, "said": key}


def escaped(text: str) -> str:
    """Return a text in which nothing pings people or makes links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dressed(notification: Notification, shop: str) -> dict[str, Any]:
    """Return a message as Slack shows it: the original's attachment, with what to do in its text."""
    say = catalogue(notification.language)
    state = say[f"kind-{notification.kind.value}"]
    color = COLORS["info"] if notification.is_resolved else COLORS.get(notification.severity, COLORS["warning"])
    text = "\n".join([*(escaped(line) for line in notification.lines), *map(_link, notification.links)])
    title = truncate(f"{state}: {notification.title}", _TITLE, escaped)
    fields = [
        (say["severity"], notification.severity.upper()),
        *([(say["shop"], shop)] if shop else []),
        *notification.facts,
    ]
    return {
        "text": title,
        "attachments": [
            {
                "fallback": title,
                "color": color,
                "title": truncate(notification.title, _TITLE, escaped),
                "text": text if len(text) <= _TEXT else truncate("\n".join(notification.lines), _TEXT, escaped),
                "fields": [
                    {"title": escaped(name), "value": truncate(value, _FIELD, escaped), "short": True}
                    for name, value in fields[:_FIELDS]
                ],
                "footer": f"toban · {state}",
                "ts": int(notification.at.timestamp()),
                "mrkdwn_in": ["text"],
            }
        ],
    }


def _link(link: Link) -> str:
    return f"<{link.href}|{escaped(link.text)}>" if is_web(link.href) else escaped(link.text)


def _reply(notification: Notification) -> str:
    state = catalogue(notification.language)[f"kind-{notification.kind.value}"]
    first = next(iter(notification.lines), "")
    return truncate(f"{state}: {first}" if first else state, _TEXT, escaped)
