"""Hears of alerts, decides who is told, and sends."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.alerts import TOPIC, Alert, Change, priority
from toban.core.errors import StateError
from toban.core.item_isolation import Failure, Isolation
from toban.core.lifecycle import SERVICES
from toban.core.metric_registry import Meters
from toban.core.ports import Clock, Condition
from toban.notify import repository
from toban.notify.channel import Channel, Tools
from toban.notify.channel_worker import Lane
from toban.notify.flap_detection import hear
from toban.notify.lasting_failures import PART, LastingFailures
from toban.notify.muting import Silence
from toban.notify.notification import Notification
from toban.notify.pipeline import Decision, House, Note, Picture, decide, suppressed
from toban.notify.queued_notifications import lane_of, reroute
from toban.notify.system_notices import silence_ends
from toban.notify.wakeup import Bell
from toban.state import event_log, outbox, quarantine
from toban.state.database import State
from toban.state.quarantine import readable

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
class Taken:
    """What one transaction brought."""

    decision: Decision
    told: Sequence[Change]
    changes: int
    silences: Sequence[Silence]
    failures: Sequence[Failure] = ()


class Dispatching:
    """
    Reads what alerting tells, decides, and lets each channel send on its own.

    Cursor, picture and messages are one transaction: a crash repeats a message under the same key at worst. While
    state is away it goes on from memory, with what it is told directly.
    """

    name = "notify"

    def __init__(
        self,
        house: House,
        channels: Mapping[str, Channel],
        state: State,
        tools: Tools,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self.house = house
        self.lanes: dict[str, Lane] = {}
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
        self._bell = Bell(clock)
        self._picture = Picture()
        self._stored = Picture()
        self._silences: Sequence[Silence] = ()
        self._notes: dict[str, Sequence[Note]] = {}
        self._opened = False
        self._overheard = 0
        self._trouble = ""
        self._pruned: datetime | None = None
        self._lasting = LastingFailures()

    def _set_lanes(self, channels: Mapping[str, Channel], tools: Tools) -> None:
        """Make a lane for each channel; one whose channel is as it was goes on."""
        chosen, before = self.house.settings.fallback, self.lanes
        self.lanes = {}
        for name, channel in channels.items():
            fallback, lane = fallback_of(name, channels, chosen), before.get(name)
            if lane and lane.channel == channel:
                lane.configure(fallback, tools)
            else:
                lane = Lane(channel, fallback, self._state, tools, self._meters, self._wake, lane)
            self.lanes[name] = lane

    async def configure(self, house: House, channels: Mapping[str, Channel], tools: Tools) -> None:
        """
        Go on with other routes and channels. Alerts, threads and messages stay; channels that are as they were are
        not even interrupted, and what waits for one that is gone is sent elsewhere.
        """
        async with self._one:
            ended = [name for name, lane in self.lanes.items() if channels.get(name) != lane.channel]
            tasks = [self._sending.pop(name) for name in ended if name in self._sending]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=SERVICES)
            self._left += [it for name in ended if name not in channels for it in self.lanes[name].direct]
            self.house = house
            self._set_lanes(channels, tools)
            # What waits in state for a channel that is gone is taken over as at a start.
            self._opened = self._opened and all(name in channels for name in ended)
            for name in self.lanes:
                self._start(name)
        self.ring()

    def _start(self, name: str) -> None:
        if self._group and name not in self._sending:
            self._sending[name] = self._group.create_task(self.lanes[name].run(), name=f"channel {name}")

    async def open(self) -> None:
        """Take up where the last run ended; the feed is read from its start by a reader that is new."""

        def work(connection: Connection) -> Picture:
            event_log.subscribe(connection, READER, from_start=True)
            for lane in _lanes_of_nobody(connection, self.lanes):
                self._take_over(connection, lane)
            return repository.load(connection)

        stored = await self._state.transaction(work)
        # What was heard while state was away stands above what it holds.
        self._picture = Picture({**stored.heard, **self._picture.heard}, {**stored.threads, **self._picture.threads})
        self._stored, self._opened = stored, True

    def _take_over(self, connection: Connection, lane: str) -> None:
        """Send elsewhere what waits for a channel that is no longer there."""
        channel, now = lane.removeprefix("channel:"), self._clock.now()
        to = self.house.settings.fallback or next(iter(self.lanes), "")
        # What stands behind another on its line can be claimed when that is gone.
        while parcels := outbox.claim(connection, lane, now + FAR, timedelta(), AT_ONCE):
            for parcel in parcels:
                try:
                    if to:
                        reroute(connection, parcel, channel, to, "this channel was removed from the configuration", now)
                except outbox.UnreadableParcelError as error:
                    outbox.quarantined(connection, parcel, error, now)
                else:
                    outbox.drop(connection, parcel, "channel removed")

    def ring(self) -> None:
        """Say that alerting told something."""
        self._bell.ring()

    def _wake(self, lane: str) -> None:
        self.lanes[lane].ring()

    def _ring(self) -> None:
        for lane in self.lanes.values():
            lane.ring()

    async def run(self) -> None:
        """Decide and send until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for name in self.lanes:
                self._start(name)
            while True:
                again = await self.decide()
                await self._bell.rest(max(0.0, (again - self._clock.now()).total_seconds()))

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
        for lane in self.lanes.values():
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
            changes = await self._state.transaction(lambda connection: event_log.unread(connection, READER, AT_ONCE))
        except StateError as error:
            log.debug("state can't be read either", error=str(error))
            return
        isolation, told = Isolation(), []
        for it in changes:
            if it.position > self._overheard and it.topic == TOPIC:
                with isolation.item("change", str(it.position)):
                    told.append(Change.read(it.body))
        log_changes(self._picture, told)
        self._picture = heard(self._picture, told, self.house, isolation)
        self._state.quarantine.report(f"{self.name} overheard", isolation.failures)
        self._overheard = max((it.position for it in changes), default=self._overheard)

    def _work(self, connection: Connection) -> Taken:
        now = self._clock.now()
        changes = event_log.unread(connection, READER, AT_ONCE)
        silences = repository.silences(connection, now)
        alerts = [change for change in changes if change.topic == TOPIC]
        told = readable(connection, event_log.FEED, alerts, lambda change: Change.read(change.body))
        isolation = Isolation()
        picture = heard(self._picture, told, self.house, isolation)
        errors = {it.item: it.error for it in isolation.failures}
        for change in told:
            if error := errors.get(name := _name(change)):
                quarantine.keep(connection, event_log.FEED.name, name, change.body(), error, now)
        decision = decide(self.house, picture, silences, now)
        unreadable = [it for it in decision.failures if it.part == PART and it.item in decision.unreadable]
        lasting = self._lasting.lasting(decision.failures, now)
        repository.set_aside(connection, [*unreadable, *lasting], now)
        # What could not be read may have begun anew under the same name.
        stored = self._stored.without(it.item for it in (*unreadable, *lasting))
        decision = replace(decision, after=decision.after.without(it.item for it in lasting))
        unsent = [*self._left, *(message for lane in self.lanes.values() for message in lane.direct)]
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
        repository.keep_notes(connection, news, now)
        if changes:
            event_log.advance(connection, READER, changes[-1].position)
        return Taken(decision, told, len(changes), silences, isolation.failures)

    def _put(self, connection: Connection, message: Notification, now: datetime) -> None:
        channel = message.receiver
        if channel not in self.lanes:
            # Its thread began when there was such a channel; the end of it must arrive somewhere.
            channel = self.house.settings.fallback or next(iter(self.lanes), "")
        if channel:
            outbox.put(connection, lane_of(channel), message.key, message.body(), now, message.thread)

    def _notices(
        self,
        connection: Connection,
        silences: Sequence[Silence],
        picture: Picture,
        now: datetime,
        isolation: Isolation,
    ) -> list[Notification]:
        notices = []
        for silence, messages in silence_ends(self.house, silences, picture, now, isolation):
            if silence.id in repository.unnoticed(connection, silence.ends):
                repository.notice(connection, silence.id)
                notices += messages
        return notices

    def _decide_from_memory(self, now: datetime) -> datetime:
        decision = decide(self.house, self._picture, self._silences, now)
        # Set aside they are when state is back.
        kept = {name: self._picture.threads[name] for name in decision.unreadable}
        self._picture = replace(decision.after, threads={**kept, **decision.after.threads})
        self._state.quarantine.report(self.name, decision.failures)
        for message in decision.messages:
            if message.receiver in self.lanes:
                self.lanes[message.receiver].give(message)
        return min(decision.again or now + AWAY, now + AWAY)

    async def urgent(self, changes: Sequence[Change]) -> None:
        """Hear of changes directly, while state is away; the feed tells them again when it is back."""
        isolation = Isolation()
        log_changes(self._picture, changes)
        self._picture = heard(self._picture, changes, self.house, isolation)
        self._state.quarantine.report(f"{self.name} urgent", isolation.failures)
        self.ring()

    async def _prune(self, now: datetime) -> None:
        if self._pruned is None or now - self._pruned >= PRUNE_EVERY:
            self._pruned = now
            try:
                await self._state.transaction(lambda connection: repository.prune(connection, now - KEPT))
            except StateError as error:
                log.debug("not pruned", error=str(error))

    @property
    def picture(self) -> Picture:
        """What is decided from."""
        return self._picture

    def suppressed(self) -> dict[str, list[str]]:
        """Return why nobody is notified of alerts that fire, by fingerprint."""
        return suppressed(self.house, self._picture, self._silences, self._clock.now())

    async def say(self, message: Notification) -> str:
        """Send a word that belongs to no alert; return its key. Raises ``StateError``."""
        now = self._clock.now()
        await self._state.transaction(lambda connection: self._put(connection, message, now))
        self._ring()
        return message.key

    async def told(self, alert: str, channel: str, since: datetime) -> bool:
        """Tell whether a channel took a message of alerts of this name since a time. Raises ``StateError``."""
        wanted = {name for name, it in self._picture.heard.items() if it.alert.name == alert}
        threads = [it.id for it in self._picture.threads.values() if channel in it.channels and wanted & it.members]
        return await self._state.transaction(lambda connection: repository.reached(connection, threads, channel, since))

    def health(self) -> Condition:
        """Say whether messages reach their channels."""
        now = self._clock.now()
        said = [
            f"{lane.name}: {'refused' if lane.trouble.permanent else 'fails'}: {lane.trouble.says}"
            for lane in self.lanes.values()
            if lane.trouble and (lane.trouble.permanent or now - lane.trouble.since >= STUCK)
        ]
        said += [
            f"{lane.name}: {it.name} is refused: {it.says}"
            for lane in self.lanes.values()
            for it in lane.refused.values()
            if it.permanent or now - it.since >= STUCK
        ]
        if self._trouble:
            said.append(f"messages are sent from memory: {self._trouble}")
        if said:
            return Condition(False, "; ".join(said))
        if not self.lanes:
            return Condition(True, "no channel is configured: nobody is notified (`toban init`, or channels)", False)
        return Condition(True, f"{', '.join(self.lanes)} reached")

    @property
    def leaving(self) -> bool:
        """Whether messages leave, by one channel at least: what the heartbeat asks."""
        now = self._clock.now()
        stuck = [
            lane.trouble is not None
            or (lane.waiting.since is not None and now - lane.waiting.since > STUCK and lane.waiting.many > 0)
            for lane in self.lanes.values()
        ]
        return not stuck or not all(stuck)


def log_changes(picture: Picture, changes: Sequence[Change]) -> None:
    """Log each alert that fires, is acknowledged or resolves, once, however often that is told."""
    states = {name: _state(it.alert) for name, it in picture.heard.items()}
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


def heard(picture: Picture, changes: Iterable[Change], house: House, isolation: Isolation) -> Picture:
    """Return the picture with changes taken in, one after the other."""
    found = dict(picture.heard)
    for change in changes:
        with isolation.item("change", _name(change)):
            name = change.alert.fingerprint
            found[name] = hear(found.get(name), change, house.settings.flapping)
    return replace(picture, heard=found)


def _name(change: Change) -> str:
    return f"{change.alert.name} {change.alert.fingerprint} {change.at.isoformat()}"


def fallback_of(name: str, channels: Mapping[str, Channel], chosen: str) -> str:
    """Return the channel that is told what another one can't be: the chosen one, else one that wakes nobody."""
    if chosen and chosen != name:
        return chosen
    others = sorted((channel.pages, other) for other, channel in channels.items() if other != name)
    return others[0][1] if others else ""


def _lanes_of_nobody(connection: Connection, lanes: Mapping[str, Lane]) -> list[str]:
    return [lane for lane in outbox.lanes(connection, "channel:") if lane.removeprefix("channel:") not in lanes]
