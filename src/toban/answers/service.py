"""The service of answers: writes what is received, then executes it, each once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Connection

from toban.answers import repository
from toban.answers.executor import Mark
from toban.answers.repository import ReceivedAnswer
from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import counter
from toban.core.wakeup import Wakeup
from toban.state.database import State

log = structlog.get_logger("toban.answers")

BATCH: Final = 50
IDLE: Final = timedelta(minutes=5)
"""How long the service waits at most: what waits was received by this process, or before it started."""
STATE_RETRY: Final = timedelta(seconds=2)
MAX_ATTEMPTS: Final = 3
"""How often an answer is begun that toban did not survive."""
KEPT: Final = timedelta(days=30)
"""How long executed answers are kept: PagerDuty repeats an event for two days."""

ANSWERS: Final = counter(
    "toban_answers_total", "Answers to incidents by channel, and what came of them.", labels=("source", "outcome")
)


class AnswerSource(Protocol):
    """A channel that people answer from."""

    kind: str

    async def execute(self, body: Mapping[str, Any], received: datetime, mark: Mark) -> str:
        """
        Execute what was received, and tell whoever sent it; return what came of it, like ``done`` or ``refused``.

        ``mark`` is written in the transaction that changes an incident.
        Raises ``StateError``: then it is tried again.
        """
        ...


class AnswerService:
    """
    Executes answers in the order in which they were received.

    They are written before Slack or PagerDuty gets its response: neither sends a click again. The mark that an
    answer is executed is written with the change that it makes: after a crash nothing is done twice.
    """

    name = "answers"

    def __init__(self, sources: Mapping[str, AnswerSource], state: State, clock: Clock, meters: MetricRegistry) -> None:
        """``sources`` are by the names of their channels."""
        self._sources = sources
        self._state = state
        self._clock = clock
        self._meters = meters
        self._wakeup = Wakeup(clock)
        self._begun: set[int] = set()
        """What this process has begun: a retry while state is unavailable is no further attempt."""
        self._failure = FailureLog(log, "state unavailable, answers wait", "state available again")

    async def receive(self, source: str, key: str, body: Mapping[str, Any]) -> bool:
        """Write what a channel received; tell whether it is new. Raises ``StateError``."""
        now = self._clock.now()
        is_new = await self._state.transaction(lambda connection: repository.add(connection, key, source, body, now))
        self._wakeup.set()
        return is_new

    async def run(self) -> None:
        """Execute answers until cancelled."""
        while True:
            again = await self.execute_waiting()
            await self._wakeup.wait(again.total_seconds())

    async def execute_waiting(self) -> timedelta:
        """Execute what waits; return after which time to look again at the latest."""
        try:
            found = await self._state.transaction(lambda connection: repository.waiting(connection, BATCH))
            for answer in found:
                await self._execute(answer)
            now = self._clock.now()
            await self._state.transaction(lambda connection: repository.prune(connection, now - KEPT))
        except StateError as error:
            self._failure.failed(str(error))
            return STATE_RETRY
        self._failure.succeeded()
        return timedelta() if len(found) == BATCH else IDLE

    async def _execute(self, answer: ReceivedAnswer) -> None:
        def finish(connection: Connection) -> None:
            repository.finish(connection, answer.id, self._clock.now())

        source = self._sources.get(answer.source)
        attempts = answer.attempts + (answer.id not in self._begun)
        if source is None or attempts > MAX_ATTEMPTS:
            reason = "its channel takes no answers any more" if source is None else "toban ended while it was executed"
            log.error("answer dropped", channel=answer.source, received=answer.at.isoformat(), reason=reason)
            outcome = "dropped"
        else:
            await self._state.transaction(lambda connection: repository.count_attempt(connection, answer.id, attempts))
            self._begun.add(answer.id)
            outcome = await source.execute(answer.body, answer.at, finish)

        await self._state.transaction(finish)
        self._begun.discard(answer.id)
        self._meters.add(ANSWERS, source=source.kind if source else "removed", outcome=outcome)

    def health(self) -> HealthStatus:
        """Return whether answers are executed."""
        if error := self._failure.error:
            return HealthStatus(False, f"state unavailable, answers wait: {error}")
        if not self._sources:
            return HealthStatus(True, "no channel takes answers", False)
        return HealthStatus(True, f"answers are taken from {', '.join(self._sources)}")
