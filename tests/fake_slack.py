"""
A fake of Slack: an incoming webhook and the parts of the Web API that toban uses.

    async with FakeSlack() as slack:
        slack.webhook, slack.api, slack.token   # what a channel is given
        slack.messages                          # the visible messages, with their replies
        slack.next(busy(3), broken)             # the faults of the next two requests

It refuses what Slack refuses, with Slack's errors; made from Slack's documentation, not recorded.
"""

import itertools
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.fake_http import FakeService, ReceivedRequest, Reply

MESSAGE = {
    *("text", "blocks", "attachments", "thread_ts", "mrkdwn", "link_names", "unfurl_links", "unfurl_media"),
    *("metadata", "channel", "username", "icon_emoji", "icon_url", "reply_broadcast", "ts"),
}
ATTACHMENT = {
    *("fallback", "color", "pretext", "title", "title_link", "text", "author_name", "author_link", "author_icon"),
    *("fields", "mrkdwn_in", "image_url", "thumb_url", "footer", "footer_icon", "ts", "blocks", "actions"),
    "callback_id",
}


@dataclass
class Message:
    """What people see in a channel; how it was before each change; and what was said beneath it."""

    channel: str
    ts: str
    body: dict[str, Any]
    by: str = ""
    before: list[dict[str, Any]] = field(default_factory=list)
    replies: list["Message"] = field(default_factory=list)

    @property
    def marks(self) -> dict[str, Any]:
        """Its metadata: what a change does not name stays."""
        posted = next((each for each in (self.body, *self.before[::-1]) if "metadata" in each), {})
        return {"metadata": posted["metadata"]} if posted else {}

    @property
    def attachment(self) -> dict[str, Any]:
        """Its only attachment."""
        (only,) = self.body["attachments"]
        return dict(only)


class FakeSlack(FakeService):
    """A workspace with one channel, which a bot and a webhook may write to."""

    token = "xoxb-1234567890-abcdefghijkl"
    secret = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.messages: list[Message] = []
        self.channels = {"#vendure-alerts": "C0000000001"}
        self.archived: set[str] = set()
        self.scopes = {"chat:write", "chat:write.customize", "channels:read", "channels:history"}
        self.page = 200
        self.revoked = False
        self._ts = itertools.count(247)

    @property
    def webhook(self) -> str:
        """The webhook's address."""
        return f"{self.url}/services/{self.secret}"

    @property
    def api(self) -> str:
        """Where the Web API is."""
        return f"{self.url}/api"

    def lose(self) -> None:
        """Forget every message, as when somebody deletes them."""
        self.messages.clear()

    def respond(self, request: ReceivedRequest) -> Reply:
        """Do what is asked."""
        if request.path.startswith("/services/"):
            return self._posted_to_webhook(request)
        method = request.path.removeprefix("/api/")
        if self.revoked or request.headers.get("authorization") != f"Bearer {self.token}":
            return _error("token_revoked" if self.revoked else "invalid_auth")
        if method == "auth.test":
            who = Reply.json({"ok": True, "url": "https://shop.slack.com/", "team": "Shop", "user": "toban"})
            who.headers["x-oauth-scopes"] = ",".join(sorted(self.scopes))
            return who
        reading = {
            "users.conversations": self._conversations,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
        }
        if method in reading:
            if request.headers["content-type"] != "application/x-www-form-urlencoded":
                self.mistakes.append(f"content-type {request.headers['content-type']}")
            return reading[method](dict(parse_qsl(request.body.decode())))
        try:
            body = request.json
        except ValueError:
            return _error("invalid_json")
        if not request.headers["content-type"].startswith("application/json; charset=utf-8"):
            self.mistakes.append(f"content-type {request.headers['content-type']}")
        known = {"chat.postMessage": self._posted, "chat.update": self._updated}
        return known[method](body) if method in known else _error("unknown_method")

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Say yes and do nothing."""
        if request.path.startswith("/services/"):
            return Reply(body=b"ok", kind="text/html")
        body = request.json
        return Reply.json({"ok": True, "channel": self.channels["#vendure-alerts"], "ts": body.get("ts", "1.000001")})

    def _posted_to_webhook(self, request: ReceivedRequest) -> Reply:
        if self.revoked or request.path != f"/services/{self.secret}":
            return Reply(404, b"no_service")
        try:
            body = request.json
        except ValueError:
            return Reply(400, b"invalid_payload")
        if fault := self._wrong(body):
            return Reply(400, fault.encode())
        # A webhook of an app knows its channel and name; what is asked for is ignored.
        self._keep(self.channels["#vendure-alerts"], body)
        return Reply(body=b"ok", kind="text/html")

    def _posted(self, body: dict[str, Any]) -> Reply:
        channel = self.channels.get(body.get("channel", ""), body.get("channel", ""))
        if channel not in self.channels.values():
            return _error("channel_not_found")
        if channel in self.archived:
            return _error("is_archived")
        if "chat:write" not in self.scopes or (
            ({"username", "icon_url"} & set(body)) - self.scopes and ("chat:write.customize" not in self.scopes)
        ):
            return _error("missing_scope")
        if fault := self._wrong(body):
            return _error(fault)
        if "thread_ts" in body:
            root = self._find(channel, body["thread_ts"])
            if not root:
                return _error("thread_not_found")
            kept = self._made(channel, body)
            root.replies.append(kept)
        else:
            if body.get("reply_broadcast"):
                self.mistakes.append("reply_broadcast without thread_ts")
            kept = self._keep(channel, body)
        return Reply.json(
            {"ok": True, "channel": channel, "ts": kept.ts, "message": {"type": "message", "ts": kept.ts}}
        )

    def _updated(self, body: dict[str, Any]) -> Reply:
        if not re.fullmatch(r"[CGD][A-Z0-9]+", body.get("channel", "")):
            return _error("channel_not_found")  # a name is not enough here
        found = self._find(body["channel"], body.get("ts"))
        if not found:
            return _error("message_not_found")
        if fault := self._wrong(body):
            return _error(fault)
        found.before.append(found.body)
        found.body = body
        return Reply.json({"ok": True, "channel": found.channel, "ts": found.ts, "text": body.get("text", "")})

    def _conversations(self, form: dict[str, str]) -> Reply:
        for sort in form.get("types", "public_channel").split(","):
            scope = {"public_channel": "channels:read", "private_channel": "groups:read"}[sort]
            if scope not in self.scopes:
                return _error("missing_scope", needed=scope)
        private = form.get("types") == "private_channel"
        found = [{"id": known, "name": name.removeprefix("#")} for name, known in self.channels.items()]
        return self._listed("channels", [] if private else found, form)

    def _history(self, form: dict[str, str]) -> Reply:
        found = [each for each in self.messages if float(each.ts) > float(form.get("oldest", 0))]
        return self._read(form, found[::-1])

    def _replies(self, form: dict[str, str]) -> Reply:
        root = self._find(form.get("channel", ""), form.get("ts"))
        return self._read(form, [root, *root.replies]) if root else _error("thread_not_found")

    def _read(self, form: dict[str, str], found: list[Message]) -> Reply:
        if "channels:history" not in self.scopes:
            return _error("missing_scope", needed="channels:history")
        if form.get("channel") not in self.channels.values():
            return _error("channel_not_found")  # a name is not enough here
        known = {"type", "ts", "text", *({"metadata"} if form.get("include_all_metadata") == "true" else ())}
        shown = [{"type": "message", "ts": each.ts, **each.body, **each.marks} for each in found]
        return self._listed("messages", [{name: each[name] for name in known & set(each)} for each in shown], form)

    def _listed(self, part: str, found: list[dict[str, Any]], form: dict[str, str]) -> Reply:
        first, many = int(form.get("cursor", "0")), min(int(form.get("limit", "100")), self.page)
        more = str(first + many) if first + many < len(found) else ""
        page = {part: found[first : first + many], "response_metadata": {"next_cursor": more}}
        return Reply.json({"ok": True, **page})

    def _keep(self, channel: str, body: dict[str, Any]) -> Message:
        self.messages.append(self._made(channel, body))
        return self.messages[-1]

    def _made(self, channel: str, body: dict[str, Any]) -> Message:
        return Message(channel, f"{int(time.time())}.{next(self._ts):06}", body, body.get("username", ""))

    def _find(self, channel: str, ts: object) -> Message | None:
        if not isinstance(ts, str):
            self.mistakes.append(f"ts {ts!r} is no text")
        return next((each for each in self.messages if (each.channel, each.ts) == (channel, ts)), None)

    def _wrong(self, body: Any) -> str:
        """Return Slack's word for what is wrong with a message; note what it would drop without one."""
        if not isinstance(body, dict):
            return "invalid_payload"
        self.mistakes += [f"unknown field {name}" for name in set(body) - MESSAGE]
        attachments = body.get("attachments", [])
        if not (body.get("text") or body.get("blocks") or attachments):
            return "no_text"
        if len(attachments) > 100:
            return "too_many_attachments"
        if len(body.get("text", "")) > 40_000:
            return "msg_too_long"
        for attachment in attachments:
            if fault := self._wrong_attachment(attachment):
                return fault
        return ""

    def _wrong_attachment(self, attachment: dict[str, Any]) -> str:
        self.mistakes += [f"unknown field attachments.{name}" for name in set(attachment) - ATTACHMENT]
        ts = attachment.get("ts", 0)
        if not isinstance(ts, int) or ts > 10**11 or (ts and not attachment.get("footer")):
            self.mistakes.append(f"ts {ts!r}, footer {attachment.get('footer')!r}")
        if not re.fullmatch(r"#[0-9a-fA-F]{6}|good|warning|danger", attachment.get("color", "good")):
            self.mistakes.append(f"color {attachment['color']}")
        fields = attachment.get("fields", [])
        if any(set(each) != {"title", "value", "short"} or len(each["value"]) > 2000 for each in fields):
            return "invalid_attachments"
        if len(attachment.get("footer", "")) > 300 or len(attachment.get("title", "")) > 1024:
            return "invalid_attachments"
        return ""


def _error(word: str, **more: str) -> Reply:
    return Reply.json({"ok": False, "error": word, **more})
