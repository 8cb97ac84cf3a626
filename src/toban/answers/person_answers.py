"""Answers of people whom a channel knows by a number or an ID: executed, or refused and written in the audit log."""

from collections.abc import Callable

import structlog

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

    def __init__(self, channel: str, via: str, executor: AnswerExecutor, state: State, clock: Clock) -> None:
        """``via`` is how people answer: it is in the audit log."""
        self._channel = channel
        self._via = via
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
            facts = {"channel": self._channel, "action": what[:300]}
            entry = AuditEntry(self._clock.now(), Actor(stranger, self._via), "was refused an answer", facts)
            await self._state.transaction(lambda connection: audit_log.record(connection, entry))
            log.warning("answer refused", channel=self._channel, reason="not in on_call.people")
            return "refused", self._executor.say(f"not-on-list-{self._via}", who=stranger)
        try:
            return "done", await self._executor.execute(read(), Actor(person, self._via), mark)
        except (InvalidCommandError, NotFoundError) as error:
            return "invalid", str(error)
