"""Slack's Web API, as far as a bot needs it: https://api.slack.com/web."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import httpx2
import orjson
from pydantic import SecretStr

from toban.core.errors import DeliveryError
from toban.core.untyped_json import as_mapping
from toban.notify.channel import ChannelTools
from toban.notify.http_delivery import as_json, delivery_error, error_text, post, requested_delay, text
from toban.notify.text_limits import safe_text

AGAIN: Final = frozenset(
    {
        *("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"),
        "rollup_error",
    }
)
"""Slack's words after which another try may end otherwise."""

REFUSALS: Final = AGAIN | {
    *("invalid_payload", "invalid_payload_format", "no_text", "too_many_attachments", "invalid_blocks"),
    *("invalid_attachments", "invalid_blocks_format", "msg_too_long", "missing_text_or_fallback_or_attachments"),
    *("user_not_found", "channel_not_found", "channel_is_archived", "is_archived", "not_in_channel"),
    *("action_prohibited", "posting_to_general_channel_denied", "restricted_action", "message_limit_exceeded"),
    *("invalid_token", "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"),
    *("no_service", "no_service_id", "no_team", "team_disabled", "missing_scope", "no_active_hooks", "rollup_error"),
}
"""What an incoming webhook says when it did not take a message: a receiver that is like Slack may say so with 2xx."""

LOST: Final = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
"""Slack's words for a message that can't be changed any more: a new one takes its place."""

LOOKING: Final = (frozenset({"channels:read", "groups:read"}), frozenset({"channels:history", "groups:history"}))
"""To see whether a message is there, a bot needs one scope of each: of a public channel, or of a private one."""

PAGE: Final = 200
PAGES: Final = 10
"""How many pages of a channel are read at most: a message that is looked for is among the newest."""

_EVENT: Final = "toban_notification"
_REMEDIES: Final = {
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "name a channel that there is, and invite the bot to it",
    "missing_scope": "give the app the scopes chat:write, chat:write.customize, channels:read and channels:history",
    "invalid_auth": "the token is not right",
}

Marks = Mapping[str, str]
"""What a message of toban's tells machines of itself: its `thread` and its `key`."""


class LostError(DeliveryError):
    """The message that was to be changed is gone."""


def marked(marks: Marks) -> dict[str, Any]:
    """Return the field that makes a message known again: https://api.slack.com/metadata."""
    return {"metadata": {"event_type": _EVENT, "event_payload": dict(marks)}}


def missing(scopes: frozenset[str]) -> list[str]:
    """Return the scopes without which a bot can't see what it has posted; none where it can."""
    return [min(need) for need in LOOKING if not need & scopes]


class WebApi:
    """
    Calls methods with a bot's token.

    Every method raises ``DeliveryError``; Slack says what is wrong with status 200 too.
    """

    def __init__(self, name: str, address: str, token: SecretStr, tools: ChannelTools) -> None:
        self._name = name
        self._address = address.rstrip("/")
        self._token = token.get_secret_value()
        self._tools = tools

    async def post(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call a method that writes."""
        said, _ = await self._call(method, orjson.dumps(body), "application/json; charset=utf-8")
        return said

    async def myself(self) -> tuple[str, frozenset[str]]:
        """Return who the bot is, and its scopes."""
        said, response = await self._call("auth.test", b"", "application/x-www-form-urlencoded")
        scopes = frozenset(scope.strip() for scope in response.headers.get("x-oauth-scopes", "").split(","))
        return f"{said.get('user', 'a bot')} at {said.get('team', 'Slack')}", scopes

    async def channel(self, name: str) -> str:
        """Return the ID of a channel that the bot is a member of, by its name or its ID."""
        if not name.startswith("#"):
            return name
        for sort in ("public_channel", "private_channel"):
            async for channel in self._listed("users.conversations", "channels", types=sort):
                if channel.get("name") == name.removeprefix("#"):
                    return str(channel["id"])
        raise DeliveryError(f"{self._name}: the bot is not in {name}: invite it", permanent=True)

    async def history(self, channel: str, since: datetime) -> list[tuple[str, Marks]]:
        """Return the `ts` and marks of toban's messages in a channel, by its ID."""
        return await self._marks("conversations.history", channel=channel, oldest=f"{since.timestamp():.6f}")

    async def replies(self, channel: str, ts: str) -> list[tuple[str, Marks]]:
        """Return the `ts` and marks of toban's replies to a message; the message itself is no reply."""
        there = await self._marks("conversations.replies", channel=channel, ts=ts)
        return [each for each in there if each[0] != ts]

    async def _marks(self, method: str, **fields: str) -> list[tuple[str, Marks]]:
        """Return what is marked as toban's."""
        found = list[tuple[str, Marks]]()
        async for message in self._listed(method, "messages", include_all_metadata="true", **fields):
            metadata = message.get("metadata") or {}
            if metadata.get("event_type") == _EVENT and "ts" in message:
                found.append((message["ts"], metadata.get("event_payload") or {}))
        return found

    async def _listed(self, method: str, part: str, **fields: str) -> AsyncIterator[dict[str, Any]]:
        """Yield what a method lists, page by page."""
        cursor = ""
        for _ in range(PAGES):
            form = {**fields, "limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
            said, _response = await self._call(method, urlencode(form).encode(), "application/x-www-form-urlencoded")
            for each in said.get(part, ()):
                yield each
            cursor = (said.get("response_metadata") or {}).get("next_cursor", "")
            if not cursor:
                return

    async def _call(self, method: str, content: bytes, kind: str) -> tuple[dict[str, Any], httpx2.Response]:
        headers = {"content-type": kind, "authorization": f"Bearer {self._token}"}
        url = f"{self._address}/{method}"
        response = await post(self._tools, url, content, headers, name=self._name, secrets=[self._token])
        fields = as_json(response)
        if not response.is_success:
            raise delivery_error(response, self._name, [self._token], self._tools.clock.now(), _error(fields))
        if not isinstance(fields, dict):
            raise DeliveryError(f"{self._name}: {method}: the answer is no JSON")
        if fields.get("ok") is not True:
            raise self._trouble(method, fields, response)
        return fields, response

    def _trouble(self, method: str, fields: dict[str, Any], response: httpx2.Response) -> DeliveryError:
        word = safe_text(_error(fields) or "no word why", [self._token])
        if word in LOST:
            return LostError(f"{self._name}: {method}: {word}")
        remedy = _REMEDIES.get(word, "")
        return DeliveryError(
            f"{self._name}: {method}: {word}{f': {remedy}' if remedy else ''}",
            permanent=word not in AGAIN,
            after=requested_delay(response, self._tools.clock.now()),
        )


def refusal(response: httpx2.Response) -> str:
    """Return the word with which a receiver like Slack refuses a message in an answer of 2xx; nothing if it took it."""
    fields = as_mapping(as_json(response))
    if fields.get("ok") is False or fields.get("success") is False:
        return _error(fields) or error_text(response)
    word = text(response).strip()
    return word if word in REFUSALS else ""


def _error(fields: Any) -> str:
    return str(as_mapping(fields).get("error", ""))[:200]
