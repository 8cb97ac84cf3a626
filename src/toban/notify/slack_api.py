"""Slack's Web API, as far as a bot needs it: https://api.slack.com/web."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from toban.core.errors import DeliveryError
from toban.core.text_limits import safe_text
from toban.core.untyped_json import as_mapping
from toban.notify.http_delivery import DeliveryResponse, HttpDelivery

TEMPORARY_ERRORS: Final = frozenset(
    {
        *("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"),
        "rollup_error",
    }
)
"""Slack's errors that are worth another attempt."""

WEBHOOK_ERRORS: Final = TEMPORARY_ERRORS | {
    *("invalid_payload", "invalid_payload_format", "no_text", "too_many_attachments", "invalid_blocks"),
    *("invalid_attachments", "invalid_blocks_format", "msg_too_long", "missing_text_or_fallback_or_attachments"),
    *("user_not_found", "channel_not_found", "channel_is_archived", "is_archived", "not_in_channel"),
    *("action_prohibited", "posting_to_general_channel_denied", "restricted_action", "message_limit_exceeded"),
    *("invalid_token", "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"),
    *("no_service", "no_service_id", "no_team", "team_disabled", "missing_scope", "no_active_hooks", "rollup_error"),
}
"""What an incoming webhook answers when it rejects a message; a receiver like Slack may do so with 2xx."""

GONE_ERRORS: Final = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
"""Slack's errors for a message that can't be updated any more: a new one takes its place."""

READ_SCOPES: Final = (frozenset({"channels:read", "groups:read"}), frozenset({"channels:history", "groups:history"}))
"""To find its own messages, a bot needs one scope of each: for public or for private channels."""

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
"""The metadata of a message: its `group_id` and its `key`."""


class MessageGoneError(DeliveryError):
    """The message that was to be updated is gone."""


def message_metadata(marks: Marks) -> dict[str, Any]:
    """Return the metadata field by which a message is found again: https://api.slack.com/metadata."""
    return {"metadata": {"event_type": _EVENT, "event_payload": dict(marks)}}


def missing_scopes(scopes: frozenset[str]) -> list[str]:
    """Return the scopes that a bot lacks to find its own messages."""
    return [min(need) for need in READ_SCOPES if not need & scopes]


class WebApi:
    """
    Calls methods with a bot's token.

    Every method raises ``DeliveryError``; Slack reports errors with status 200 too.
    """

    def __init__(self, delivery: HttpDelivery, address: str, token: str) -> None:
        self._delivery = delivery
        self._name = delivery.name
        self._address = address.rstrip("/")
        self._token = token

    async def post(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call a method that writes."""
        response = await self._call(method, orjson.dumps(body), "application/json; charset=utf-8")
        return response.fields

    async def myself(self) -> tuple[str, frozenset[str]]:
        """Return who the bot is, and its scopes."""
        response = await self._call("auth.test", b"", "application/x-www-form-urlencoded")
        fields = response.fields
        scopes = frozenset(scope.strip() for scope in response.headers.get("x-oauth-scopes", "").split(","))
        return f"{fields.get('user', 'a bot')} at {fields.get('team', 'Slack')}", scopes

    async def team(self) -> str:
        """Return the ID of the bot's workspace."""
        response = await self._call("auth.test", b"", "application/x-www-form-urlencoded")
        return str(response.fields.get("team_id", ""))

    async def socket_url(self) -> str:
        """Return the address of a new connection of Socket Mode, which is a secret; for an app-level token."""
        response = await self._call("apps.connections.open", b"", "application/x-www-form-urlencoded")
        return str(response.fields.get("url", ""))

    async def email(self, member: str) -> str:
        """Return the e-mail address of a member; empty where the bot may not read it (users:read.email)."""
        form = urlencode({"user": member}).encode()
        response = await self._call("users.info", form, "application/x-www-form-urlencoded")
        user = as_mapping(response.fields.get("user"))
        return str(as_mapping(user.get("profile")).get("email", ""))

    async def channel(self, name: str) -> str:
        """Return the ID of a channel that the bot is a member of, by its name or its ID."""
        if not name.startswith("#"):
            return name
        for sort in ("public_channel", "private_channel"):
            async for channel in self._pages("users.conversations", "channels", types=sort):
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
        async for message in self._pages(method, "messages", include_all_metadata="true", **fields):
            metadata = message.get("metadata") or {}
            if metadata.get("event_type") == _EVENT and "ts" in message:
                found.append((message["ts"], metadata.get("event_payload") or {}))
        return found

    async def _pages(self, method: str, part: str, **fields: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a method that answers in pages."""
        cursor = ""
        for _ in range(PAGES):
            form = {**fields, "limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
            response = await self._call(method, urlencode(form).encode(), "application/x-www-form-urlencoded")
            for each in response.fields.get(part, ()):
                yield each
            cursor = (response.fields.get("response_metadata") or {}).get("next_cursor", "")
            if not cursor:
                return

    async def _call(self, method: str, content: bytes, kind: str) -> DeliveryResponse:
        url = f"{self._address}/{method}"
        headers = {"content-type": kind, "authorization": f"Bearer {self._token}"}
        response = await self._delivery.post(url, content, headers)
        response.raise_for_status(_error(response))
        if not isinstance(response.json, dict):
            raise DeliveryError(f"{self._name}: {method}: the response is not JSON")
        if response.fields.get("ok") is not True:
            raise self._method_error(method, response)
        return response

    def _method_error(self, method: str, response: DeliveryResponse) -> DeliveryError:
        error = safe_text(_error(response) or "no reason given", [self._token])
        if error in GONE_ERRORS:
            return MessageGoneError(f"{self._name}: {method}: {error}")
        remedy = _REMEDIES.get(error, "")
        return DeliveryError(
            f"{self._name}: {method}: {error}{f': {remedy}' if remedy else ''}",
            permanent=error not in TEMPORARY_ERRORS,
            after=response.requested_delay,
        )


def webhook_error(response: DeliveryResponse) -> str:
    """Return the error with which a receiver like Slack rejects a message in a 2xx response; empty if it accepted."""
    if response.fields.get("ok") is False or response.fields.get("success") is False:
        return _error(response) or response.error_text
    text = response.text.strip()
    return text if text in WEBHOOK_ERRORS else ""


def _error(response: DeliveryResponse) -> str:
    return str(response.fields.get("error", ""))[:200]
