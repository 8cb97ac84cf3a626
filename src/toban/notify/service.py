"""The notification service: reads alert changes, decides, and lets each channel send on its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.alerts import TOPIC, AlertChange
from toban.core.decision_loop import DecisionLoop
from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.item_isolation import ItemFailure, ItemIsolation
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.core.ports import Clock, HealthStatus
from toban.notify import queued_notifications, repository
from toban.notify.alert_changes import apply_changes, change_id, log_changes
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channel_worker import ChannelWorker
from toban.notify.channel_workers import ChannelWorkers
from toban.notify.group_quarantine import PART, GroupQuarantine
from toban.notify.pipeline import Decision, decide
from toban.notify.pipeline_run import PipelineRun, PipelineState, Policy
from toban.notify.report import ChannelReport, NotificationReport
from toban.notify.silences import Silence
from toban.notify.system_notices import silence_end_notices
from toban.state import audit_log, event_log, quarantine
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.notify")

CONSUMER: Final = "notify"
BATCH: Final = 2_000
"""How many events one transaction reads."""
IDLE: Final = timedelta(seconds=30)
"""How long the service waits at most before it reads the events of another copy of toban."""
STATE_RETRY: Final = timedelta(seconds=2)
"""How long it waits while state is unavailable."""
RETENTION: Final = timedelta(days=30)
"""How long stage notes and expired silences are kept."""
PRUNE_INTERVAL: Final = timedelta(hours=1)
BUSY: Final = 0.25
"""Seconds: after a decision that took longer, the next one waits as long as that took."""


@dataclass(frozen=True, slots=True)
class DecisionRound:
    """The result of one transaction."""

    decision: Decision
    changes: Sequence[AlertChange]
    events: int
    silences: Sequence[Silence]
    failures: Sequence[ItemFailure] = ()


class NotificationService:
    """
    Reads alert changes from the event log, decides, and puts messages in the outbox.

    Offset, state and messages are one transaction: a crash repeats a message under the same key at worst. While state
    is unavailable it goes on from memory, with the changes that it is given directly.
    """

    name = "notify"

    def __init__(
        self,
        policy: Policy,
        channels: Mapping[str, Channel],
        state: State,
        tools: ChannelTools,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.policy = policy
        self._state = state
        self._clock = clock
        self._workers = ChannelWorkers(state, meters)
        self._workers.set_channels(channels, policy.settings.fallback, tools)
        self._loop = DecisionLoop(self._decide, clock, busy=BUSY)
        self._current = PipelineState()
        self._saved = PipelineState()
        """The state as the database has it."""
        self._run = PipelineRun(policy, clock.now(), (), {}, {})
        """The last run of the pipeline."""
        self._silences: Sequence[Silence] = ()
        self._opened = False
        self._read_without_commit = 0
        """The position up to which events were read while the offset could not be written."""
        self._failure = FailureLog(log, "state unavailable, deciding from memory", "state available again")
        self._pruned: datetime | None = None
        self._lasting = GroupQuarantine()

    @property
    def workers(self) -> Mapping[str, ChannelWorker]:
        """The workers by the names of their channels."""
        return self._workers.by_name

    async def configure(self, policy: Policy, channels: Mapping[str, Channel], tools: ChannelTools) -> None:
        """
        Go on with another policy and other channels.

        Alerts, groups and messages stay; unchanged channels are not interrupted, and what waits for one that is gone is
        rerouted.
        """
        async with self._loop.lock:
            self.policy = policy
            if await self._workers.replace_channels(channels, policy.settings.fallback, tools):
                self._opened = False  # reroutes, as at a start
        self.wake()

    async def open(self) -> None:
        """Continue where the last process ended; a new consumer reads the event log from its start."""

        def work(connection: Connection) -> PipelineState:
            event_log.subscribe(connection, CONSUMER, from_start=True)
            self._workers.reroute_orphaned(connection, self._clock.now())
            return repository.load(connection)

        saved = await self._state.transaction(work)
        # What was decided while state was unavailable is newer.
        self._current = PipelineState(
            {**saved.alerts, **self._current.alerts}, {**saved.groups, **self._current.groups}
        )
        self._saved, self._opened = saved, True

    def wake(self) -> None:
        """Wake the service: there may be new events or silences."""
        self._loop.wake()

    async def decided(self) -> None:
        """Wake the service, and return once what was committed before this call is part of a decision, or soon."""
        await self._loop.decided()

    async def run(self) -> None:
        """Decide and send until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._workers.start(group)
            await self._loop.run()

    async def decide(self) -> datetime:
        """Read events, decide, enqueue the messages; return when to decide again at the latest."""
        return await self._loop.decide()

    async def _decide(self) -> datetime:
        now = self._clock.now()
        try:
            if not self._opened:
                await self.open()
            result = await self._state.transaction(self._decide_in_transaction)
        except StateError as error:
            self._failure.failed(str(error))
            await self._read_without_offset()
            return self._decide_from_memory(now)
        self._failure.succeeded()
        before, self._current = self._current, result.decision.after
        self._saved = result.decision.after
        self._run, self._silences = result.decision.run, result.silences
        self._state.quarantine.report(self.name, [*result.failures, *result.decision.failures])
        self._lasting.note(result.decision.failures, now)
        self._workers.clear_memory()
        self._workers.wake()
        await log_changes(before, result.changes)
        await self._prune(now)
        if result.events == BATCH:
            return now
        return min(result.decision.run_again or now + IDLE, now + IDLE)

    async def _read_without_offset(self) -> None:
        """Read events although nothing can be written, as on a full disk; they are read once more when it can."""
        if not self._opened:
            return
        try:
            events = await self._state.transaction(lambda connection: event_log.read(connection, CONSUMER, BATCH))
        except StateError as error:
            log.debug("state not readable", error=str(error))
            return
        isolation, changes = ItemIsolation(), []
        for it in events:
            if it.position > self._read_without_commit and it.topic == TOPIC:
                with isolation.item("change", str(it.position)):
                    changes.append(AlertChange.from_dict(it.body))
        before = self._current
        self._current = apply_changes(before, changes, self.policy.settings.flapping, isolation)
        self._state.quarantine.report(f"{self.name} without offset", isolation.failures)
        self._read_without_commit = max((it.position for it in events), default=self._read_without_commit)
        await log_changes(before, changes)

    def _decide_in_transaction(self, connection: Connection) -> DecisionRound:
        now = self._clock.now()
        events = event_log.read(connection, CONSUMER, BATCH)
        silences = repository.silences(connection, now)
        alert_events = [event for event in events if event.topic == TOPIC]
        changes = readable_rows(
            connection, event_log.EVENTS, alert_events, lambda event: AlertChange.from_dict(event.body)
        )
        isolation = ItemIsolation()
        state = apply_changes(self._current, changes, self.policy.settings.flapping, isolation)
        errors = {it.item: it.error for it in isolation.failures}
        for change in changes:
            if error := errors.get(name := change_id(change)):
                quarantine.keep(connection, event_log.EVENTS.name, name, change.as_dict(), error, now)
        decision = decide(self.policy, state, silences, now)
        unreadable = [it for it in decision.failures if it.part == PART and it.item in decision.unreadable]
        lasting = self._lasting.lasting(decision.failures, now)
        repository.set_aside(connection, [*unreadable, *lasting], now)
        # What could not be read may have been grouped anew under the same id.
        saved = self._saved.without_groups(it.item for it in (*unreadable, *lasting))
        decision = replace(decision, after=decision.after.without_groups(it.item for it in lasting))
        notices = self._silence_end_notices(connection, silences, decision.after, now, isolation)
        for message in [*self._workers.in_memory(), *decision.messages, *notices]:
            self._workers.enqueue(connection, message, now)
        repository.save(connection, saved, decision.after)
        new_notes = [
            (name, note)
            for name, notes in decision.run.notes.items()
            for note in notes
            if note not in self._run.notes.get(name, ())
        ]
        repository.save_notes(connection, new_notes, now)
        if events:
            event_log.commit(connection, CONSUMER, events[-1].position)
        return DecisionRound(decision, changes, len(events), silences, isolation.failures)

    def _silence_end_notices(
        self,
        connection: Connection,
        silences: Sequence[Silence],
        state: PipelineState,
        now: datetime,
        isolation: ItemIsolation,
    ) -> list[Notification]:
        notices = []
        for silence, messages in silence_end_notices(self.policy, silences, state, now, isolation):
            if silence.id in repository.unannounced_silences(connection, silence.ends):
                repository.mark_announced(connection, silence.id)
                notices += messages
        return notices

    def _decide_from_memory(self, now: datetime) -> datetime:
        decision = decide(self.policy, self._current, self._silences, now)
        # They are moved to quarantine when state is back.
        kept = {name: self._current.groups[name] for name in decision.unreadable}
        self._current = replace(decision.after, groups={**kept, **decision.after.groups})
        self._run = decision.run
        self._state.quarantine.report(self.name, decision.failures)
        for message in decision.messages:
            self._workers.send_from_memory(message)
        return min(decision.run_again or now + STATE_RETRY, now + STATE_RETRY)

    async def decide_without_state(self, changes: Sequence[AlertChange]) -> None:
        """Take changes directly while state is unavailable; they are in the event log when it is back."""
        isolation = ItemIsolation()
        before = self._current
        self._current = apply_changes(before, changes, self.policy.settings.flapping, isolation)
        self._state.quarantine.report(f"{self.name} without state", isolation.failures)
        self.wake()
        await log_changes(before, changes)

    async def _prune(self, now: datetime) -> None:
        if self._pruned is None or now - self._pruned >= PRUNE_INTERVAL:
            self._pruned = now
            try:
                await self._state.transaction(lambda connection: repository.prune(connection, now - RETENTION))
            except StateError as error:
                log.debug("not pruned", error=str(error))

    @property
    def state(self) -> PipelineState:
        """The alerts and groups that the next decision begins with."""
        return self._current

    @property
    def last_run(self) -> PipelineRun:
        """The last run of the pipeline: what is suppressed, and why."""
        return self._run

    def report(self) -> NotificationReport:
        """Return what is known of channels and of the alerts that are notified now."""
        channels = [ChannelReport.of(worker) for worker in self.workers.values()]
        return NotificationReport(channels, self.policy, self._current, self._run, self._clock.now())

    def enqueue_messages(self, connection: Connection, messages: Sequence[Notification], now: datetime) -> None:
        """Put messages that another part of toban wrote in the outbox, in its transaction."""
        for message in messages:
            self._workers.enqueue(connection, message, now)

    def withdraw_messages(self, connection: Connection, thread: str) -> int:
        """Remove the calls of a thread that are not being sent; return how many."""
        return queued_notifications.withdraw(connection, thread)

    def send_from_memory(self, messages: Sequence[Notification]) -> None:
        """Send messages while state is unavailable; they are put in the outbox when it is back."""
        for message in messages:
            self._workers.send_from_memory(message)

    def wake_channels(self) -> None:
        """Let the channels look for new messages."""
        self._workers.wake()

    async def send_notice(self, message: Notification, audit: AuditEntry) -> None:
        """Send a message that belongs to no alert, and write who asked for it. Raises ``StateError``."""

        def work(connection: Connection) -> None:
            self._workers.enqueue(connection, message, audit.at)
            audit_log.record(connection, audit)

        await self._state.transaction(work)
        self._workers.wake()

    async def was_delivered(self, alert: str, channel: str, since: datetime) -> bool:
        """Tell whether a channel accepted a message of alerts of this name since a time. Raises ``StateError``."""
        wanted = {name for name, it in self._current.alerts.items() if it.alert.name == alert}
        groups = [it.id for it in self._current.groups.values() if channel in it.channels and wanted & it.members]
        return await self._state.transaction(
            lambda connection: repository.was_delivered(connection, groups, channel, since)
        )

    def health(self) -> HealthStatus:
        """Return whether messages reach their channels."""
        problems = [*self._workers.problems(self._clock.now())]
        if error := self._failure.error:
            problems.append(f"state unavailable, messages are sent from memory: {error}")
        if problems:
            return HealthStatus(False, "; ".join(problems))
        if not self.workers:
            message = "no notification channel is configured (run `toban init`, or see channels in toban.yaml)"
            return HealthStatus(True, message, False)
        return HealthStatus(True, f"{', '.join(self.workers)} reachable")

    @property
    def is_delivering(self) -> bool:
        """Whether messages are delivered by one channel at least: the heartbeat depends on it."""
        return self._workers.is_delivering(self._clock.now())
