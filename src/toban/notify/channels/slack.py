"""Slack, by an incoming webhook or as a bot: https://api.slack.com/messaging."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, Self

import structlog
from pydantic import SecretStr, model_validator

from toban.core.config_types import Address, Secret, SecretAddress, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification, NotificationKind, Offer, OfferKind
from toban.core.text_limits import is_web, truncate
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.connectivity import check_reachable
from toban.notify.slack_api import (
    TEMPORARY_ERRORS,
    MessageGoneError,
    WebApi,
    message_metadata,
    missing_scopes,
    webhook_error,
)
from toban.notify.slack_blocks import escaped, link_text, render_document
from toban.notify.texts import texts

log = structlog.get_logger("toban.notify")

COLORS: Final = {"info": "#36a64f", "warning": "#ff9900", "critical": "#ff0000"}
"""Resolved is green like info."""

_COLOR: Final = (
    f'{{{{ if eq .Status "resolved" }}}}{COLORS["info"]}'
    f'{{{{ else if eq .CommonLabels.severity "critical" }}}}{COLORS["critical"]}{{{{ else }}}}{COLORS["warning"]}'
    "{{ end }}"
)
"""The same colours as an Alertmanager template."""

LOOKUP_TIME: Final = timedelta(minutes=2)
"""How long a message waits until Slack can say whether it has it; twice is better than late."""
SKEW: Final = timedelta(minutes=10)
"""How far Slack's clock may be from this machine's."""

SNOOZES: Final = ("30m", "1h", "4h")
"""How long an incident can be snoozed from a message."""
OPEN: Final = "toban.open"
"""The button that opens a page: it has an address, and answers nothing."""
QUESTIONS: Final = frozenset({OfferKind.APPROVE, OfferKind.REFUSE})
"""What answers the question of a runbook."""

_TITLE: Final = 300
_TEXT: Final = 2_900
_FIELD: Final = 500
_FIELDS: Final = 10


class Slack(Channel):
    """
    Write to a channel.

    As a bot (`token`) each notification group is one message that is updated through firing, acknowledged and resolved,
    with a reply for each change. An incoming webhook can't update what it has posted: each change is a new message.
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

    signing_secret: Secret | None = None
    """
    The signing secret of the bot's app: messages of incidents get buttons, and Slack sends clicks to `/hooks/slack`.
    """

    app_token: Secret | None = None
    """
    An app-level token (xapp-…, scope connections:write): messages get buttons, and toban fetches clicks from Slack
    by Socket Mode, without a public address.
    """

    api: Address = "https://slack.com/api"
    """Where Slack's Web API is."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.webhook is None) is (self.token is None):
            raise ValueError("it needs either `webhook` or `token`")
        if (self.signing_secret or self.app_token) and self.token is None:
            raise ValueError("`signing_secret` and `app_token` need `token`: an incoming webhook can't show buttons")
        if self.signing_secret and self.app_token:
            raise ValueError("it needs either `signing_secret` or `app_token`: an app sends its clicks in one way")
        return self

    @property
    def is_idempotent(self) -> bool:
        """A bot looks for what it posted; whoever is behind a webhook can't be asked."""
        return self.token is not None

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Post it, or update the message of its group and reply to it.

        An earlier attempt may have arrived unconfirmed: a bot that may read the channel searches it first.
        """
        body = render_message(notification, tools.shop)
        if self.webhook:
            await self._to_webhook({"channel": self.channel, "username": self.username, **body}, tools)
            return {}
        api = self.web_api(tools)
        if self.takes_answers and notification.offers:
            body.setdefault("attachments", []).append(render_offers(notification, notification.offers))
        body |= message_metadata({"group_id": notification.group_id, "key": notification.key})
        if notification.is_retry:
            handle = await self._find_earlier(api, notification, handle, tools)
        if handle.get("last_key") == notification.key:
            return handle
        try:
            return await self._post_or_update(api, notification, handle, body)
        except MessageGoneError:
            return await self._post_or_update(api, notification, {}, body)

    async def _post_or_update(
        self, api: WebApi, notification: Notification, handle: Handle, body: dict[str, Any]
    ) -> Handle:
        """Post it, or update the posted message and reply. Raises ``DeliveryError``."""
        if not handle.get("ts"):
            posted = await api.post("chat.postMessage", {"channel": self.channel, "username": self.username, **body})
            if not posted.get("ts"):
                raise DeliveryError(f"{self.name}: the response names no message")
            return _handle(posted.get("channel", self.channel), posted["ts"], notification.key)
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
        questions = [offer for offer in notification.offers if offer.kind in QUESTIONS]
        if self.takes_answers and questions:
            # The next message of the incident replaces the buttons of the updated one; these stay.
            reply["attachments"] = [render_offers(notification, questions)]
        await api.post("chat.postMessage", reply)
        return _handle(handle["channel"], handle["ts"], notification.key)

    async def _find_earlier(
        self, api: WebApi, notification: Notification, handle: Handle, tools: ChannelTools
    ) -> Handle:
        """
        Return the handle of what the channel shows of a group, after an attempt that ended unconfirmed.

        Raises ``DeliveryError`` while Slack can't say; for `LOOKUP_TIME` at most, and not where the bot may not read.
        """
        try:
            if handle.get("ts"):
                there = await api.replies(handle["channel"], handle["ts"])
                is_posted = any(marks.get("key") == notification.key for _, marks in there)
                return {**handle, "last_key": notification.key} if is_posted else handle
            where = await api.channel(self.channel)
            there = await api.history(where, notification.since - SKEW)
        except MessageGoneError:
            return {}
        except DeliveryError as error:
            if not error.permanent and tools.clock.now() - notification.at < LOOKUP_TIME:
                raise
            log.info("message not searchable in Slack, sent again", channel=self.name, why=str(error))
            return handle
        for ts, marks in there:
            if marks.get("group_id") == notification.group_id:
                return _handle(where, ts, marks.get("key", ""))
        return handle

    @property
    def takes_answers(self) -> bool:
        """Whether people can answer from its messages."""
        return self.signing_secret is not None or self.app_token is not None

    @property
    def answer_hook(self) -> str:
        """Where Slack sends clicks, unless they are fetched by Socket Mode."""
        return "/hooks/slack" if self.signing_secret else ""

    async def socket_url(self, tools: ChannelTools) -> str:
        """Return the address of a new connection of Socket Mode. Raises ``DeliveryError``."""
        token = self.app_token.get_secret_value() if self.app_token else ""
        return await WebApi(self.http(tools), self.api, token).socket_url()

    def web_api(self, tools: ChannelTools) -> WebApi:
        """Return Slack's Web API with the bot's token."""
        return WebApi(self.http(tools), self.api, self.token.get_secret_value() if self.token else "")

    async def _to_webhook(self, body: dict[str, Any], tools: ChannelTools) -> None:
        url = self.webhook.get_secret_value() if self.webhook else ""
        response = await self.http(tools).post(url, body)
        response.raise_for_status()
        response.raise_for_page("Slack")
        if error := webhook_error(response):
            raise response.error(error, permanent=error not in TEMPORARY_ERRORS)

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Call `auth.test` as a bot; a webhook can only be connected to."""
        if self.webhook:
            return await check_reachable(
                self.webhook.get_secret_value(), "send a test notification to see whether the webhook is valid"
            )
        try:
            who, scopes = await self.web_api(tools).myself()
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        message = f"the token is valid ({who}); send a test notification to see whether it may write to {self.channel}"
        missing = missing_scopes(scopes)
        note = f"; after a crash a message may come twice: the app lacks {' and '.join(missing)}" if missing else ""
        return ConnectionCheck(ok=True, message=message + note)

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `slack_configs`; a bot posts each change as a message of its own there."""
        format_ = {
            "channel": self.channel,
            "username": self.username,
            "color": _COLOR,
            "title": "{{ .CommonAnnotations.summary }}",
            "text": "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.action }}\n{{ end }}",
        }
        if self.webhook:
            return AlertmanagerReceiver(
                "slack_configs", {"api_url_file": secret_file(self.name, self.webhook), **format_}
            )
        access = {"authorization": {"credentials_file": secret_file(self.name, self.token or SecretStr(""))}}
        url = f"{self.api.rstrip('/')}/chat.postMessage"
        lost = "a message that is updated; each change is a new one"
        return AlertmanagerReceiver("slack_configs", {"api_url": url, "http_config": access, **format_}, lost)


def _handle(channel: str, ts: str, key: str) -> Handle:
    """Return the handle of a group: where its message is, and the key of the last notification."""
    return {"channel": channel, "ts": ts, "last_key": key}


def render_message(notification: Notification, shop: str) -> dict[str, Any]:
    """Return a message as an attachment of Slack, or as blocks where it brings a document."""
    if notification.document and notification.document.sections:
        return render_document(notification, notification.document.sections)
    say = texts(notification.language)
    state = say[f"kind-{notification.kind.value}"]
    color = COLORS["info"] if notification.is_resolved else COLORS.get(notification.severity, COLORS["warning"])
    text = "\n".join([*(escaped(line) for line in notification.lines), *map(link_text, notification.links)])
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


def render_offers(notification: Notification, offers: Sequence[Offer]) -> dict[str, Any]:
    """
    Return buttons, as an attachment of their own: fields and blocks don't mix in one.

    The last one opens the page that the message links to.
    """
    say = texts(notification.language)
    elements = [_snooze(offer, say) if offer.kind is OfferKind.SNOOZE else _button(offer, say) for offer in offers]
    fallback = " · ".join(say[f"offer-{offer.kind.value}"] for offer in offers)
    page = next((it.href for it in notification.links if is_web(it.href)), "")
    if page:
        elements.append({"type": "button", "action_id": OPEN, "text": _plain(say["offer-open"]), "url": page})
    return {"fallback": fallback, "blocks": [{"type": "actions", "elements": elements}]}


def _button(offer: Offer, say: Mapping[str, str]) -> dict[str, Any]:
    label = say[f"offer-{offer.kind.value}"]
    button: dict[str, Any] = {
        "type": "button",
        "action_id": f"toban.{offer.kind.value}",
        "text": _plain(label),
        "value": offer.value,
    }
    if offer.kind in {OfferKind.ACKNOWLEDGE, OfferKind.APPROVE}:
        button["style"] = "primary"
    if offer.kind in {OfferKind.APPROVE, OfferKind.RESOLVE}:
        button["confirm"] = {
            "title": _plain(label),
            "text": _plain(say[f"confirm-{offer.kind.value}"]),
            "confirm": _plain(label),
            "deny": _plain(say["confirm-cancel"]),
        }
    return button


def _snooze(offer: Offer, say: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "static_select",
        "action_id": f"toban.{offer.kind.value}",
        "placeholder": _plain(say["offer-snooze"]),
        "options": [{"text": _plain(length), "value": f"{offer.value}.{length}"} for length in SNOOZES],
    }


def _plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}


def _reply(notification: Notification) -> str:
    state = texts(notification.language)[f"kind-{notification.kind.value}"]
    first = next(iter(notification.lines), "")
    return truncate(f"{state}: {first}" if first else state, _TEXT, escaped)
