"""Answers of people whom a channel knows by a number or an ID: executed, or refused and written in the audit log."""

from collections.abc import Callable

import structlog

from toban.access.permissions import Permission
from toban.answers.answer import Answer
from toban.answers.executor import AnswerExecutor, Mark
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.answers")


class PersonAnswers:
    """Executes the answers of one channel for people of `on_call`; nobody else changes anything."""

    def __init__(
        self,
        channel: str,
        via: str,
        permissions: Callable[[str], frozenset[Permission]],
        executor: AnswerExecutor,
        state: State,
        clock: Clock,
    ) -> None:
        """``via`` is how people answer: it is in the audit log; ``permissions`` returns what a person may do."""
        self._channel = channel
        self._via = via
        self._permissions = permissions
        self._executor = executor
        self._state = state
        self._clock = clock

    async def execute(
        self, person: str, stranger: str, read: Callable[[], Answer], what: str, mark: Mark
    ) -> tuple[str, str]:
        """
        Execute an answer; return what came of it and a sentence for whoever answered.

        ``person`` is empty for somebody unknown, whom ``stranger`` names in the audit log; ``read`` raises
        ``InvalidCommandError``, ``what`` is what they wanted. Raises ``StateError``.
        """
        if not person:
            await self._refuse(Actor(stranger, self._via), what, "not in on_call.people")
            return "refused", self._executor.say(f"not-on-list-{self._via}", who=stranger)
        actor = Actor(person, self._via)
        try:
            answer = read()
            if answer.verb.permission not in self._permissions(person):
                await self._refuse(actor, what, "the role does not permit it")
                return "refused", self._executor.say("not-permitted")
            return "done", await self._executor.execute(answer, actor, mark)
        except (InvalidCommandError, NotFoundError) as error:
            return "invalid", str(error)

    async def _refuse(self, actor: Actor, what: str, reason: str) -> None:
        facts = {"channel": self._channel, "action": what[:300], "reason": reason}
        entry = AuditEntry(self._clock.now(), actor, "was refused an answer", facts)
        await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        log.warning("answer refused", channel=self._channel, reason=reason)
