"""Who may answer from a channel: one rule for Slack, PagerDuty, LINE and the telephone."""

from collections.abc import Callable

import structlog

from toban.access.permissions import Permission
from toban.answers.answer import Answer, Verb
from toban.answers.executor import AnswerExecutor, Mark
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.answers")


class AnswerRefusedError(Exception):
    """Whoever answers may not; ``key`` is the sentence that says so. It is in the audit log already."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class PersonAnswers:
    """
    The answers of one channel by who gives them: a person of `on_call` may do what the role of their user permits.

    Somebody unknown changes nothing, unless the channel's service has a list of people of its own.
    """

    def __init__(
        self,
        channel: str,
        via: str,
        permissions: Callable[[str], frozenset[Permission]],
        executor: AnswerExecutor,
        state: State,
        clock: Clock,
        strangers_may: frozenset[Verb] = frozenset(),
    ) -> None:
        """``via`` is how people answer: it is in the audit log; ``permissions`` returns what a person may do."""
        self._channel = channel
        self._via = via
        self._permissions = permissions
        self._executor = executor
        self._state = state
        self._clock = clock
        self._strangers_may = strangers_may

    async def permitted(
        self, person: str, stranger: str, read: Callable[[], Answer], what: str
    ) -> tuple[Answer, Actor]:
        """
        Return an answer and who gives it, if they may.

        ``person`` is empty for somebody unknown, whom ``stranger`` names in the audit log; ``read`` raises
        ``InvalidCommandError``, ``what`` is what they wanted. Raises ``AnswerRefusedError`` and ``StateError``.
        """
        actor = Actor(person or stranger, self._via)
        if not (person or self._strangers_may):
            raise await self._refused(actor, what, "not in on_call.people", f"not-on-list-{self._via}")
        answer = read()
        if person and answer.verb.permission not in self._permissions(person):
            raise await self._refused(actor, what, "the role does not permit it", "not-permitted")
        if not person and answer.verb not in self._strangers_may:
            raise await self._refused(actor, what, "not in on_call.people", "not-permitted")
        return answer, actor

    async def execute(
        self, person: str, stranger: str, read: Callable[[], Answer], what: str, mark: Mark
    ) -> tuple[str, str]:
        """
        Execute an answer; return what came of it and a sentence for whoever answered.

        The arguments are those of ``permitted``. Raises ``StateError``.
        """
        try:
            answer, actor = await self.permitted(person, stranger, read, what)
            return "done", await self._executor.execute(answer, actor, mark)
        except AnswerRefusedError as error:
            return "refused", self._executor.say(error.key, who=stranger)
        except (InvalidCommandError, NotFoundError) as error:
            return "invalid", str(error)

    async def _refused(self, actor: Actor, what: str, reason: str, key: str) -> AnswerRefusedError:
        """Write who tried what to the audit log; return the error."""
        facts = {"channel": self._channel, "action": what[:300], "reason": reason}
        entry = AuditEntry(self._clock.now(), actor, "was refused an answer", facts)
        await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        log.warning("answer refused", channel=self._channel, reason=reason)
        return AnswerRefusedError(key)
