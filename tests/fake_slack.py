"""
A fake of Slack: an incoming webhook and the parts of the Web API that toban uses.

    async with FakeSlack() as slack:
        slack.webhook, slack.api, slack.token   # what a channel is given
        slack.messages                          # the visible messages, with their replies
        slack.next(busy(3), broken)             # the faults of the next two requests

It refuses what Slack refuses, with Slack's errors; made from Slack's documentation, not recorded.
"""

import hashlib
import hmac
import itertools
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

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

    @property
    def attachment_title(self) -> str:
        """The title of its first attachment."""
        return str(self.body["attachments"][0]["title"])


class FakeSlack(FakeService):
    """A workspace with one channel, which a bot and a webhook may write to."""

    token = "xoxb-1234567890-abcdefghijkl"
    secret = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"

    team = "T0000001"
    signing_secret = "8f742231b10e8888abcd99yyyzzz85a5"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.messages: list[Message] = []
        self.channels = {"#vendure-alerts": "C0000000001"}
        self.archived: set[str] = set()
        self.scopes = {"chat:write", "chat:write.customize", "channels:read", "channels:history"}
        self.page = 200
        self.revoked = False
        self._ts = itertools.count(247)
        self.members = {"U1": "ann@example.com", "U2": "ben@example.com", "U9": "eve@elsewhere.example"}
        self.ephemeral: list[dict[str, Any]] = []
        """What was shown to one person alone: by `response_url`, or by `chat.postEphemeral`."""
        self.views: list[dict[str, Any]] = []
        self._triggers: set[str] = set()
        self._uses: dict[str, int] = {}

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
        if request.path.startswith("/actions/"):
            return self._answered(request)
        method = request.path.removeprefix("/api/")
        if self.revoked or request.headers.get("authorization") != f"Bearer {self.token}":
            return _error("token_revoked" if self.revoked else "invalid_auth")
        if method == "auth.test":
            who = Reply.json(
                {"ok": True, "url": "https://shop.slack.com/", "team": "Shop", "user": "toban", "team_id": self.team}
            )
            who.headers["x-oauth-scopes"] = ",".join(sorted(self.scopes))
            return who
        reading = {
            "users.conversations": self._conversations,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "users.info": self._member,
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
        known = {
            "chat.postMessage": self._posted,
            "chat.update": self._updated,
            "chat.postEphemeral": self._shown_to_one,
            "views.open": self._opened,
        }
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

    def signed(self, payload: dict[str, Any], at: float, secret: str = "") -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers by which Slack sends an interaction; without a type it is a command."""
        form = {"payload": json.dumps(payload)} if "type" in payload else payload
        body = urlencode(form).encode()
        signed = f"v0:{int(at)}:".encode() + body
        signature = hmac.new((secret or self.signing_secret).encode(), signed, hashlib.sha256).hexdigest()
        return body, {
            "content-type": "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": str(int(at)),
            "x-slack-signature": f"v0={signature}",
        }

    def click(self, message: Message, action_id: str, user: str = "U1", ts: str = "1.1", **more: Any) -> dict[str, Any]:
        """Return what Slack sends when a person uses a button of a message, or the first option of its menu."""
        elements = [
            it for each in message.body["attachments"] for block in each.get("blocks", ()) for it in block["elements"]
        ]
        (element,) = [it for it in elements if it["action_id"] == action_id]
        action: dict[str, Any] = {"type": element["type"], "action_id": action_id, "block_id": "b1", "action_ts": ts}
        if element["type"] == "button":
            action |= {key: element[key] for key in ("value", "url") if key in element}
        else:
            action["selected_option"] = element["options"][0]
        trigger = f"trigger-{ts}"
        self._triggers.add(trigger)
        return {
            "type": "block_actions",
            "user": {"id": user, "username": "somebody", "name": "somebody", "team_id": self.team},
            "api_app_id": "A1",
            "token": "deprecated",
            "container": {"type": "message_attachment", "message_ts": message.ts, "channel_id": message.channel},
            "trigger_id": trigger,
            "team": {"id": self.team, "domain": "example"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": message.channel, "name": "alerts"},
            "message": {"type": "message", "ts": message.ts, **message.body},
            "state": {"values": {}},
            "response_url": f"{self.url}/actions/{self.team}/{ts}/abc",
            "actions": [action],
            **more,
        }

    def submit(self, text: str, user: str = "U1") -> dict[str, Any]:
        """Return what Slack sends when a person sends the modal that was opened last."""
        view = self.views[-1]
        (block,) = view["blocks"]
        values = {block["block_id"]: {block["element"]["action_id"]: {"type": "plain_text_input", "value": text}}}
        sent = {"id": f"V{len(self.views)}", "hash": "1.abc", **view, "state": {"values": values}}
        who = {"id": user, "name": "somebody", "team_id": self.team}
        return {"type": "view_submission", "user": who, "team": {"id": self.team}, "view": sent, "response_urls": []}

    def command(self, text: str, user: str = "U1", trigger: str = "1.2.x") -> dict[str, Any]:
        """Return what Slack sends for a slash command."""
        return {
            "command": "/toban",
            "text": text,
            "user_id": user,
            "channel_id": "C0000000001",
            "team_id": self.team,
            "api_app_id": "A1",
            "response_url": f"{self.url}/actions/{self.team}/{trigger}/abc",
            "trigger_id": trigger,
        }

    def _answered(self, request: ReceivedRequest) -> Reply:
        self._uses[request.path] = self._uses.get(request.path, 0) + 1
        if self._uses[request.path] > 5:
            return Reply.json({"ok": False, "error": "used_url"}, 404)
        body = request.json
        if body.get("response_type") != "ephemeral" or body.get("replace_original") is not False:
            self.mistakes.append(f"a reply to a click that may be public, or replace the message: {body}")
        if not body.get("text"):
            return Reply.json({"ok": False, "error": "no_text"}, 400)
        self.ephemeral.append(body)
        return Reply.json({"ok": True})

    def _shown_to_one(self, body: dict[str, Any]) -> Reply:
        if body.get("channel") not in self.channels.values() or body.get("user") not in self.members:
            return _error("user_not_in_channel")
        if not body.get("text"):
            return _error("no_text")
        self.ephemeral.append(body)
        return Reply.json({"ok": True, "message_ts": "1.1"})

    def _opened(self, body: dict[str, Any]) -> Reply:
        if body.get("trigger_id") not in self._triggers:
            return _error("expired_trigger_id")
        self._triggers.discard(body["trigger_id"])
        view = body["view"]
        parts = [view["title"], view["submit"], view["close"]]
        if view["type"] != "modal" or any(not 0 < len(it["text"]) <= 24 for it in parts):
            return _error("invalid_arguments")
        if len(view["private_metadata"]) > 3000 or len(view["callback_id"]) > 255:
            return _error("invalid_arguments")
        self.views.append(view)
        return Reply.json({"ok": True, "view": {"id": f"V{len(self.views)}"}})

    def _member(self, form: dict[str, str]) -> Reply:
        if "users:read.email" not in self.scopes:
            return _error("missing_scope", needed="users:read.email")
        email = self.members.get(form.get("user", ""))
        if email is None:
            return _error("user_not_found")
        return Reply.json({"ok": True, "user": {"id": form["user"], "profile": {"email": email}}})

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
        blocks = body.get("blocks", [])
        if len(blocks) > 50 or not all(_is_block(it) for it in blocks):
            return "invalid_blocks"
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
        if "blocks" in attachment:
            if "fields" in attachment:
                self.mistakes.append("blocks and fields in one attachment")
            if not all(_is_actions_block(each) for each in attachment["blocks"]):
                return "invalid_blocks"
        if len(attachment.get("footer", "")) > 300 or len(attachment.get("title", "")) > 1024:
            return "invalid_attachments"
        return ""


def _is_block(block: dict[str, Any]) -> bool:
    """Tell whether Slack accepts a block of a message: its parts, and their lengths."""
    match block.get("type"):
        case "header":
            return set(block) == {"type", "text"} and _is_plain(block["text"], 150)
        case "section":
            fields = block.get("fields", [])
            is_text = "text" not in block or _is_mrkdwn(block["text"], 3000)
            is_known = not set(block) - {"type", "text", "fields"} and bool({"text", "fields"} & set(block))
            return is_known and is_text and len(fields) <= 10 and all(_is_mrkdwn(it, 2000) for it in fields)
        case "context":
            elements = block.get("elements", [])
            return 0 < len(elements) <= 10 and all(_is_mrkdwn(it, 3000) for it in elements)
        case "divider":
            return set(block) == {"type"}
        case _:
            return _is_actions_block(block)


def _is_mrkdwn(text: Any, most: int) -> bool:
    return isinstance(text, dict) and text.get("type") == "mrkdwn" and 0 < len(text.get("text", "")) <= most


def _is_actions_block(block: dict[str, Any]) -> bool:
    """Tell whether Slack accepts a block of buttons and menus."""
    elements = block.get("elements", [])
    ids = [it.get("action_id") for it in elements]
    if block.get("type") != "actions" or not 0 < len(elements) <= 25 or len(set(ids)) != len(ids):
        return False
    return all(_is_menu(it) if it.get("type") == "static_select" else _is_button(it) for it in elements)


def _is_button(element: dict[str, Any]) -> bool:
    known = {"type", "action_id", "text", "value", "style", "confirm", "url"}
    confirm = element.get("confirm")
    limits = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
    if confirm is not None and not all(_is_plain(confirm.get(it), most) for it, most in limits.items()):
        return False
    is_styled = element.get("style", "primary") in {"primary", "danger"}
    is_known = element.get("type") == "button" and not set(element) - known
    return is_known and is_styled and _is_plain(element.get("text"), 75) and len(element.get("value", "")) <= 2000


def _is_menu(element: dict[str, Any]) -> bool:
    options = element.get("options", [])
    is_right = not set(element) - {"type", "action_id", "placeholder", "options"} and 0 < len(options) <= 100
    shown = [_is_plain(it.get("text"), 75) and 0 < len(it.get("value", "")) <= 150 for it in options]
    return is_right and _is_plain(element.get("placeholder"), 150) and all(shown)


def _is_plain(text: Any, most: int) -> bool:
    return isinstance(text, dict) and text.get("type") == "plain_text" and 0 < len(text.get("text", "")) <= most


def _error(word: str, **more: str) -> Reply:
    return Reply.json({"ok": False, "error": word, **more})
