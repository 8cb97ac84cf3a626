"""
A fake of an ntfy server.

    async with FakeNtfy() as ntfy:
        ntfy.url, ntfy.token    # what a channel is given
        ntfy.phone              # by sequence, the notification that the phone shows; `sounds` counts

It refuses what ntfy refuses, with its codes; made from ntfy's documentation.
"""

import re
from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply

PUBLISH = {"topic", "message", "title", "tags", "priority", "actions", "click", "sequence_id", "markdown"}


class FakeNtfy(FakeService):
    """A server with access control: one topic, for who has the token."""

    token = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
    topic = "shop-alerts"

    def __init__(self) -> None:
        super().__init__()
        self.phone: dict[str, dict[str, Any]] = {}
        self.sounds = 0
        self.day_is_used_up = False

    def respond(self, received: ReceivedRequest) -> Reply:
        """Publish a message as JSON."""
        if (received.method, received.path) != ("POST", "/") or len(received.body) > 8_192:
            return _error(413 if received.path == "/" else 404, 41301, "message too large")
        body = received.json
        if received.headers.get("authorization") != f"Bearer {self.token}" or body.get("topic") != self.topic:
            return _error(403, 40301, "forbidden")
        if self.day_is_used_up:
            return _error(429, 42908, "limit reached: daily message quota reached")
        if unknown := set(body) - PUBLISH:
            self.mistakes.append(f"unknown fields {unknown}")
        if len(body["message"].encode()) > 4_096:
            self.mistakes.append("the message becomes a file")
        if body["priority"] not in range(1, 6) or len(body["actions"]) > 3:
            return _error(400, 40018, "invalid request: actions invalid")
        if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", body["sequence_id"]):
            return _error(400, 40049, "invalid request: sequence ID invalid")
        self.mistakes += [f"action {it}" for it in body["actions"] if (it["action"], bool(it["url"])) != ("view", True)]
        self.phone[body["sequence_id"]] = body
        self.sounds += 1
        return Reply.json({"id": f"hwQ2YpKdmg{self.sounds}", "event": "message", "topic": self.topic})

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Say that it was published."""
        return Reply.json({"id": "hwQ2YpKdmg", "event": "message", "topic": self.topic})


def _error(status: int, code: int, error: str) -> Reply:
    return Reply.json({"code": code, "http": status, "error": error, "link": "https://ntfy.sh/docs/publish/"}, status)
