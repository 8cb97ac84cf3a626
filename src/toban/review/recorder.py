"""Records the history of firing alerts, from the event log."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from toban.core import acts, alerts, deploys, notification, runbook_events
from toban.core.acts import Act
from toban.core.alerts import AlertChange
from toban.core.decision_loop import DecisionLoop
from toban.core.deploys import Deploy
from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Delivery
from toban.core.ports import Clock, HealthStatus
from toban.core.runbook_events import RunbookEvent
from toban.core.samples import counter
from toban.review import repository
from toban.review.firing import AFTERWARDS, Firing, MonthSum, month_of
from toban.review.firing_changes import Event, FiringLog
from toban.state import event_log
from toban.state.database import State
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.review")

CONSUMER: Final = "review"
BATCH: Final = 1_000
"""How many events one transaction reads."""
IDLE: Final = timedelta(seconds=30)
"""How long the recorder waits at most: nobody wakes it for a delivery."""
STATE_RETRY: Final = timedelta(seconds=10)
RETENTION: Final = timedelta(days=761)
"""How long firings and their sums are kept: 25 months."""
PRUNE_INTERVAL: Final = timedelta(hours=6)

RECORDED: Final = counter(
    "toban_firings_recorded_total", "Firings of alerts whose begin or end was recorded.", labels=("change",)
)
"""``change`` is ``fired`` or ``ended``."""

PARSERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Event]]] = {
    alerts.TOPIC: AlertChange.from_dict,
    notification.DELIVERY_TOPIC: Delivery.from_dict,
    runbook_events.TOPIC: RunbookEvent.from_dict,
    deploys.TOPIC: Deploy.from_dict,
    acts.TOPIC: Act.from_dict,
}
"""The events that change firings, by their topics."""


@dataclass(frozen=True, slots=True)
class RecorderPorts:
    """What the recorder uses under one configuration: the channels that wake people, and the zone of months."""

    paging: Collection[str]
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class History:
    """Firings, newest first, and the sums by month and rule, newest month first."""

    firings: list[Firing]
    months: list[tuple[str, str, MonthSum]]


class FiringRecorder:
    """
    Keeps the history of firings; what it writes and the offset of the events are one transaction.

    Nothing is lost while state is unavailable: the events are in the log when it is back.
    """

    name = "review"

    def __init__(self, ports: RecorderPorts, state: State, clock: Clock, meters: MetricRegistry) -> None:
        self.ports = ports
        self._state = state
        self._clock = clock
        self._meters = meters
        self._loop = DecisionLoop(self._record, clock)
        self._failure = FailureLog(log, "state unavailable: firings are recorded later", "state available again")
        self._pruned: datetime | None = None
        self.changes = 0
        """How often a firing was recorded since the start."""

    def configure(self, ports: RecorderPorts) -> None:
        """Go on with another configuration."""
        self.ports = ports

    def wake(self) -> None:
        """Wake the recorder: there may be new events."""
        self._loop.wake()

    async def run(self) -> None:
        """Record until cancelled."""
        await self._loop.run()

    async def record(self) -> datetime:
        """Record what has happened; return when to look again at the latest."""
        return await self._loop.decide()

    async def history(self, begins: datetime, ends: datetime, rule: str = "", limit: int = 500) -> History:
        """Return what fired between two times, of one rule if one is named. Raises ``StateError``."""

        def work(connection: Connection) -> History:
            found = repository.between(connection, begins, ends, rule, limit)
            months = repository.months(connection, month_of(begins, self.ports.zone), rule)
            return History(found, months)

        return await self._state.transaction(work)

    async def _record(self) -> datetime:
        now = self._clock.now()
        try:
            many, changed = await self._state.transaction(self._record_in_transaction)
            await self._prune(now)
        except StateError as error:
            self._failure.failed(str(error))
            return now + STATE_RETRY
        self._failure.succeeded()
        for before, after in changed:
            if before is None:
                self._meters.add(RECORDED, change="fired")
            if after.ended and (before is None or before.ended is None):
                self._meters.add(RECORDED, change="ended")
        self.changes += len(changed)
        return now if many == BATCH else now + IDLE

    def _record_in_transaction(self, connection: Connection) -> tuple[int, list[tuple[Firing | None, Firing]]]:
        event_log.subscribe(connection, CONSUMER)
        events = event_log.read(connection, CONSUMER, BATCH)
        if not events:
            return 0, []
        known = [it for it in events if it.topic in PARSERS]
        since = min(it.at for it in events) - AFTERWARDS
        firings = FiringLog(repository.changing(connection, since), self.ports.paging, self.ports.zone)
        for event in readable_rows(connection, event_log.EVENTS, known, lambda it: PARSERS[it.topic](it.body)):
            firings.apply(event)
        changed = list(firings.changed())
        repository.save(connection, changed)
        event_log.commit(connection, CONSUMER, events[-1].position)
        return len(events), changed

    async def _prune(self, now: datetime) -> None:
        if self._pruned is None or now - self._pruned >= PRUNE_INTERVAL:
            before = now - RETENTION
            month = month_of(before, self.ports.zone)
            await self._state.transaction(lambda connection: repository.prune(connection, before, month))
            self._pruned = now

    def health(self) -> HealthStatus:
        """Return whether firings are recorded."""
        if error := self._failure.error:
            return HealthStatus(False, f"firings are recorded later: {error}")
        return HealthStatus(True, "firings are recorded")
