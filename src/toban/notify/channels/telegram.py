"""Telegram, as a bot: https://core.telegram.org/bots/api#sendmessage."""

import html
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import structlog
from pydantic import AfterValidator, Field

from toban.core.config_types import Address, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification, NotificationKind
from toban.core.text_limits import truncate, utf16_units
from toban.core.untyped_json import as_mapping
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.message_parts import MessageParts, message_parts, plain_text

log = structlog.get_logger("toban.notify")

GONE_ERRORS: Final = ("message to edit not found", "message can't be edited", "message_id_invalid")
"""What Telegram says of a message that can't be updated any more: a new one takes its place."""

UNCHANGED: Final = "message is not modified"

_TITLE: Final = 300
_TEXT: Final = 3_500
_WHOLE: Final = 4_000
"""Telegram allows 4,096 characters."""

_LABEL: Final = 60
_NO_MENTION: Final = "\u2060"


def _chat(value: str) -> str:
    if not re.fullmatch(r"-?\d{1,19}|@\w{4,64}", value, re.ASCII):
        raise ValueError("it is the number of a chat, like -1001234567890, or the name of a public channel, like @shop")
    return value


class Telegram(Channel):
    """
    Write to a chat, group or channel as a bot.

    Each group is one message that is updated through firing, acknowledged and resolved, with a reply for each change.
    """

    kind: Literal["telegram"] = "telegram"

    token: Secret
    """The token of the bot, from @BotFather."""

    chat: Annotated[Text, AfterValidator(_chat)]
    """The chat to write to: its number (`"-100…"` for a group) or the name of a public channel (`"@…"`)."""

    topic: Annotated[int, Field(ge=1)] | None = None
    """The number of a topic in a group that has topics."""

    api: Address = "https://api.telegram.org"
    """Where the Bot API is."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Post it, or update the message of its group and reply to it."""
        parts = message_parts(notification, tools.shop)
        message = handle.get("message")
        if message is None:
            return await self._post_first(parts, tools)
        if notification.kind is not NotificationKind.REMINDER:
            edit = {"chat_id": handle["chat"], "message_id": message, **render_message(parts)}
            try:
                await self._call("editMessageText", edit, tools)
            except _MessageGoneError:
                return await self._post_first(parts, tools)
        reply = {
            "chat_id": handle["chat"],
            **self._topic,
            "text": truncate(parts.change, _TEXT, escaped, utf16_units),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
            "reply_parameters": {"message_id": message, "allow_sending_without_reply": True},
            "disable_notification": notification.kind is NotificationKind.ACKNOWLEDGED,
        }
        await self._call("sendMessage", reply, tools)
        return handle

    async def _post_first(self, parts: MessageParts, tools: ChannelTools) -> Handle:
        sent = await self._call("sendMessage", {"chat_id": self.chat, **self._topic, **render_message(parts)}, tools)
        message, chat = sent.get("message_id"), as_mapping(sent.get("chat")).get("id", self.chat)
        return {"chat": chat, "message": message} if isinstance(message, int) else {}

    async def _call(self, method: str, body: Mapping[str, Any], tools: ChannelTools) -> Mapping[str, Any]:
        """
        Call a method, and return its result.

        A message whose buttons Telegram takes for invalid is sent without them, and one to a group that has moved goes
        to its new number. Raises ``DeliveryError``.
        """
        url = f"{self.api.rstrip('/')}/bot{self.token.get_secret_value()}/{method}"
        response = await self.http(tools).post(url, body)
        said = response.fields.get("description")
        description = said if isinstance(said, str) else ""
        lowered = description.lower()
        moved = as_mapping(response.fields.get("parameters")).get("migrate_to_chat_id")
        if response.fields.get("ok") is True:
            return as_mapping(response.fields.get("result"))
        if response.status == 400 and UNCHANGED in lowered:
            return {}
        if response.status == 400 and any(error in lowered for error in GONE_ERRORS):
            raise _MessageGoneError(f"{self.name}: {method}: message not found")
        if response.status == 400 and "button" in lowered and "reply_markup" in body:
            return await self._call(method, _without_buttons(body), tools)
        if isinstance(moved, int) and moved != body.get("chat_id"):
            log.warning("group moved: change the setting `chat`", channel=self.name, chat=moved)
            return await self._call(method, {**body, "chat_id": moved}, tools)
        response.raise_for_status(f"{method}: {description or response.error_text}")
        response.raise_for_page("Telegram")
        raise response.error(f"{method}: {description or 'no answer of the Bot API'}", permanent=False)

    @property
    def _topic(self) -> dict[str, int]:
        return {"message_thread_id": self.topic} if self.topic else {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Ask who the bot is, and for the chat."""
        try:
            bot = await self._call("getMe", {}, tools)
            chat = await self._call("getChat", {"chat_id": self.chat}, tools)
        except DeliveryError as error:
            return ConnectionCheck(ok=False, message=str(error))
        name = chat.get("title") or chat.get("username") or self.chat
        message = f"the token is valid (@{bot.get('username', 'a bot')}), and knows the chat {name}"
        return ConnectionCheck(
            ok=True, message=f"{message}; send a test notification to see whether it may write there"
        )

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver | None:
        """Return it as `telegram_configs`, which know chats by their number only."""
        if self.chat.startswith("@"):
            return None
        parts: dict[str, Any] = {
            "bot_token_file": secret_file(self.name, self.token),
            "chat_id": int(self.chat),
            "api_url": self.api,
            "parse_mode": "HTML",
            **self._topic,
        }
        return AlertmanagerReceiver("telegram_configs", parts, "a message that is updated; each change is a new one")


class _MessageGoneError(DeliveryError):
    """The message that was to be updated is gone."""


def escaped(text: str) -> str:
    """Return a text in which nothing is HTML or mentions people: a character that nobody sees follows each `@`."""
    return html.escape(text, quote=False).replace("@", f"@{_NO_MENTION}")


def render_message(parts: MessageParts) -> dict[str, Any]:
    """Return the text, in HTML, and a button for each link."""
    title = truncate(parts.headline, _TITLE, escaped, utf16_units)
    text = truncate(plain_text(parts), _TEXT, escaped, utf16_units)
    keyboard = [[{"text": truncate(link.text, _LABEL), "url": link.href}] for link in parts.links]
    return {
        "text": f"<b>{title}</b>\n{text}",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        **({"reply_markup": {"inline_keyboard": keyboard}} if keyboard else {}),
    }


def _without_buttons(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message whose links are in its text, as far as they fit."""
    plain = {name: value for name, value in body.items() if name != "reply_markup"}
    for [button] in body["reply_markup"]["inline_keyboard"]:
        text = f"{plain['text']}\n{escaped(button['text'])}: {html.escape(button['url'], quote=False)}"
        if utf16_units(text) <= _WHOLE:
            plain["text"] = text
    return plain
