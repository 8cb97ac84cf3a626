"""Hears of alerts, decides who is told, and sends."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.alerts import TOPIC, Alert, AlertChange, priority
from toban.core.errors import StateError
from toban.core.item_isolation import ItemFailure, ItemIsolation
from toban.core.lifecycle import SERVICE_STOP_SECONDS
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus
from toban.notify import repository
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channel_worker import ChannelWorker
from toban.notify.flap_detection import track_change
from toban.notify.lasting_failures import PART, LastingFailures
from toban.notify.muting import Silence
from toban.notify.notification import Notification
from toban.notify.pipeline import Decision, PipelineState, Policy, StageNote, decide, suppressed
from toban.notify.queued_notifications import queue_of, reroute
from toban.notify.system_notices import silence_ends
from toban.notify.wakeup import Wakeup
from toban.state import event_log, outbox, quarantine
from toban.state.database import State
from toban.state.quarantine import readable_rows

log = structlog.get_logger("toban.notify")

READER: Final = "notify"
AT_ONCE: Final = 2_000
"""How many changes are taken in by one transaction."""
REST: Final = timedelta(seconds=30)
"""How long is rested at most before looking for what another copy has told."""
AWAY: Final = timedelta(seconds=2)
"""How long is rested while state is away."""
FAR: Final = timedelta(days=3650)
"""Beyond any time at which a parcel may be due."""
KEPT: Final = timedelta(days=30)
"""How long notes and ended silences are kept."""
PRUNE_EVERY: Final = timedelta(hours=1)
STUCK: Final = timedelta(minutes=2)
"""How long a message may wait before notify is not well."""


@dataclass(frozen=True, slots=True)
class DecisionRound:
    """What one transaction brought."""

    decision: Decision
    told: Sequence[AlertChange]
    changes: int
    silences: Sequence[Silence]
    failures: Sequence[ItemFailure] = ()


class NotificationService:
    """
    Reads what alerting tells, decides, and lets each channel send on its own.

    Cursor, picture and messages are one transaction: a crash repeats a message under the same key at worst. While
    state is away it goes on from memory, with what it is told directly.
    """

    name = "notify"

    def __init__(
        self,
        house: Policy,
        channels: Mapping[str, Channel],
        state: State,
        tools: ChannelTools,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self.policy = house
        self.workers: dict[str, ChannelWorker] = {}
        self._state = state
        self._clock = clock
        self._meters = meters
        self._one = asyncio.Lock()
        """Held while it is decided, and while it is configured anew."""
        self._group: asyncio.TaskGroup | None = None
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._left: list[Notification] = []
        """What was given directly to channels that are no longer there."""
        self._set_lanes(channels, tools)
        self._bell = Wakeup(clock)
        self._picture = PipelineState()
        self._stored = PipelineState()
        self._silences: Sequence[Silence] = ()
        self._notes: dict[str, Sequence[StageNote]] = {}
        self._opened = False
        self._overheard = 0
        self._trouble = ""
        self._pruned: datetime | None = None
        self._lasting = LastingFailures()

    def _set_lanes(self, channels: Mapping[str, Channel], tools: ChannelTools) -> None:
        """Make a lane for each channel; one whose channel is as it was goes on."""
        chosen, before = self.policy.settings.fallback, self.workers
        self.workers = {}
        for name, channel in channels.items():
            fallback, lane = fallback_of(name, channels, chosen), before.get(name)
            if lane and lane.channel == channel:
                lane.configure(fallback, tools)
            else:
                lane = ChannelWorker(channel, fallback, self._state, tools, self._meters, self._wake, lane)
            self.workers[name] = lane

    async def configure(self, house: Policy, channels: Mapping[str, Channel], tools: ChannelTools) -> None:
        """
        Go on with other routes and channels. Alerts, threads and messages stay; channels that are as they were are
        not even interrupted, and what waits for one that is gone is sent elsewhere.
        """
        async with self._one:
            ended = [name for name, lane in self.workers.items() if channels.get(name) != lane.channel]
            tasks = [self._sending.pop(name) for name in ended if name in self._sending]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=SERVICE_STOP_SECONDS)
            self._left += [it for name in ended if name not in channels for it in self.workers[name].direct]
            self.policy = house
            self._set_lanes(channels, tools)
            # What waits in state for a channel that is gone is taken over as at a start.
            self._opened = self._opened and all(name in channels for name in ended)
            for name in self.workers:
                self._start(name)
        self.wake()

    def _start(self, name: str) -> None:
        if self._group and name not in self._sending:
            self._sending[name] = self._group.create_task(self.workers[name].run(), name=f"channel {name}")

    async def open(self) -> None:
        """Take up where the last run ended; the feed is read from its start by a reader that is new."""

        def work(connection: Connection) -> PipelineState:
            event_log.subscribe(connection, READER, from_start=True)
            for lane in _lanes_of_nobody(connection, self.workers):
                self._take_over(connection, lane)
            return repository.load(connection)

        stored = await self._state.transaction(work)
        # What was heard while state was away stands above what it holds.
        self._picture = PipelineState(
            {**stored.alerts, **self._picture.alerts}, {**stored.groups, **self._picture.groups}
        )
        self._stored, self._opened = stored, True

    def _take_over(self, connection: Connection, lane: str) -> None:
        """Send elsewhere what waits for a channel that is no longer there."""
        channel, now = lane.removeprefix("channel:"), self._clock.now()
        to = self.policy.settings.fallback or next(iter(self.workers), "")
        # What stands behind another on its line can be claimed when that is gone.
        while parcels := outbox.claim(connection, lane, now + FAR, timedelta(), AT_ONCE):
            for parcel in parcels:
                try:
                    if to:
                        reroute(connection, parcel, channel, to, "this channel was removed from the configuration", now)
                except outbox.UnreadableMessageError as error:
                    outbox.quarantine_message(connection, parcel, error, now)
                else:
                    outbox.drop(connection, parcel, "channel removed")

    def wake(self) -> None:
        """Say that alerting told something."""
        self._bell.set()

    def _wake(self, lane: str) -> None:
        self.workers[lane].wake()

    def _ring(self) -> None:
        for lane in self.workers.values():
            lane.wake()

    async def run(self) -> None:
        """Decide and send until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for name in self.workers:
                self._start(name)
            while True:
                again = await self.decide()
                await self._bell.wait(max(0.0, (again - self._clock.now()).total_seconds()))

    async def decide(self) -> datetime:
        """Take in what there is, decide, hand over the messages; return when to decide again at the latest."""
        async with self._one:
            return await self._decide()

    async def _decide(self) -> datetime:
        now = self._clock.now()
        try:
            if not self._opened:
                await self.open()
            taken = await self._state.transaction(self._work)
        except StateError as error:
            if not self._trouble:
                log.warning("going on from memory", error=str(error))
            self._trouble = str(error)
            await self._overhear()
            return self._decide_from_memory(now)
        self._trouble = ""
        log_changes(self._picture, taken.told)
        self._picture = self._stored = taken.decision.after
        self._silences, self._notes = taken.silences, dict(taken.decision.notes)
        self._state.quarantine.report(self.name, [*taken.failures, *taken.decision.failures])
        self._lasting.note(taken.decision.failures, now)
        for lane in self.workers.values():
            lane.direct.clear()
        self._left.clear()
        self._ring()
        await self._prune(now)
        if taken.changes == AT_ONCE:
            return now
        return min(taken.decision.again or now + REST, now + REST)

    async def _overhear(self) -> None:
        """Hear what the feed has to tell although nothing can be written, as on a full disk; it tells that again."""
        if not self._opened:
            return
        try:
            changes = await self._state.transaction(lambda connection: event_log.read(connection, READER, AT_ONCE))
        except StateError as error:
            log.debug("state can't be read either", error=str(error))
            return
        isolation, told = ItemIsolation(), []
        for it in changes:
            if it.position > self._overheard and it.topic == TOPIC:
                with isolation.item("change", str(it.position)):
                    told.append(AlertChange.from_dict(it.body))
        log_changes(self._picture, told)
        self._picture = apply_changes(self._picture, told, self.policy, isolation)
        self._state.quarantine.report(f"{self.name} overheard", isolation.failures)
        self._overheard = max((it.position for it in changes), default=self._overheard)

    def _work(self, connection: Connection) -> DecisionRound:
        now = self._clock.now()
        changes = event_log.read(connection, READER, AT_ONCE)
        silences = repository.silences(connection, now)
        alerts = [change for change in changes if change.topic == TOPIC]
        told = readable_rows(connection, event_log.EVENTS, alerts, lambda change: AlertChange.from_dict(change.body))
        isolation = ItemIsolation()
        picture = apply_changes(self._picture, told, self.policy, isolation)
        errors = {it.item: it.error for it in isolation.failures}
        for change in told:
            if error := errors.get(name := _name(change)):
                quarantine.keep(connection, event_log.EVENTS.name, name, change.as_dict(), error, now)
        decision = decide(self.policy, picture, silences, now)
        unreadable = [it for it in decision.failures if it.part == PART and it.item in decision.unreadable]
        lasting = self._lasting.lasting(decision.failures, now)
        repository.set_aside(connection, [*unreadable, *lasting], now)
        # What could not be read may have begun anew under the same name.
        stored = self._stored.without(it.item for it in (*unreadable, *lasting))
        decision = replace(decision, after=decision.after.without(it.item for it in lasting))
        unsent = [*self._left, *(message for lane in self.workers.values() for message in lane.direct)]
        notices = self._notices(connection, silences, decision.after, now, isolation)
        for message in [*unsent, *decision.messages, *notices]:
            self._put(connection, message, now)
        repository.save(connection, stored, decision.after)
        news = [
            (name, note)
            for name, notes in decision.notes.items()
            for note in notes
            if note not in self._notes.get(name, ())
        ]
        repository.save_notes(connection, news, now)
        if changes:
            event_log.commit(connection, READER, changes[-1].position)
        return DecisionRound(decision, told, len(changes), silences, isolation.failures)

    def _put(self, connection: Connection, message: Notification, now: datetime) -> None:
        channel = message.receiver
        if channel not in self.workers:
            # Its thread began when there was such a channel; the end of it must arrive somewhere.
            channel = self.policy.settings.fallback or next(iter(self.workers), "")
        if channel:
            outbox.enqueue(connection, queue_of(channel), message.key, message.as_dict(), now, message.thread)

    def _notices(
        self,
        connection: Connection,
        silences: Sequence[Silence],
        picture: PipelineState,
        now: datetime,
        isolation: ItemIsolation,
    ) -> list[Notification]:
        notices = []
        for silence, messages in silence_ends(self.policy, silences, picture, now, isolation):
            if silence.id in repository.unannounced_silences(connection, silence.ends):
                repository.mark_announced(connection, silence.id)
                notices += messages
        return notices

    def _decide_from_memory(self, now: datetime) -> datetime:
        decision = decide(self.policy, self._picture, self._silences, now)
        # Set aside they are when state is back.
        kept = {name: self._picture.groups[name] for name in decision.unreadable}
        self._picture = replace(decision.after, groups={**kept, **decision.after.groups})
        self._state.quarantine.report(self.name, decision.failures)
        for message in decision.messages:
            if message.receiver in self.workers:
                self.workers[message.receiver].send_from_memory(message)
        return min(decision.again or now + AWAY, now + AWAY)

    async def decide_without_state(self, changes: Sequence[AlertChange]) -> None:
        """Hear of changes directly, while state is away; the feed tells them again when it is back."""
        isolation = ItemIsolation()
        log_changes(self._picture, changes)
        self._picture = apply_changes(self._picture, changes, self.policy, isolation)
        self._state.quarantine.report(f"{self.name} urgent", isolation.failures)
        self.wake()

    async def _prune(self, now: datetime) -> None:
        if self._pruned is None or now - self._pruned >= PRUNE_EVERY:
            self._pruned = now
            try:
                await self._state.transaction(lambda connection: repository.prune(connection, now - KEPT))
            except StateError as error:
                log.debug("not pruned", error=str(error))

    @property
    def state(self) -> PipelineState:
        """What is decided from."""
        return self._picture

    def suppressed(self) -> dict[str, list[str]]:
        """Return why nobody is notified of alerts that fire, by fingerprint."""
        return suppressed(self.policy, self._picture, self._silences, self._clock.now())

    async def send_notice(self, message: Notification) -> str:
        """Send a word that belongs to no alert; return its key. Raises ``StateError``."""
        now = self._clock.now()
        await self._state.transaction(lambda connection: self._put(connection, message, now))
        self._ring()
        return message.key

    async def was_delivered(self, alert: str, channel: str, since: datetime) -> bool:
        """Tell whether a channel took a message of alerts of this name since a time. Raises ``StateError``."""
        wanted = {name for name, it in self._picture.alerts.items() if it.alert.name == alert}
        threads = [it.id for it in self._picture.groups.values() if channel in it.channels and wanted & it.members]
        return await self._state.transaction(
            lambda connection: repository.was_delivered(connection, threads, channel, since)
        )

    def health(self) -> HealthStatus:
        """Say whether messages reach their channels."""
        now = self._clock.now()
        said = [
            f"{lane.name}: {'refused' if lane.failure.permanent else 'fails'}: {lane.failure.message}"
            for lane in self.workers.values()
            if lane.failure and (lane.failure.permanent or now - lane.failure.since >= STUCK)
        ]
        said += [
            f"{lane.name}: {it.name} is refused: {it.message}"
            for lane in self.workers.values()
            for it in lane.refused.values()
            if it.permanent or now - it.since >= STUCK
        ]
        if self._trouble:
            said.append(f"messages are sent from memory: {self._trouble}")
        if said:
            return HealthStatus(False, "; ".join(said))
        if not self.workers:
            return HealthStatus(True, "no channel is configured: nobody is notified (`toban init`, or channels)", False)
        return HealthStatus(True, f"{', '.join(self.workers)} reached")

    @property
    def is_delivering(self) -> bool:
        """Whether messages leave, by one channel at least: what the heartbeat asks."""
        now = self._clock.now()
        stuck = [
            lane.failure is not None
            or (lane.waiting.since is not None and now - lane.waiting.since > STUCK and lane.waiting.size > 0)
            for lane in self.workers.values()
        ]
        return not stuck or not all(stuck)


def log_changes(picture: PipelineState, changes: Sequence[AlertChange]) -> None:
    """Log each alert that fires, is acknowledged or resolves, once, however often that is told."""
    states = {name: _state(it.alert) for name, it in picture.alerts.items()}
    for change in changes:
        alert, state = change.alert, _state(change.alert)
        if states.get(alert.fingerprint) != state:
            states[alert.fingerprint] = state
            what = {"alert": alert.name, "fingerprint": alert.fingerprint, "severity": alert.severity}
            said = f"alert {state[0]}"
            log.info(said, **what, priority=priority(alert.labels), at=change.at.isoformat())


def _state(alert: Alert) -> tuple[str, datetime | None]:
    """Return what an alert is, and since when it fires."""
    return ("acknowledged" if alert.acknowledged else alert.status.value), alert.fired


def apply_changes(
    picture: PipelineState, changes: Iterable[AlertChange], house: Policy, isolation: ItemIsolation
) -> PipelineState:
    """Return the picture with changes taken in, one after the other."""
    found = dict(picture.alerts)
    for change in changes:
        with isolation.item("change", _name(change)):
            name = change.alert.fingerprint
            found[name] = track_change(found.get(name), change, house.settings.flapping)
    return replace(picture, alerts=found)


def _name(change: AlertChange) -> str:
    return f"{change.alert.name} {change.alert.fingerprint} {change.at.isoformat()}"


def fallback_of(name: str, channels: Mapping[str, Channel], chosen: str) -> str:
    """Return the channel that is told what another one can't be: the chosen one, else one that wakes nobody."""
    if chosen and chosen != name:
        return chosen
    others = sorted((channel.pages, other) for other, channel in channels.items() if other != name)
    return others[0][1] if others else ""


def _lanes_of_nobody(connection: Connection, lanes: Mapping[str, ChannelWorker]) -> list[str]:
    return [lane for lane in outbox.queues(connection, "channel:") if lane.removeprefix("channel:") not in lanes]
