"""Postback buttons of LINE: https://developers.line.biz/en/reference/messaging-api/#postback-event."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
import structlog

from toban.access.permissions import Permission
from toban.answers.answer import clicked
from toban.answers.executor import AnswerExecutor, Mark
from toban.answers.people import person_at_line
from toban.answers.person_answers import PersonAnswers
from toban.core.errors import DeliveryError
from toban.core.ports import Clock
from toban.core.untyped_json import as_list, as_mapping
from toban.notify.channel import ChannelTools
from toban.notify.channels.line import Line
from toban.oncall.settings import OnCallSettings
from toban.state.database import State

log = structlog.get_logger("toban.answers")

MAX_EVENTS: Final = 100
"""How many events of one request are read."""


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Tell whether a request comes from LINE for the channel with this secret."""
    wanted = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest())
    return hmac.compare_digest(wanted, signature.encode("utf-8", "replace"))


def parse_request(body: bytes) -> Sequence[Mapping[str, Any]]:
    """Return the postbacks of a request, with what is written down of them. Raises ``ValueError``."""
    events = [as_mapping(it) for it in as_list(as_mapping(orjson.loads(body)).get("events"))[:MAX_EVENTS]]
    return [
        {
            "id": str(event.get("webhookEventId", ""))[:100],
            "user": str(as_mapping(event.get("source")).get("userId", ""))[:50],
            "data": str(as_mapping(event.get("postback")).get("data", ""))[:300],
            "reply": str(event.get("replyToken", ""))[:100],
        }
        for event in events
        if event.get("type") == "postback"
    ]


def idempotency_key(event: Mapping[str, Any]) -> str:
    """Return what is the same for all deliveries of an event; empty for one without an ID."""
    return f"line-{hashlib.sha256(event['id'].encode()).hexdigest()}" if event["id"] else ""


class LineAnswers:
    """Executes what people do with the buttons of one channel at LINE, and replies in the conversation."""

    kind = "line"

    def __init__(
        self,
        channel: Line,
        tools: Callable[[], ChannelTools],
        on_call: OnCallSettings,
        permissions: Callable[[str], frozenset[Permission]],
        executor: AnswerExecutor,
        state: State,
        clock: Clock,
    ) -> None:
        """``tools`` returns the tools of one request."""
        self._channel = channel
        self._tools = tools
        self._on_call = on_call
        self._answers = PersonAnswers(channel.name, self.kind, permissions, executor, state, clock)

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """Execute a postback, and reply to it; return what came of it. Raises ``StateError``."""
        action, _, value = body["data"].partition(" ")
        person = person_at_line(self._on_call, body["user"])
        outcome, text = await self._answers.execute(
            person, f"LINE user {body['user']}", lambda: clicked(action, value), body["data"], mark
        )
        try:
            await self._channel.reply(body["reply"], text, self._tools())
        except DeliveryError as error:
            log.warning("reply to an answer not delivered", channel=self._channel.name, error=str(error))
        return outcome
