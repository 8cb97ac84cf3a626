"""The incident service: reads changes of alerts and deliveries, decides, and lets the messages be sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from toban.core.actor import TOBAN, Actor
from toban.core.alerts import TOPIC, AlertChange
from toban.core.decision_loop import DecisionLoop
from toban.core.deploys import TOPIC as DEPLOY_TOPIC
from toban.core.deploys import Deploy
from toban.core.errors import NotFoundError, StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import DELIVERY_TOPIC, Delivery
from toban.core.ports import Clock, HealthStatus
from toban.core.runbook_events import TOPIC as RUNBOOK_TOPIC
from toban.core.runbook_events import RunbookEvent
from toban.core.samples import counter, gauge
from toban.incidents import repository
from toban.incidents.book import MAX_OPEN, Advance, IncidentBook, Suppression, advance
from toban.incidents.incident import Incident, IncidentState
from toban.incidents.lifecycle import Change
from toban.incidents.policy import IncidentPolicy
from toban.incidents.reactions import delivery_entries, deploy_entries, runbook_change
from toban.state import event_log
from toban.state.database import State
from toban.state.event_log import LoggedEvent
from toban.state.message_queue import MessageQueue
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.incidents")
T = TypeVar("T")

CONSUMER: Final = "incidents"
BATCH: Final = 2_000
"""How many events one transaction reads."""
IDLE: Final = timedelta(seconds=30)
"""How long the service waits at most: a silence may have ended, or another copy of toban have changed something."""
STATE_RETRY: Final = timedelta(seconds=2)
RETENTION: Final = timedelta(days=761)
"""How long resolved incidents are kept: 25 months."""
PRUNE_INTERVAL: Final = timedelta(hours=6)

OPEN: Final = gauge("toban_incidents", "Open incidents, by priority and state.", labels=("priority", "state"))
PAGES: Final = counter(
    "toban_incident_messages_total", "Messages about incidents that were put in the outbox.", labels=("kind",)
)


class Acknowledger(Protocol):
    """Acknowledges alerts."""

    async def acknowledge(self, alert: str, actor: Actor, by: str = "", comment: str = "") -> int:
        """Acknowledge the firing alerts of a name or fingerprint. Raises ``NotFoundError``."""
        ...

    async def unacknowledge(self, alert: str, actor: Actor) -> int:
        """Take the acknowledgement back. Raises ``NotFoundError``."""
        ...


@dataclass(frozen=True, slots=True)
class IncidentPorts:
    """What the incidents of one configuration use."""

    policy: IncidentPolicy
    suppression: Callable[[], Suppression]
    acknowledger: Acknowledger


class IncidentService:
    """
    Keeps incidents: each decision, its timeline and its messages are one transaction with the offset of the events.

    While state is unavailable it goes on from memory, with the changes that it is given directly.
    """

    name = "incidents"

    def __init__(self, ports: IncidentPorts, queue: MessageQueue, state: State, clock: Clock, meters: MetricRegistry):
        self._ports = ports
        self._queue = queue
        self._state = state
        self._clock = clock
        self._meters = meters
        self._loop = DecisionLoop(self._decide, clock)
        self._book = IncidentBook()
        self._opened = False
        self._direct: list[AlertChange] = []
        """Changes that came while state was unavailable."""
        self._unsaved = False
        """Whether the book in memory is newer than that of state."""
        self._is_stale = True
        """Whether state may be newer than the book in memory."""
        self._failure = FailureLog(log, "state unavailable, incidents go on from memory", "state available again")
        self._pruned: datetime | None = None
        self.decided_at: datetime | None = None
        """When it decided last."""

    @property
    def policy(self) -> IncidentPolicy:
        """The policy of now."""
        return self._ports.policy

    @property
    def book(self) -> IncidentBook:
        """The incidents that are open, or were resolved lately."""
        return self._book

    async def configure(self, ports: IncidentPorts) -> None:
        """Go on with another configuration; incidents stay."""
        async with self._loop.lock:
            self._ports = ports
        self.wake()

    def wake(self) -> None:
        """Wake the service: there may be new events."""
        self._loop.wake()

    async def decided(self) -> None:
        """Wake the service, and return once what was committed before this call is part of a decision, or soon."""
        await self._loop.decided()

    async def change_without_state(self, changes: Sequence[AlertChange]) -> None:
        """Take changes directly while state is unavailable; they are in the event log when it is back."""
        self._direct += changes
        self.wake()

    async def run(self) -> None:
        """Decide until cancelled."""
        await self._loop.run()

    async def decide(self) -> datetime:
        """Read events, decide, enqueue the messages; return when to decide again at the latest."""
        return await self._loop.decide()

    async def _decide(self) -> datetime:
        now = self._clock.now()
        try:
            result, events = await self._state.transaction(self._decide_in_transaction)
        except StateError as error:
            self._failure.failed(str(error))
            return self._decide_from_memory(now)
        self._failure.succeeded()
        self._opened, self._unsaved = True, False
        self._direct.clear()
        self._note(result, now)
        self._queue.wake_channels()
        await self._bring_in_step()
        await self._prune(now)
        return now if events == BATCH else min(result.run_again or now + IDLE, now + IDLE)

    def _decide_in_transaction(self, connection: Connection) -> tuple[Advance, int]:
        now, policy = self._clock.now(), self._ports.policy
        event_log.subscribe(connection, CONSUMER)
        events = event_log.read(connection, CONSUMER, BATCH)
        saved = book = self._load(connection, now - policy.settings.reopen_within)
        if self._unsaved:
            # What was decided while state was unavailable is newer.
            merged = {**saved.incidents, **self._book.incidents}
            book = IncidentBook(merged, self._book.waiting, max(saved.next_id, self._book.next_id))
        changes = _parsed(connection, events, TOPIC, AlertChange.from_dict)
        runs = _parsed(connection, events, RUNBOOK_TOPIC, RunbookEvent.from_dict)
        result = advance(policy, book, changes, self._ports.suppression(), now)
        result = self._with_runs(result, [*_earlier_runs(connection, book, result.book), *runs], now)
        entries = [
            *delivery_entries(result.book, _parsed(connection, events, DELIVERY_TOPIC, Delivery.from_dict)),
            *deploy_entries(result.book, _parsed(connection, events, DEPLOY_TOPIC, Deploy.from_dict)),
            *result.entries,
        ]
        for number in result.withdrawn:
            self._queue.withdraw_messages(connection, result.book.incidents[number].thread)
        self._queue.enqueue_messages(connection, result.messages, now)
        repository.save(connection, saved, result.book)
        repository.add_entries(connection, entries)
        if events:
            event_log.commit(connection, CONSUMER, events[-1].position)
        return result, len(events)

    def _load(self, connection: Connection, resolved_since: datetime) -> IncidentBook:
        """Return the book of state: from memory, unless a command or another copy of toban may have changed it."""
        if self._is_stale or self._unsaved or not self._state.is_exclusive:
            self._is_stale = False
            return repository.load(connection, resolved_since)
        kept = {number: it for number, it in self._book.incidents.items() if _matters(it, resolved_since)}
        return replace(self._book, incidents=kept)

    def invalidate(self) -> None:
        """Say that incidents were changed in state: called in the transaction that changes them."""
        self._is_stale = True

    def _with_runs(self, result: Advance, events: Sequence[RunbookEvent], now: datetime) -> Advance:
        """Return it with what runbooks did for the alerts of its incidents."""
        for event in events:
            incident = next((it for it in result.book.incidents.values() if event.alert in it.alerts), None)
            if incident:
                change = runbook_change(self._ports.policy, incident, event, now)
                result = replace(
                    result,
                    book=replace(result.book, incidents={**result.book.incidents, incident.id: change.incident}),
                    entries=(*result.entries, *change.entries),
                    messages=(*result.messages, *change.messages),
                )
        return result

    def _decide_from_memory(self, now: datetime) -> datetime:
        changes, self._direct = self._direct, []
        result = advance(self._ports.policy, self._book, changes, self._ports.suppression(), now)
        if result.book != self._book:
            self._unsaved = True
        self._note(result, now)
        self._queue.send_from_memory(result.messages)
        return min(result.run_again or now + STATE_RETRY, now + STATE_RETRY)

    def _note(self, result: Advance, now: datetime) -> None:
        before, self._book = self._book, result.book
        self.decided_at = now
        self._state.quarantine.report(self.name, result.failures)
        for message in result.messages:
            self._meters.add(PAGES, kind=message.kind.value)
        for number, incident in result.book.incidents.items():
            known = before.incidents.get(number)
            # Those that the last run of toban knew were logged by it.
            is_news = known.state is not incident.state if known else incident.updated >= now
            if is_news:
                event = f"incident {incident.state.value}"
                log.info(
                    event,
                    incident=number,
                    priority=incident.priority,
                    component=incident.component,
                    alerts=len(incident.alerts),
                )
        self._show()

    def _show(self) -> None:
        for priority in ("P1", "P2", "P3", "P4"):
            for state in (IncidentState.TRIGGERED, IncidentState.ACKNOWLEDGED):
                many = sum(it.priority == priority and it.state is state for it in self._book.open)
                self._meters.set(OPEN, many, priority=priority, state=state.value)

    async def _bring_in_step(self) -> None:
        """Acknowledge the alerts of acknowledged incidents, and take that back with the incident's."""
        for incident in [it for it in self._book.open if it.is_out_of_step]:
            answer = incident.answer
            for alert in incident.firing:
                try:
                    if answer and alert.acknowledged is None:
                        await self._ports.acknowledger.acknowledge(
                            alert.fingerprint, TOBAN, self.policy.name_of(answer.by), answer.comment
                        )
                    elif answer is None and alert.acknowledged:
                        await self._ports.acknowledger.unacknowledge(alert.fingerprint, TOBAN)
                except NotFoundError:
                    continue  # it does not fire any more
            try:
                await self._state.transaction(lambda connection, it=incident: self._in_step(connection, it))  # type: ignore[misc]  # bound at once
            except StateError:
                return

    async def _prune(self, now: datetime) -> None:
        if self._pruned is None or now - self._pruned >= PRUNE_INTERVAL:
            self._pruned = now
            try:
                await self._state.transaction(lambda connection: repository.prune(connection, now - RETENTION))
            except StateError as error:
                log.debug("not pruned", error=str(error))

    def _in_step(self, connection: Connection, incident: Incident) -> None:
        current = repository.incident(connection, incident.id)
        if current and current.answer == incident.answer:
            repository.save_incident(connection, replace(current, is_out_of_step=False))
            self.invalidate()

    def apply(self, connection: Connection, change: Change) -> None:
        """Write the change that a command made, with its timeline and messages, in the command's transaction."""
        if change.withdraws:
            self._queue.withdraw_messages(connection, change.incident.thread)
        self._queue.enqueue_messages(connection, change.messages, change.now)
        repository.save_incident(connection, change.incident)
        repository.add_entries(connection, change.entries)
        self.invalidate()

    def health(self) -> HealthStatus:
        """Return whether people are called as they should."""
        if error := self._failure.error:
            return HealthStatus(False, f"state unavailable, people are called from memory: {error}")
        if len(self._book.open) >= MAX_OPEN:
            return HealthStatus(False, f"{MAX_OPEN} incidents are open: more alerts open none; resolve some")
        if not self.policy.settings.enabled:
            return HealthStatus(True, "alerts open no incidents (incidents.enabled)", False)
        many = len(self._book.open)
        return HealthStatus(True, f"{many} open" if many else "no open incident")


def _earlier_runs(connection: Connection, before: IncidentBook, after: IncidentBook) -> list[RunbookEvent]:
    """Return what runbooks did for alerts while these had no incident: it belongs to the one that they have now."""
    joined = {name: alert for name, alert in before.waiting.items() if after.of_alert(name)}
    if not joined:
        return []
    since = min(alert.fired or alert.starts for alert in joined.values())
    found = event_log.read_again(connection, CONSUMER, RUNBOOK_TOPIC, since)
    return [it for it in _parsed(connection, found, RUNBOOK_TOPIC, RunbookEvent.from_dict) if it.alert in joined]


def _matters(incident: Incident, resolved_since: datetime) -> bool:
    return incident.is_open or (incident.resolved is not None and incident.resolved >= resolved_since)


def _parsed(
    connection: Connection, events: Sequence[LoggedEvent], topic: str, parse: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    """Return the events of a topic; one that can't be read is set aside."""
    found = [event for event in events if event.topic == topic]
    return readable_rows(connection, event_log.EVENTS, found, lambda event: parse(event.body))
