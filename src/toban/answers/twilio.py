"""Keys that people press in a call by Twilio: https://www.twilio.com/docs/voice/twiml/gather."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from toban.access.permissions import Permission
from toban.answers.answer import Answer, Verb, clicked
from toban.answers.executor import AnswerExecutor, Mark
from toban.answers.people import person_with_phone
from toban.answers.person_answers import PersonAnswers
from toban.core.ports import Clock
from toban.oncall.settings import OnCallSettings
from toban.state.database import State

MAX_FIELDS: Final = 100
REPLY_WITHIN: Final = timedelta(seconds=8)
"""How long a caller waits for what came of it: Twilio ends a request after 15 seconds."""
MAX_REPLIES: Final = 500

KEYS: Final = {"1": Verb.ACKNOWLEDGE, "2": Verb.ESCALATE}
"""What the keys of the telephone mean."""


def is_signed(token: str, url: str, fields: Sequence[tuple[str, str]], signature: str) -> bool:
    """Tell whether a request comes from Twilio: https://www.twilio.com/docs/usage/security#validating-requests."""
    signed = url + "".join(name + value for name, value in sorted(fields))
    wanted = base64.b64encode(hmac.new(token.encode(), signed.encode("utf-8", "replace"), hashlib.sha1).digest())
    return hmac.compare_digest(wanted, signature.encode("utf-8", "replace"))


def parse_form(body: bytes) -> Sequence[tuple[str, str]]:
    """Return the fields of a request. Raises ``ValueError`` where there are too many, or one comes twice."""
    fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    if len(dict(fields)) != len(fields):
        raise ValueError("a field comes twice")
    return fields


def kept_fields(fields: Mapping[str, str], value: str) -> dict[str, str]:
    """Return what is written down of a request; ``value`` is the incident, with its version, from the URL."""
    kept = {"call": fields.get("CallSid", ""), "to": fields.get("To", ""), "digits": fields.get("Digits", "")}
    return {name: text[:50] for name, text in {**kept, "value": value}.items()}


def idempotency_key(body: Mapping[str, str]) -> str:
    """Return what is the same when Twilio repeats a request: the call, and the key that was pressed in it."""
    parts = repr([body["call"], body["digits"], body["value"]])
    return f"twilio-{hashlib.sha256(parts.encode()).hexdigest()}" if body["call"] else ""


class TwilioAnswers:
    """Executes the keys that people press in the calls of one channel; what came of it is spoken."""

    kind = "phone"

    def __init__(
        self,
        channel: str,
        on_call: OnCallSettings,
        permissions: Callable[[str], frozenset[Permission]],
        executor: AnswerExecutor,
        state: State,
        clock: Clock,
    ) -> None:
        self._on_call = on_call
        self._executor = executor
        self._answers = PersonAnswers(channel, self.kind, permissions, executor, state, clock)
        self._replies: dict[str, asyncio.Future[str]] = {}
        """What is said, by the key of the request; the oldest are dropped."""

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """Execute a key; return what came of it. Raises ``StateError``."""
        person = person_with_phone(self._on_call, body["to"])

        def read() -> Answer:
            return clicked(f"toban.{KEYS[body['digits']].value}", body["value"])

        what = f"key {body['digits']} {body['value']}"
        outcome, text = await self._answers.execute(person, f"phone {body['to']}", read, what, mark)
        reply = self._reply(idempotency_key(body))
        if not reply.done():
            reply.set_result(text)
        return outcome

    async def spoken(self, key: str) -> str:
        """Return what is said to whoever pressed a key: what came of it, or after a while that it is written down."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._reply(key)), REPLY_WITHIN.total_seconds())
        except TimeoutError:
            return self.say("key-received")

    @property
    def language(self) -> str:
        """The language of messages."""
        return self._executor.language

    def say(self, key: str) -> str:
        """Return a sentence in the language of messages."""
        return self._executor.say(key)

    def _reply(self, key: str) -> asyncio.Future[str]:
        if key not in self._replies:
            self._replies[key] = asyncio.get_running_loop().create_future()
            while len(self._replies) > MAX_REPLIES:
                del self._replies[next(iter(self._replies))]
        return self._replies[key]
