"""
A fake of LINE's Messaging API.

    async with FakeLine() as line:
        line.url, line.token, line.group    # what a channel is given
        line.messages                       # what was accepted, each message once

It refuses what LINE refuses, knows retry keys, and counts messages against a quota; made from LINE's OpenAPI documents.
"""

import base64
import hashlib
import hmac
import json
import re
from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply


class FakeLine(FakeService):
    """An official account with one group of three members."""

    token = "line-channel-access-token"
    secret = "0123456789abcdef0123456789abcdef"
    group = "C" + "0123456789abcdef" * 2

    def __init__(self, quota: int = 200) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.quota = quota
        self.used = 0
        self._keys: dict[str, str] = {}
        self._reply_tokens: set[str] = set()
        self.replies: list[str] = []

    def respond(self, received: ReceivedRequest) -> Reply:
        """Accept a push, or tell about the account."""
        if received.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "Authentication failed due to the following reason: invalid token.")
        facts = {
            "/v2/bot/info": {"userId": "U" + "f" * 32, "displayName": "Toban"},
            "/v2/bot/message/quota": {"type": "limited", "value": self.quota},
            "/v2/bot/message/quota/consumption": {"totalUsage": self.used},
        }
        if received.method == "GET" and received.path in facts:
            return Reply.json(facts[received.path])
        if (received.method, received.path) == ("POST", "/v2/bot/message/reply"):
            return self._replied(received.json)
        if (received.method, received.path) != ("POST", "/v2/bot/message/push"):
            return _error(404, "Not found")
        key = received.headers.get("x-line-retry-key", "")
        if not re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", key):
            self.mistakes.append(f"the retry key is {key!r}")
        if key in self._keys:
            reply = _error(409, "The retry key is already accepted")
            reply.headers["x-line-accepted-request-id"] = self._keys[key]
            return reply
        body = received.json
        if details := list(self._problems(body)):
            return Reply.json({"message": f"The request body has {len(details)} error(s)", "details": details}, 400)
        if self.used + 3 > self.quota:
            return _error(429, "You have reached your monthly limit.")
        self.used += 3
        self._keys[key] = f"request-{len(self._keys)}"
        self.messages.append(body["messages"][0])
        return Reply.json({"sentMessages": [{"id": "461230966842064897", "quoteToken": "IStG5h1Tz7b"}]})

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Accept it for somebody who has blocked the account."""
        return Reply.json({"sentMessages": [{"id": "461230966842064898"}]})

    def _replied(self, body: dict[str, Any]) -> Reply:
        if body["replyToken"] not in self._reply_tokens:
            return _error(400, "Invalid reply token")
        self._reply_tokens.remove(body["replyToken"])
        self.replies += [it["text"] for it in body["messages"]]
        return Reply.json({"sentMessages": [{"id": "461230966842064899"}]})

    def tap(self, message: dict[str, Any], user: str, number: int = 1) -> bytes:
        """Return what is posted to the webhook when somebody taps the button of a message."""
        (button,) = [it for it in _parts(message["contents"]) if it.get("type") == "postback"]
        self._reply_tokens.add(f"token-{user}-{number}")
        event = {
            "type": "postback",
            "mode": "active",
            "timestamp": 1764600000000,
            "webhookEventId": f"01H{user[:4]}{number}",
            "deliveryContext": {"isRedelivery": False},
            "source": {"type": "group", "groupId": self.group, "userId": user},
            "replyToken": f"token-{user}-{number}",
            "postback": {"data": button["data"]},
        }
        return json.dumps({"destination": "U" + "f" * 32, "events": [event]}).encode()

    def signed(self, body: bytes, secret: str = "") -> dict[str, str]:
        """Return the headers of a request to the webhook."""
        digest = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).digest()
        return {"content-type": "application/json", "x-line-signature": base64.b64encode(digest).decode()}

    def _problems(self, body: dict[str, Any]) -> Any:
        if unknown := set(body) - {"to", "messages", "notificationDisabled", "customAggregationUnits"}:
            self.mistakes.append(f"unknown fields {unknown}")
        if body.get("to") != self.group:
            yield {"message": "The property, 'to', is invalid", "property": "to"}
        for number, message in enumerate(body.get("messages", [])):
            at = f"messages[{number}]"
            if message.get("type") != "flex" or not 1 <= _units(message.get("altText", "")) <= 400:
                yield {"message": "Length must be between 1 and 400", "property": f"{at}.altText"}
            if len(json.dumps(message["contents"], ensure_ascii=False).encode()) > 30_000:
                yield {"message": "may not be larger than 30 KB", "property": f"{at}.contents"}
            for part in _parts(message["contents"]):
                if part.get("type") == "text" and not 1 <= _units(part.get("text", "")) <= 5_000:
                    yield {"message": "May not be empty", "property": f"{at}.text"}
                if part.get("type") == "postback" and not (
                    1 <= _units(part["label"]) <= 20 and 1 <= _units(part["data"]) <= 300
                ):
                    yield {"message": "invalid postback", "property": f"{at}.data"}
                if part.get("type") == "uri" and (
                    not 1 <= _units(part["label"]) <= 20 or not re.fullmatch(r"https?://\S{1,990}", part["uri"])
                ):
                    yield {"message": "invalid uri scheme", "property": f"{at}.uri"}


def _parts(value: Any) -> Any:
    """Yield each object of a Flex message."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _parts(each)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _error(status: int, message: str) -> Reply:
    return Reply.json({"message": message}, status)
