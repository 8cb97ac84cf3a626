"""Discord, by a webhook: https://discord.com/developers/docs/resources/webhook#execute-webhook."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from pydantic import AfterValidator, SecretStr

from toban.core.config_types import SecretAddress, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Link, Notification, NotificationKind
from toban.core.text_limits import truncate
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.http_delivery import DeliveryResponse
from toban.notify.message_parts import MessageParts, message_parts

COLORS: Final = {"critical": 0xFF0000, "warning": 0xFF9900, "info": 0x36A64F}

UNKNOWN_MESSAGE: Final = 10008
UNKNOWN_WEBHOOK: Final = 10015
INVALID_FORM: Final = 50035
"""Codes of Discord's errors."""

_CONTENT: Final = 2_000
_TITLE: Final = 256
_TEXT: Final = 2_500
_NAME: Final = 60
_VALUE: Final = 200
_FIELDS: Final = 10
"""With these, an embed has less than the 6,000 characters that Discord allows it in all."""

_LABEL: Final = 80
_URL: Final = 512
_BUTTONS: Final = 5


def _webhook(secret: SecretStr) -> SecretStr:
    parts = urlsplit(secret.get_secret_value())
    if not re.fullmatch(r"/api(/v\d+)?/webhooks/\d+/[\w-]+/?", parts.path) or parts.query:
        raise ValueError("the URL of a webhook is like https://discord.com/api/webhooks/ID/TOKEN, and ends there")
    return secret


class Discord(Channel):
    """
    Write to a channel or thread by a webhook.

    Each group is one message that is updated through firing, acknowledged and resolved, with a short message for each
    change: an update alone makes no sound. Nobody is mentioned, whatever a text contains.
    """

    kind: Literal["discord"] = "discord"

    webhook: Annotated[SecretAddress, AfterValidator(_webhook)]
    """The URL of a webhook; it is a secret."""

    thread: Text = ""
    """The ID of a thread of the webhook's channel to write to."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Post it, or update the message of its group and post what changed."""
        parts = message_parts(notification, tools.shop)
        if not handle.get("message"):
            return await self._post_first(parts, tools)
        if notification.kind is not NotificationKind.REMINDER:
            path = f"/messages/{handle['message']}"
            response = await self._send("PATCH", path, render_message(parts), tools, wait=False)
            if response.status == 404 and response.fields.get("code") == UNKNOWN_MESSAGE:
                return await self._post_first(parts, tools)  # somebody deleted it
            self._raise_for_error(response)
        self._raise_for_error(await self._send("POST", "", render_change(parts), tools))
        return handle

    async def _post_first(self, parts: MessageParts, tools: ChannelTools) -> Handle:
        response = await self._send("POST", "", render_message(parts), tools)
        self._raise_for_error(response)
        message = response.fields.get("id")
        return {"message": message} if isinstance(message, str) and message.isdigit() else {}

    async def _send(
        self, method: str, path: str, body: dict[str, Any], tools: ChannelTools, *, wait: bool = True
    ) -> DeliveryResponse:
        """Send a message; once more without buttons, if Discord takes one of their addresses for invalid."""
        url = self.webhook.get_secret_value().rstrip("/")
        thread = {"thread_id": self.thread} if self.thread else {}
        # Only who waits is told of errors; only who says so gets buttons.
        query = urlencode({**({"wait": "true"} if wait else {}), "with_components": "true", **thread})
        response = await self.http(tools).request(method, f"{url}{path}?{query}", body)
        errors = response.fields.get("errors")
        if response.fields.get("code") == INVALID_FORM and isinstance(errors, dict) and "components" in errors:
            response = await self.http(tools).request(method, f"{url}{path}?{query}", {**body, "components": []})
        return response

    def _raise_for_error(self, response: DeliveryResponse) -> None:
        if response.fields.get("code") == UNKNOWN_WEBHOOK:
            raise response.error(f"{response.error_text}: somebody deleted the webhook: create another one")
        response.raise_for_status()
        response.raise_for_page("Discord")

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask for the webhook, which sends nothing."""
        try:
            response = await self.http(tools).get(self.webhook.get_secret_value())
            self._raise_for_error(response)
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        name = response.fields.get("name", "without a name")
        return ConnectionCheck(ok=True, message=f"the webhook is valid ({name}); send a test notification to see it")

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `discord_configs`."""
        lost = "a message that is updated: each change is a new one; needs Alertmanager 0.28 or newer"
        return AlertmanagerReceiver("discord_configs", {"webhook_url_file": secret_file(self.name, self.webhook)}, lost)


def escaped(text: str) -> str:
    """Return a text in which nothing is Markdown, a mention or a link with another text."""
    return re.sub(r"(?m)([\\*_~`|<\[\]@])|^(?=[#>+-])", r"\\\1", text)


def render_message(parts: MessageParts) -> dict[str, Any]:
    """Return a message with one embed and a button for each link."""
    return {
        "embeds": [
            {
                "title": truncate(parts.headline, _TITLE, escaped),
                "description": truncate("\n".join(parts.lines), _TEXT, escaped),
                "color": COLORS[parts.tone],
                "fields": [
                    {
                        "name": truncate(name, _NAME, escaped) or "-",
                        "value": truncate(value, _VALUE, escaped),
                        "inline": True,
                    }
                    for name, value in parts.facts[:_FIELDS]
                ],
            }
        ],
        **_buttons(parts),
    }


def render_change(parts: MessageParts) -> dict[str, Any]:
    """Return the short message that says what changed."""
    text = "\n".join([parts.headline, *parts.lines[:1]])
    return {"content": truncate(text, _CONTENT, escaped), **_buttons(parts)}


def _buttons(parts: MessageParts) -> dict[str, Any]:
    """Return a row of link buttons, and that nobody is mentioned."""
    links = [link for link in parts.links if len(link.href) <= _URL][-_BUTTONS:]
    row = {"type": 1, "components": list(map(_button, links))}
    return {"components": [row] if links else [], "allowed_mentions": {"parse": []}}


def _button(link: Link) -> dict[str, Any]:
    return {"type": 2, "style": 5, "label": truncate(link.text, _LABEL), "url": link.href}
