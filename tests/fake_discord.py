"""
A fake of Discord's webhooks.

    async with FakeDiscord() as discord:
        discord.webhook     # what a channel is given
        discord.messages    # by ID, what people see

It refuses what Discord refuses, with its codes; made from Discord's documentation.
"""

import itertools
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fake_http import FakeService, ReceivedRequest, Reply

MESSAGE = {"content", "embeds", "components", "allowed_mentions", "username"}
LINK_BUTTON = {"type", "style", "label", "url"}


class FakeDiscord(FakeService):
    """A channel with one webhook."""

    secret = "mnopqrstuvwxyz-0123456789_ABCDEFGH"

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self.threads: list[str] = []
        self.deleted = False
        self._ids = itertools.count(1_200_000_000_000_000_001)

    @property
    def webhook(self) -> str:
        """The URL of the webhook."""
        return f"{self.url}/api/webhooks/1100000000000000001/{self.secret}"

    def respond(self, received: ReceivedRequest) -> Reply:
        """Post or change a message, or tell about the webhook."""
        path, query = urlsplit(received.path).path, dict(parse_qsl(urlsplit(received.path).query))
        base, separator, message = path.partition("/messages/")
        if self.deleted or base != self.webhook.removeprefix(self.url):
            return _error(404, "Unknown Webhook", 10015)
        if received.method == "GET":
            return Reply.json({"type": 1, "name": "toban", "channel_id": "1", "token": self.secret})
        if separator and message not in self.messages:
            return _error(404, "Unknown Message", 10008)
        body = received.json
        if errors := self._errors(body):
            return Reply.json({"message": "Invalid Form Body", "code": 50035, "errors": errors}, 400)
        if body.get("components") and query.get("with_components") != "true":
            self.mistakes.append("components without with_components are dropped")
        if body.get("allowed_mentions") != {"parse": []}:
            self.mistakes.append("somebody may be mentioned")
        if received.method == "PATCH":
            self.messages[message] = body
            return Reply.json({"id": message})
        if query.get("wait") != "true":
            return Reply(204)
        posted = str(next(self._ids))
        self.messages[posted] = body
        self.threads.append(query.get("thread_id", ""))
        return Reply.json({"id": posted, "type": 0})

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Say that it was posted."""
        return Reply.json({"id": "1200000000000000000"})

    def _errors(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := set(body) - MESSAGE:
            self.mistakes.append(f"unknown fields {unknown}")
        embeds, errors = body.get("embeds", []), {}
        fields = [field for embed in embeds for field in embed["fields"]]
        texts = [text for embed in embeds for text in (embed["title"], embed["description"])]
        texts += [text for field in fields for text in (field["name"], field["value"])]
        if not body.get("content") and not embeds:
            errors["content"] = "Cannot send an empty message"
        if len(body.get("content", "")) > 2_000 or sum(map(len, texts)) > 6_000:
            errors["embeds"] = "Embed size exceeds maximum size of 6000"
        if any(len(it["title"]) > 256 or len(it["description"]) > 4_096 or len(it["fields"]) > 25 for it in embeds):
            errors["embeds"] = "Must be 4096 or fewer in length."
        if any(not 1 <= len(it["name"]) <= 256 or not 1 <= len(it["value"]) <= 1_024 for it in fields):
            errors["embeds"] = "This field is required"
        for row in body.get("components", []):
            for button in row["components"]:
                if set(button) != LINK_BUTTON or (button["type"], button["style"]) != (2, 5):
                    self.mistakes.append(f"no link button: {button}")
                if not re.match(r"https?://[^/:]+\.[^/:]+", button["url"]) or len(button["url"]) > 512:
                    errors["components"] = "Not a well formed URL."
            if not 1 <= len(row["components"]) <= 5:
                errors["components"] = "Must be between 1 and 5 in length."
        return errors


def _error(status: int, message: str, code: int) -> Reply:
    return Reply.json({"message": message, "code": code}, status)
