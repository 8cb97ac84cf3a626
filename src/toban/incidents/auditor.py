"""The auditor: proves each minute that every open incident has had its steps. The heartbeat depends on it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.incidents import repository
from toban.incidents.incident import Incident, IncidentState
from toban.incidents.policy import IncidentPolicy
from toban.incidents.service import IncidentService
from toban.incidents.stages.hand_over import unnoticed_shift
from toban.incidents.stages.warn import overdue_marks
from toban.state.database import State

log = structlog.get_logger("toban.incidents")

INTERVAL: Final = timedelta(minutes=1)
GRACE: Final = timedelta(minutes=5)
"""How late a step may be."""
STALE: Final = timedelta(minutes=3)
"""After so long without an audit nothing is proved any more."""

PROBLEMS: Final = gauge("toban_incident_audit_problems", "Steps of open incidents that are overdue.")


class IncidentAuditor:
    """Compares the open incidents in state with what must have happened to them; a service of its own."""

    name = "incident auditor"

    def __init__(self, service: IncidentService, state: State, clock: Clock, meters: MetricRegistry) -> None:
        self._service = service
        self._state = state
        self._clock = clock
        self._meters = meters
        self._started = clock.now()
        self._passed: datetime | None = None
        self._failure = FailureLog(log, "incidents not escalated in time", "incidents escalated in time again")

    async def run(self) -> None:
        """Audit until cancelled."""
        await run_periodically(self.name, INTERVAL, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Audit once; what is overdue is reported, and the service is woken to make up for it."""
        now = self._clock.now()

        def work(connection: Connection) -> list[Incident]:
            return repository.load(connection, now).open

        try:
            found = await self._state.transaction(work)
        except StateError:
            found = self._service.book.open  # it goes on from memory
        problems = [*self._late(now)]
        for incident in found:
            problems += [f"incident {incident.id}: {it}" for it in overdue(self._service.policy, incident, now)]
        self._meters.set(PROBLEMS, len(problems))
        if problems:
            self._failure.failed("; ".join(problems[:5]))
            self._service.wake()
        else:
            self._failure.succeeded()
            self._passed = now

    def _late(self, now: datetime) -> Iterator[str]:
        decided = self._service.decided_at or self._started
        if now - decided > GRACE:
            yield f"nothing was decided since {decided:%H:%M:%S} UTC"

    @property
    def problem(self) -> str:
        """What keeps incidents from being escalated; empty while a recent audit found nothing."""
        if self._failure.error:
            return self._failure.error
        passed = self._passed or self._started
        return "" if self._clock.now() - passed <= STALE else f"no audit since {passed:%H:%M:%S} UTC"

    def health(self) -> HealthStatus:
        """Return whether every open incident has had its steps."""
        return HealthStatus(not self.problem, self.problem or "every open incident has had its steps")


def overdue(policy: IncidentPolicy, incident: Incident, now: datetime) -> Iterator[str]:
    """Yield the steps that an open incident should have had."""
    late = now - GRACE
    if incident.is_settling:
        ended = max((alert.ends for alert in incident.alerts.values() if alert.ends), default=incident.updated)
        if ended + policy.settings.resolve_after < late:
            yield "its alerts are resolved, and it is not"
        return
    at, answer = incident.escalation, incident.answer
    if incident.state is IncidentState.TRIGGERED and policy.settings.steps_of(incident.priority):
        if at is None:
            yield "nobody has answered, and no step of its escalation is due"
        elif at.due < late and at.held != "suppressed":
            yield f"step {at.step + 1} of its escalation was due at {at.due:%H:%M:%S} UTC"
    if incident.state is IncidentState.ACKNOWLEDGED:
        if answer is None:
            yield "it is acknowledged by nobody"
        elif (answer.asked + policy.settings.answer_within if answer.asked else answer.until) < late:
            missing = "called again" if answer.asked or answer.is_snooze else "asked"
            yield f"its acknowledgement ended at {answer.until:%H:%M:%S} UTC and nobody was {missing}"
    for mark in overdue_marks(policy, incident, late):
        yield f"nobody was warned of the deadline: {mark} %"
    # A declared incident learns who is on call with its first decision.
    if incident.opened < late and (new := unnoticed_shift(policy, incident, late, now)):
        yield f"its shift has changed and nobody was told: {', '.join(map(policy.name_of, new))} on call"
