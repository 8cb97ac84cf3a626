"""
A fake of Telegram's Bot API.

    async with FakeTelegram() as telegram:
        telegram.url, telegram.token, telegram.chat     # what a channel is given
        telegram.messages                               # by number, what people see; `replies` the rest

It refuses what Telegram refuses, with its descriptions; made from Telegram's documentation.
"""

import html
import re
from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply

SEND = {
    *("chat_id", "message_thread_id", "text", "parse_mode", "link_preview_options", "reply_markup"),
    *("reply_parameters", "disable_notification"),
}
EDIT = {"chat_id", "message_id", "text", "parse_mode", "link_preview_options", "reply_markup"}


class FakeTelegram(FakeService):
    """A bot in one group."""

    token = "123456789:AAErandom-looking_token-0123456789"
    chat = "-1001234567890"

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[int, dict[str, Any]] = {}
        self.replies: list[dict[str, Any]] = []
        self.moved_to: int | None = None
        self.blocked = False

    def respond(self, received: ReceivedRequest) -> Reply:
        """Call a method."""
        prefix = f"/bot{self.token}/"
        if not received.path.startswith(prefix):
            return _error(401, "Unauthorized")
        method, body = received.path.removeprefix(prefix), received.json
        if method == "getMe":
            return _result({"id": 123456789, "is_bot": True, "username": "toban_bot"})
        if self.moved_to and str(body.get("chat_id")) == self.chat:
            migrated = {"migrate_to_chat_id": self.moved_to}
            return _error(400, "Bad Request: group chat was upgraded to a supergroup chat", migrated)
        if str(body.get("chat_id")) not in {self.chat, str(self.moved_to)}:
            return _error(400, "Bad Request: chat not found")
        if self.blocked:
            return _error(403, "Forbidden: bot was kicked from the group chat")
        chat = {"id": int(body["chat_id"]), "type": "supergroup", "title": "Shop alerts"}
        if method == "getChat":
            return _result(chat)
        if unknown := set(body) - (SEND if method == "sendMessage" else EDIT):
            self.mistakes.append(f"unknown fields {unknown}")
        if problem := self._problem(body):
            return _error(400, f"Bad Request: {problem}")
        if method == "editMessageText":
            return self._edited(body, chat)
        if "reply_parameters" in body:
            self.replies.append(body)
        else:
            self.messages[len(self.messages) + 1] = body
        return _result({"message_id": len(self.messages), "chat": chat})

    def _edited(self, body: dict[str, Any], chat: dict[str, Any]) -> Reply:
        if body["message_id"] not in self.messages:
            return _error(400, "Bad Request: message to edit not found")
        if self.messages[body["message_id"]]["text"] == body["text"]:
            return _error(400, "Bad Request: message is not modified: specified new message content is the same")
        self.messages[body["message_id"]] = body
        return _result({"message_id": body["message_id"], "chat": chat})

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Say that it was sent."""
        return _result({"message_id": 77, "chat": {"id": int(self.chat)}})

    def _problem(self, body: dict[str, Any]) -> str:
        if body.get("parse_mode") != "HTML":
            self.mistakes.append("the text is not escaped for HTML")
        if re.search(r"<(?!/?b>)|&(?!(amp|lt|gt);)", body["text"]):
            return "can't parse entities: unsupported start tag"
        shown = html.unescape(re.sub(r"</?b>", "", body["text"]))
        if not 1 <= len(shown.encode("utf-16-le")) // 2 <= 4_096:
            return "message is too long"
        for [button] in body.get("reply_markup", {}).get("inline_keyboard", []):
            if not re.match(r"https?://[^/:]+\.[^/:]+", button["url"]):
                return f"inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL"
        return ""


def _result(value: Any) -> Reply:
    return Reply.json({"ok": True, "result": value})


def _error(status: int, description: str, parameters: dict[str, Any] | None = None) -> Reply:
    extra = {"parameters": parameters} if parameters else {}
    return Reply.json({"ok": False, "error_code": status, "description": description, **extra}, status)
