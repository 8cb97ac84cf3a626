"""Events of PagerDuty's webhooks v3: https://developer.pagerduty.com/docs/webhooks-overview."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from toban.access.permissions import Permission
from toban.answers import repository
from toban.answers.answer import Answer, Verb
from toban.answers.executor import AnswerExecutor, Mark
from toban.answers.people import person_at_pagerduty
from toban.answers.person_answers import PersonAnswers
from toban.core.actor import Actor
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
STRANGERS_MAY: Final = frozenset({Verb.ACKNOWLEDGE, Verb.UNACKNOWLEDGE, Verb.NOTE})
"""What a user of the account may do who is none of the people of `on_call`."""
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

    What toban itself caused there, by its integration key, has no user: it is not taken back as an answer. Whoever is
    not one of the people of `on_call` is a user of the shop's account all the same: they may acknowledge, which wakes
    nobody else, but not resolve. Where `on_call` names nobody, that account is the list of people.
    """

    kind = "pagerduty"

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
        self._state = state
        self._clock = clock
        may = STRANGERS_MAY if on_call.people else frozenset(VERBS.values())
        self._answers = PersonAnswers(channel, self.kind, permissions, executor, state, clock, may)

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """Execute an event; return what came of it. Raises ``StateError``."""
        number = await self._incident(as_mapping(body.get("data")))
        verb, agent = VERBS.get(str(body.get("event_type", ""))), as_mapping(body.get("agent"))
        is_user = str(agent.get("type", "")).startswith("user")
        if verb is None or number is None or not is_user:
            return "ignored"
        event = str(body["event_type"])
        text = str(as_mapping(body.get("data")).get("content", "")) if verb is Verb.NOTE else ""
        answer = Answer(verb, number, text=text)
        person, stranger = self._sender(agent)
        outcome, said = await self._answers.execute(person, stranger, lambda: answer, f"{event} {number}", mark)
        if outcome == "invalid":
            # It is resolved here already, or not acknowledged: both sides agree, or the newer answer stays.
            facts = {"incident": number, "event": event, "reason": said}
            actor = Actor(person or stranger, self.kind)
            entry = AuditEntry(self._clock.now(), actor, "answered without effect", facts)
            await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        return outcome

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

    def _sender(self, agent: Mapping[str, Any]) -> tuple[str, str]:
        """Return who answered, empty for nobody of `on_call`, and the name of that user at PagerDuty."""
        user, shown = str(agent.get("id", ""))[:50], one_line(str(agent.get("summary", "")))[:100]
        person = person_at_pagerduty(self._on_call, user, str(agent.get("email", "")))
        return person, f"{shown or user} (PagerDuty)"
