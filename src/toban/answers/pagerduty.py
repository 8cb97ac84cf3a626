"""Events of PagerDuty's webhooks v3: https://developer.pagerduty.com/docs/webhooks-overview."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from toban.answers import repository
from toban.answers.answer import Answer, Verb
from toban.answers.executor import AnswerExecutor, Mark
from toban.answers.people import person_at_pagerduty
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.core.text_limits import one_line
from toban.core.untyped_json import as_mapping
from toban.oncall.settings import OnCallSettings
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

VERBS: Final = {
    "incident.acknowledged": Verb.ACKNOWLEDGE,
    "incident.unacknowledged": Verb.UNACKNOWLEDGE,
    "incident.resolved": Verb.RESOLVE,
    "incident.annotated": Verb.NOTE,
}
_KEY: Final = re.compile(r"toban-incident-([0-9]{1,18})")


def is_signed(secret: str, body: bytes, signatures: str) -> bool:
    """Tell whether one of the signatures of a request is right: there are several while a secret is changed."""
    wanted = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = [it.strip() for it in signatures.split(",")[:10]]
    return any(hmac.compare_digest(wanted.encode(), it.encode("utf-8", "replace")) for it in given)


def idempotency_key(webhook: str, event: Mapping[str, Any]) -> str:
    """Return what is the same for all deliveries of an event: its own ID, which is signed; empty if it has none."""
    parts = [webhook, str(event.get("id", ""))]
    return f"pagerduty-{hashlib.sha256(repr(parts).encode()).hexdigest()}" if parts[1] else ""


class PagerdutyAnswers:
    """
    Executes what people do at PagerDuty with the incidents of one channel.

    What toban itself caused there, by its integration key, has no user: it is not taken back as an answer.
    """

    kind = "pagerduty"

    def __init__(self, on_call: OnCallSettings, executor: AnswerExecutor, state: State, clock: Clock) -> None:
        self._on_call = on_call
        self._executor = executor
        self._state = state
        self._clock = clock

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """Execute an event; return what came of it. Raises ``StateError``."""
        number = await self._incident(as_mapping(body.get("data")))
        verb, agent = VERBS.get(str(body.get("event_type", ""))), as_mapping(body.get("agent"))
        is_user = str(agent.get("type", "")).startswith("user")
        if verb is None or number is None or not is_user:
            return "ignored"
        text = str(as_mapping(body.get("data")).get("content", "")) if verb is Verb.NOTE else ""
        actor = self._actor(agent)
        try:
            await self._executor.execute(Answer(verb, number, text=text), actor, mark)
        except (InvalidCommandError, NotFoundError) as error:
            # It is resolved here already, or not acknowledged: both sides agree, or the newer answer stays.
            facts = {"incident": number, "event": str(body.get("event_type", "")), "reason": str(error)}
            entry = AuditEntry(self._clock.now(), actor, "answered without effect", facts)
            await self._state.transaction(lambda connection: audit_log.record(connection, entry))
            return "invalid"
        return "done"

    async def _incident(self, data: Mapping[str, Any]) -> int | None:
        """
        Return the incident that an event is about, by the key that toban gave it there.

        Notes name only PagerDuty's own ID: it is remembered from the events with the key.
        """
        name = str(as_mapping(data.get("incident")).get("id", "") or data.get("id", ""))[:100]
        key = _KEY.fullmatch(str(data.get("incident_key", "")))
        now = self._clock.now()

        def work(connection: Connection) -> int | None:
            if key is None:
                return repository.pagerduty_incident(connection, name) if name else None
            if name:
                repository.remember_pagerduty(connection, name, int(key[1]), now)
            return int(key[1])

        return await self._state.transaction(work)

    def _actor(self, agent: Mapping[str, Any]) -> Actor:
        """Return who answered: somebody of `on_call`, or else a user of the account, who may answer there too."""
        user, shown = str(agent.get("id", "")), one_line(str(agent.get("summary", "")))[:100]
        person = person_at_pagerduty(self._on_call, user, str(agent.get("email", "")))
        return Actor(person or f"{shown or user} (PagerDuty)", "pagerduty")
