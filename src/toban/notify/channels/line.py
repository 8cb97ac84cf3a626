"""LINE, by its Messaging API: https://developers.line.biz/en/reference/messaging-api/#send-push-message."""

import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from toban.core.config_types import Address, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification, OfferKind
from toban.core.text_limits import truncate, utf16_units
from toban.core.untyped_json import as_list, as_mapping
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.http_delivery import DeliveryResponse
from toban.notify.message_parts import MessageParts, message_parts
from toban.notify.texts import texts

COLORS: Final = {"critical": "#d32f2f", "warning": "#b36b00", "info": "#2e7d32"}

QUOTA_WARNING: Final = 0.8
"""The share of the month's messages from which on `toban check` warns."""

_ALT_TEXT: Final = 400
_TITLE: Final = 300
_TEXT: Final = 2_500
_VALUE: Final = 100
_LABEL: Final = 20
_URI: Final = 1_000
_NAMESPACE: Final = uuid.UUID("3f0e7f1c-6c0b-5f0e-9f55-6e0b2d8c1a44")


def _recipient(value: str) -> str:
    if not re.fullmatch(r"[UCR][0-9a-f]{32}", value):
        raise ValueError("it is the ID of a user (U…), group (C…) or room (R…): 33 characters, from a webhook event")
    return value


class Line(Channel):
    """
    Send to a person or group as a LINE Official Account.

    Each change of a group is a message, with buttons for its links; LINE can't update one. LINE detects a repeated
    message. It accepts messages for somebody who has blocked the account.
    """

    kind: Literal["line"] = "line"

    token: Secret
    """The channel access token of the Messaging API."""

    to: Annotated[Text, AfterValidator(_recipient)]
    """The ID of the user (U…), group (C…) or room (R…) to send to."""

    channel_secret: Secret | None = None
    """
    The channel secret, by which LINE signs what it sends: with it, messages about incidents have a button to
    acknowledge them. LINE must reach `/hooks/line`.
    """

    api: Address = "https://api.line.me"
    """Where the Messaging API is."""

    @property
    def is_idempotent(self) -> bool:
        """It does, by the header `X-Line-Retry-Key`."""
        return True

    @property
    def answer_hook(self) -> str:
        """Where LINE sends taps of buttons."""
        return "/hooks/line" if self.channel_secret else ""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Push it. When the month's messages are used up it is rejected, so that another channel gets it at once."""
        body = {
            "to": self.to,
            "messages": [render_message(message_parts(notification, tools.shop), self._offers(notification))],
        }
        key = {"x-line-retry-key": str(uuid.uuid5(_NAMESPACE, f"{self.to}\n{notification.key}"))}
        response = await self.http(tools).post(f"{self._url}/message/push", body, {**self._access, **key})
        if response.status == 409 and "x-line-accepted-request-id" in response.headers:
            return {}  # an earlier attempt was accepted
        if response.status == 429 and "monthly limit" in response.error_text:
            raise response.error(permanent=True)
        response.raise_for_status(_error(response))
        response.raise_for_page("LINE")
        return {}

    def _offers(self, notification: Notification) -> Mapping[str, str]:
        """Return what people can do from a message: the data of each button, by its label."""
        if self.channel_secret is None:
            return {}
        known = [it for it in notification.offers if it.kind is OfferKind.ACKNOWLEDGE]
        say = texts(notification.language)
        return {say[f"offer-{it.kind.value}"]: f"toban.{it.kind.value} {it.value}" for it in known}

    async def reply(self, token: str, text: str, tools: ChannelTools) -> None:
        """Reply to an event of the webhook with a text. Raises ``DeliveryError``."""
        body = {"replyToken": token, "messages": [{"type": "text", "text": truncate(text, _TEXT, size=utf16_units)}]}
        response = await self.http(tools).post(f"{self._url}/message/reply", body, self._access)
        response.raise_for_status(_error(response))

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask who the account is, and how many of the month's messages are left."""
        delivery = self.http(tools)
        try:
            answers = [await delivery.get(f"{self._url}/{path}", self._access) for path in _QUESTIONS]
            for response in answers:
                response.raise_for_status(_error(response))
                response.raise_for_page("LINE")
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        account, quota, used = (response.fields for response in answers)
        who = f"the token is valid ({account.get('displayName', 'an account')})"
        rest = "send a test notification to see whether it arrives"
        limit, sent = quota.get("value"), used.get("totalUsage", 0)
        if quota.get("type") != "limited" or not isinstance(limit, int) or not isinstance(sent, int):
            return ConnectionCheck(ok=True, message=f"{who}; {rest}")
        count = f"{sent:,} of this month's {limit:,} messages are used"
        if sent >= limit:
            return ConnectionCheck(ok=False, message=f"{who}, but {count}: LINE accepts no more until next month")
        warning = ", and a group counts once for each member" if sent >= limit * QUOTA_WARNING else ""
        return ConnectionCheck(ok=True, message=f"{who}; {count}{warning}; {rest}")

    @property
    def _url(self) -> str:
        return f"{self.api.rstrip('/')}/v2/bot"

    @property
    def _access(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token.get_secret_value()}"}


_QUESTIONS: Final = ("info", "message/quota", "message/quota/consumption")


def _error(response: DeliveryResponse) -> str:
    """Return LINE's message, with the property that each detail is about."""
    details = map(as_mapping, as_list(response.fields.get("details")))
    reasons = [f"{detail.get('property', '')}: {detail.get('message', '')}" for detail in details]
    return "; ".join([response.error_text, *reasons])


def render_message(parts: MessageParts, offers: Mapping[str, str]) -> dict[str, Any]:
    """
    Return a Flex message: texts are shown as they are. https://developers.line.biz/en/reference/messaging-api/.

    ``offers`` are the buttons that LINE sends back to toban: their data by their labels.
    """
    text = truncate("\n".join(parts.lines), _TEXT, size=utf16_units)
    body = [
        {"type": "text", "text": parts.state, "size": "sm", "weight": "bold", "color": COLORS[parts.tone]},
        {
            "type": "text",
            "text": truncate(parts.title, _TITLE, size=utf16_units),
            "size": "lg",
            "weight": "bold",
            "wrap": True,
        },
        *([{"type": "text", "text": text, "size": "sm", "wrap": True}] if text else []),
        *(
            {
                "type": "text",
                "text": truncate(f"{name}: {value}", _VALUE, size=utf16_units),
                "size": "xs",
                "color": "#666666",
            }
            for name, value in parts.facts
        ),
    ]
    buttons = [
        {
            "type": "button",
            "style": "primary",
            "height": "sm",
            "action": {
                "type": "postback",
                "label": truncate(label, _LABEL, size=utf16_units),
                "data": data,
                "displayText": label,
            },
        }
        for label, data in offers.items()
    ] + [
        {
            "type": "button",
            "style": "link",
            "height": "sm",
            "action": {"type": "uri", "label": truncate(link.text, _LABEL, size=utf16_units), "uri": link.href},
        }
        for link in parts.links
        if len(link.href) <= _URI
    ]
    bubble: dict[str, Any] = {
        "type": "bubble",
        "body": {"type": "box", "layout": "vertical", "spacing": "md", "contents": body},
    }
    if buttons:
        bubble["footer"] = {"type": "box", "layout": "vertical", "contents": buttons}
    return {"type": "flex", "altText": truncate(parts.headline, _ALT_TEXT, size=utf16_units), "contents": bubble}
