"""Microsoft Teams, by a workflow that posts an Adaptive Card: https://adaptivecards.io/explorer/."""

from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, SecretStr

from toban.core.config_types import SecretAddress
from toban.core.connection_check import ConnectionCheck
from toban.core.notification import Notification
from toban.core.text_limits import truncate
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.connectivity import check_reachable
from toban.notify.message_parts import MessageParts, message_parts

COLORS: Final = {"critical": "Attention", "warning": "Warning", "info": "Good"}

MAX_BYTES: Final = 20_000
"""Teams shows no card of more than about 28 KB, and says so in the workflow's history alone."""

_TITLE: Final = 300
_VALUE: Final = 200
_LABEL: Final = 50
_URL: Final = 1_000
_BUDGETS: Final = (8_000, 4_000, 2_000, 500)
"""How many characters the lines may have, until the card is small enough."""


def _workflow(secret: SecretStr) -> SecretStr:
    host = urlsplit(secret.get_secret_value()).hostname or ""
    if host == "outlook.office.com" or host.endswith("webhook.office.com"):
        raise ValueError(
            "Microsoft has retired the connectors of Office 365: create a workflow with the trigger"
            " `When a Teams webhook request is received` and use its URL"
        )
    return secret


class Teams(Channel):
    """
    Post an Adaptive Card to a channel or chat of Microsoft Teams, by a workflow (Power Automate).

    Each change of a group is a new card, with buttons for its links. Microsoft accepts a message before the workflow
    runs: nobody can tell from here whether it was posted. A workflow belongs to a person, and stops with their account:
    do not make it the only channel of a P1.
    """

    kind: Literal["teams"] = "teams"

    proves_delivery: ClassVar[bool] = False

    url: Annotated[SecretAddress, AfterValidator(_workflow)]
    """The URL of the workflow, with its whole query string; it is a secret."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Start the workflow with the card: 202 says that it started."""
        body = render_message(message_parts(notification, tools.shop))
        response = await self.http(tools).post(self.url.get_secret_value(), body)
        response.raise_for_status()
        response.raise_for_page("Teams")
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect to the host."""
        rest = "send a test notification and look for it in Teams: Microsoft says that a workflow started, not more"
        return await check_reachable(self.url.get_secret_value(), rest)

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `msteamsv2_configs`."""
        parts = {"webhook_url_file": secret_file(self.name, self.url)}
        return AlertmanagerReceiver("msteamsv2_configs", parts, "needs Alertmanager 0.28 or newer")


def render_message(parts: MessageParts) -> dict[str, Any]:
    """Return a message with one card, which is small enough for Teams."""
    for budget in _BUDGETS:
        message = _message(parts, budget)
        if len(orjson.dumps(message)) <= MAX_BYTES:
            break
    return message


def _message(parts: MessageParts, budget: int) -> dict[str, Any]:
    state = {"type": "TextBlock", "text": parts.state, "weight": "Bolder", "style": "heading", "wrap": True}
    lines = truncate("\n".join(parts.lines), budget).split("\n")
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "full"},
        "body": [
            {**state, "color": COLORS[parts.tone]},
            _plain(truncate(parts.title, _TITLE), weight="Bolder", size="Medium"),
            *(_plain(line) for line in lines if line),
            *(_plain(truncate(f"{name}: {value}", _VALUE), isSubtle=True) for name, value in parts.facts),
        ],
        "actions": [
            {"type": "Action.OpenUrl", "title": truncate(link.text, _LABEL), "url": link.href}
            for link in parts.links
            if len(link.href) <= _URL
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _plain(text: str, **style: object) -> dict[str, Any]:
    """Return a paragraph that is shown as it is: a `TextBlock` would read it as Markdown, a `TextRun` doesn't."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}
