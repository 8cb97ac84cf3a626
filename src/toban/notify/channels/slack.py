"""Slack, by an incoming webhook or as a bot: https://api.slack.com/messaging."""

from typing import Any, Final, Literal, Self

import httpx2
import orjson
from pydantic import SecretStr, model_validator

from toban.core.errors import DeliveryError
from toban.core.section import Address, Secret, Text
from toban.notify.channel import Channel, Handle, Proof, Receiver, Sealed, Tools
from toban.notify.notification import Kind, Link, Notification
from toban.notify.outcomes import as_json, asked, post, refused
from toban.notify.plain import is_web, shortened, without
from toban.notify.reaching import reached
from toban.notify.wording import words

COLORS: Final = {"info": "#36a64f", "warning": "#ff9900", "critical": "#ff0000"}
"""The original's: also what is over is green."""

AGAIN: Final = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
"""Slack's words after which another try may end otherwise."""

LOST: Final = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
"""Slack's words for a message that can't be changed any more: a new one takes its place."""

_COLOR: Final = (
    f'{{{{ if eq .Status "resolved" }}}}{COLORS["info"]}'
    f'{{{{ else if eq .CommonLabels.severity "critical" }}}}{COLORS["critical"]}{{{{ else }}}}{COLORS["warning"]}'
    "{{ end }}"
)
"""The colours in Alertmanager's words."""

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

    webhook: Secret | None = None
    """The address of an incoming webhook; it is a secret."""

    token: Secret | None = None
    """The token of a bot (xoxb-…) with the scopes chat:write and chat:write.customize, a member of the channel."""

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

    async def send(self, notification: Notification, handle: Handle, tools: Tools) -> Handle:
        """Post it, or change the message of its thread and reply to it."""
        body = dressed(notification, tools.environment)
        if self.webhook:
            await self._to_webhook({"channel": self.channel, "username": self.username, **body}, tools)
            return {}
        if not handle.get("ts"):
            return await self._posted(body, notification, tools)
        where = {"channel": handle["channel"], "ts": handle["ts"]}
        if notification.kind is not Kind.REMINDER and handle.get("shows") != notification.key:
            try:
                await self._call("chat.update", {**where, **body}, tools)
            except _LostError:
                return await self._posted(body, notification, tools)
        reply = {
            "channel": handle["channel"],
            "thread_ts": handle["ts"],
            "username": self.username,
            "text": _reply(notification),
            "reply_broadcast": notification.kind is Kind.REMINDER,
        }
        try:
            await self._call("chat.postMessage", reply, tools)
        except _LostError:
            return await self._posted(body, notification, tools)
        return {**handle, "shows": notification.key}

    async def _posted(self, body: dict[str, Any], notification: Notification, tools: Tools) -> Handle:
        said = await self._call("chat.postMessage", {"channel": self.channel, "username": self.username, **body}, tools)
        if not said.get("ts"):
            raise DeliveryError(f"{self.name}: the answer names no message")
        return {"channel": said.get("channel", self.channel), "ts": said["ts"], "shows": notification.key}

    async def _to_webhook(self, body: dict[str, Any], tools: Tools) -> None:
        url = self.webhook.get_secret_value() if self.webhook else ""
        headers = {"content-type": "application/json"}
        response = await post(tools.http, url, orjson.dumps(body), headers, name=self.name, secrets=[url])
        if response.status_code != 200 or response.text != "ok":
            if response.is_success:
                raise DeliveryError(f"{self.name}: answered 200, but not `ok`")
            raise refused(response, self.name, [url], tools.clock.now())

    async def _call(self, method: str, body: dict[str, Any], tools: Tools) -> dict[str, Any]:
        """Call a method of the Web API; Slack says what is wrong with status 200 too. Raises ``DeliveryError``."""
        token = self.token.get_secret_value() if self.token else ""
        headers = {"content-type": "application/json; charset=utf-8", "authorization": f"Bearer {token}"}
        url = f"{self.api.rstrip('/')}/{method}"
        response = await post(tools.http, url, orjson.dumps(body), headers, name=self.name, secrets=[token])
        said = as_json(response)
        if response.status_code != 200 or not isinstance(said, dict):
            if response.is_success:
                raise DeliveryError(f"{self.name}: {method}: the answer is no JSON")
            raise refused(response, self.name, [token], tools.clock.now(), _error(said))
        if said.get("ok") is not True:
            raise self._trouble(method, said, response, tools)
        return said

    def _trouble(self, method: str, said: dict[str, Any], response: httpx2.Response, tools: Tools) -> DeliveryError:
        word = without(_error(said) or "no word why", [self.token.get_secret_value() if self.token else ""])
        if word in LOST:
            return _LostError(f"{self.name}: {method}: {word}")
        remedy = _REMEDIES.get(word, "")
        return DeliveryError(
            f"{self.name}: {method}: {word}{f': {remedy}' if remedy else ''}",
            permanent=word not in AGAIN,
            after=asked(response, tools.clock.now()),
        )

    async def prove(self, tools: Tools) -> Proof:
        """Ask who the bot is; a webhook can only be connected to."""
        if self.webhook:
            return await reached(self.webhook.get_secret_value(), "whether the webhook is right shows when it is used")
        try:
            said = await self._call("auth.test", {}, tools)
        except DeliveryError as error:
            return Proof(ok=False, says=str(error))
        who = f"{said.get('user', 'a bot')} at {said.get('team', 'Slack')}"
        return Proof(ok=True, says=f"Slack knows the token ({who}); whether it may write to {self.channel} shows then")

    def receiver(self, sealed: Sealed) -> Receiver:
        """Return it as `slack_configs`; a bot posts each change as a message of its own there."""
        dress = {
            "channel": self.channel,
            "username": self.username,
            "color": _COLOR,
            "title": "{{ .CommonAnnotations.summary }}",
            "text": "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.action }}\n{{ end }}",
        }
        if self.webhook:
            return Receiver("slack_configs", {"api_url_file": sealed(self.name, self.webhook), **dress})
        access = {"authorization": {"credentials_file": sealed(self.name, self.token or SecretStr(""))}}
        url = f"{self.api.rstrip('/')}/chat.postMessage"
        lost = "a message that changes; each change is one of its own"
        return Receiver("slack_configs", {"api_url": url, "http_config": access, **dress}, lost)


class _LostError(DeliveryError):
    """The message that was to be changed is gone."""


_REMEDIES: Final = {
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "name a channel that there is, and invite the bot to it",
    "missing_scope": "give the app the scopes chat:write and chat:write.customize",
    "invalid_auth": "the token is not right",
}


def _error(said: Any) -> str:
    return str(said.get("error", ""))[:200] if isinstance(said, dict) else ""


def escaped(text: str) -> str:
    """Return a text in which nothing pings people or makes links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dressed(notification: Notification, environment: str) -> dict[str, Any]:
    """Return a message as Slack shows it: the original's attachment, with what to do in its text."""
    say = words(notification.language)
    state = say[f"kind-{notification.kind.value}"]
    color = COLORS["info"] if notification.over else COLORS.get(notification.severity, COLORS["warning"])
    text = "\n".join([*(escaped(line) for line in notification.lines), *map(_link, notification.links)])
    title = shortened(f"{state}: {notification.title}", _TITLE, escaped)
    fields = [
        (say["severity"], notification.severity.upper()),
        (say["environment"], environment),
        *notification.facts,
    ]
    return {
        "text": title,
        "attachments": [
            {
                "fallback": title,
                "color": color,
                "title": shortened(notification.title, _TITLE, escaped),
                "text": text if len(text) <= _TEXT else shortened("\n".join(notification.lines), _TEXT, escaped),
                "fields": [
                    {"title": escaped(name), "value": shortened(value, _FIELD, escaped), "short": True}
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
    state = words(notification.language)[f"kind-{notification.kind.value}"]
    first = next(iter(notification.lines), "")
    return shortened(f"{state}: {first}" if first else state, _TEXT, escaped)
