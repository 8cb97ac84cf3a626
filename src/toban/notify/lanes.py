"""One channel's way out: what waits for it, is sent, fails, and goes elsewhere then."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.errors import DeliveryError, StateError
from toban.core.meters import Meters
from toban.core.samples import counter, gauge
from toban.notify import book
from toban.notify.bell import Bell
from toban.notify.book import Trouble
from toban.notify.channel import Channel, Handle, Tools
from toban.notify.notification import Notification
from toban.notify.wording import words
from toban.state import spool
from toban.state.door import State
from toban.state.spool import Finish, Parcel, Waiting

log = structlog.get_logger("toban.notify")

SENT: Final = counter("toban_notifications_total", "Messages by channel and how a try ended.")
WAITING: Final = gauge("toban_notifications_waiting", "Messages that wait for a channel.")

ELSEWHERE_AFTER: Final = timedelta(minutes=2)
"""How long a message may fail before another channel is told too."""
REST: Final = 30.0
"""Seconds: how long a lane rests at most before it looks for what another copy has put."""
AWAY: Final = 2.0
"""Seconds: how long a lane rests while state is away."""
KEPT_DIRECT: Final = 1_000
"""How many messages are kept in memory while state is away; the oldest are let go, and counted."""


def lane_of(channel: str) -> str:
    """Return the spool's lane of a channel."""
    return f"channel:{channel}"


class Lane:
    """
    Sends what waits for one channel, one after the other; a channel that hangs delays no other.

    While state is away, what is given directly is sent from memory.
    """

    def __init__(
        self,
        channel: Channel,
        fallback: str,
        state: State,
        tools: Tools,
        meters: Meters,
        rerouted: Callable[[str], None],
    ) -> None:
        self.channel = channel
        self.name = channel.name
        self.trouble: Trouble | None = None
        self.waiting = Waiting()
        self.direct: deque[Notification] = deque()
        self._fallback = fallback
        self._state = state
        self._tools = tools
        self._meters = meters
        self._rerouted = rerouted
        self._put_elsewhere = False
        self._begun = False
        self._bell = Bell(tools.clock)
        self._handles: dict[str, Handle] = {}
        self._unmarked: dict[str, Handle] = {}
        """By its key, what the channel has taken and state does not know of yet."""
        self._tried = set[str]()
        """The keys of what was tried and may have arrived without a word of that."""

    def ring(self) -> None:
        """Say that there is something to send."""
        self._bell.ring()

    def give(self, notification: Notification) -> None:
        """Take a message that can't be put in the spool, because state is away."""
        if len(self.direct) >= KEPT_DIRECT:
            self.direct.popleft()
            self._meters.add(SENT, channel=self.name, outcome="let go")
            log.error("a message was let go: too many wait while state is away", channel=self.name)
        self.direct.append(notification)
        self.ring()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            rest = AWAY
            try:
                rest = await self.work_off()
            except StateError as error:
                log.debug("state is away", channel=self.name, error=str(error))
                await self.send_unclaimed()
            # Where the disk is full, state can be read all the same: what could not be put there leaves from here.
            await self.send_direct()
            await self._bell.rest(min(rest, AWAY) if self.direct else rest)

    async def work_off(self) -> float:
        """Send what is due; return how many seconds to rest. Raises ``StateError``."""
        clock, lane = self._tools.clock, lane_of(self.name)
        lease = max(timedelta(minutes=1), 2 * self.channel.timeout)
        if not self._begun and self._state.alone:
            # A crash between sending and marking must not make anybody wait until the lease has run out.
            await self._state.transaction(lambda connection: spool.take_back(connection, lane, clock.now()))
        self._begun = True
        await spool.work_off(self._state, lane, self._send, clock=clock, lease=lease, troubled=self._troubled)
        self._unmarked.clear()

        def look(connection: Connection) -> tuple[Waiting, datetime | None, dict[str, Trouble]]:
            for parcel, trouble in spool.late(connection, lane, clock.now() - ELSEWHERE_AFTER):
                self._tell_another(connection, parcel, trouble or "no answer")
            return spool.waiting(connection, lane), spool.next_due(connection, lane), book.troubles(connection)

        self.waiting, due, troubles = await self._state.transaction(look)
        self.trouble = troubles.get(self.name)
        self._meters.set(WAITING, self.waiting.many, channel=self.name)
        if self._put_elsewhere:
            # Once for what was put there: lanes that woke each other for their trouble would never rest.
            self._put_elsewhere = False
            self._rerouted(self._fallback)
        times = [due, self.waiting.since and self.waiting.since + ELSEWHERE_AFTER]
        coming = [(at - clock.now()).total_seconds() for at in times if at is not None]
        return min([REST, *(seconds for seconds in coming if seconds > 0)]) if due is None or due > clock.now() else 0.0

    async def send_direct(self) -> None:
        """Send what was given directly, while state is away; what fails stays."""
        while self.direct:
            notification = self.direct[0]
            try:
                await self._deliver(notification, self._handles.get(notification.thread, {}))
            except DeliveryError as error:
                self._failed(error)
                self.trouble = Trouble(self.name, self._tools.clock.now(), str(error), error.permanent)
                return
            self.trouble = None
            if self.direct and self.direct[0] is notification:
                self.direct.popleft()

    async def send_unclaimed(self) -> None:
        """Send what waits in a state that can be read and not written; it is marked as sent when it can."""
        lane, troubled = lane_of(self.name), set[str]()
        try:
            waiting = await self._state.transaction(lambda connection: spool.peek(connection, lane))
            for parcel in waiting:
                if parcel.key in self._unmarked or parcel.line in troubled:
                    continue
                try:
                    await self._send(parcel)
                except spool.UnreadableParcelError as error:
                    # It is put in quarantine when state can be written.
                    log.debug("left out", channel=self.name, error=str(error))
                except DeliveryError as error:
                    self._failed(error)
                    troubled.add(parcel.line)
        except StateError as error:
            log.debug("state can't be read either", channel=self.name, error=str(error))

    async def _send(self, parcel: Parcel) -> Finish:
        notification = read(parcel)
        if parcel.tries > 1:
            self._tried.add(notification.key)

        def known(connection: Connection) -> Handle:
            return book.handle(connection, notification.thread, self.name)

        if parcel.key not in self._unmarked:
            remembered = self._handles.get(notification.thread, {})
            # What was delivered and is not marked yet is not in state either.
            handle = (remembered if self._unmarked else {}) or await self._state.transaction(known) or remembered
            self._unmarked[parcel.key] = await self._deliver(notification, handle)
        kept = self._unmarked[parcel.key]
        now = self._tools.clock.now()

        def finish(connection: Connection) -> None:
            book.keep_handle(connection, notification.thread, self.name, kept, now)
            book.note_well(connection, self.name)

        return finish

    async def _deliver(self, notification: Notification, handle: Handle) -> Handle:
        """Send one message. Raises ``DeliveryError``, whatever goes wrong."""
        notification = replace(notification, again=notification.key in self._tried)
        self._tried.add(notification.key)
        try:
            async with asyncio.timeout(self.channel.timeout.total_seconds()):
                kept = await self.channel.send(notification, handle, self._tools)
        except DeliveryError as error:
            if error.permanent:
                self._tried.discard(notification.key)
            raise
        except TimeoutError as error:
            raise DeliveryError(f"{self.name}: no answer within {self.channel.timeout}") from error
        except Exception as error:
            # A fault in a channel must not end the others; it is told like any other trouble.
            log.exception("failed unexpectedly", channel=self.name)
            raise DeliveryError(f"{self.name}: {type(error).__name__}: {error}") from error
        self._tried.discard(notification.key)
        self._meters.add(SENT, channel=self.name, outcome="sent")
        self._handles[notification.thread] = kept
        if notification.over:
            self._handles.pop(notification.thread, None)
        return kept

    def _failed(self, error: DeliveryError) -> None:
        self._meters.add(SENT, channel=self.name, outcome="refused" if error.permanent else "failed")
        if self.trouble is None or self.trouble.says != str(error):
            log.warning("not delivered", channel=self.name, error=str(error), permanent=error.permanent)

    def _troubled(self, connection: Connection, parcel: Parcel, error: DeliveryError) -> None:
        """Write down trouble; what is refused or fails for long goes to another channel too."""
        now = self._tools.clock.now()
        self._failed(error)
        book.note_trouble(connection, self.name, str(error), now, permanent=error.permanent)
        if error.permanent or now - parcel.put >= ELSEWHERE_AFTER:
            self._tell_another(connection, parcel, str(error))

    def _tell_another(self, connection: Connection, parcel: Parcel, why: str) -> None:
        """Put a message on another channel's lane too, if there is one."""
        now = self._tools.clock.now()
        try:
            if self._fallback and reroute(connection, parcel, self.name, self._fallback, why, now):
                self._put_elsewhere = True
        except spool.UnreadableParcelError as error:
            spool.quarantined(connection, parcel, error, now)


def read(parcel: Parcel) -> Notification:
    """Return the message in a parcel. Raises ``UnreadableParcelError``."""
    try:
        return Notification.read(parcel.body)
    except Exception as error:
        raise spool.UnreadableParcelError(f"{type(error).__name__}: {error}") from error


def reroute(connection: Connection, parcel: Parcel, channel: str, to: str, why: str, now: datetime) -> bool:
    """
    Put a message on another channel's lane too, with a word why; return whether it was put there now.

    That is done once, and never with one that came from elsewhere itself. Raises ``UnreadableParcelError``.
    """
    told = read(parcel)
    if told.receiver != channel or not book.reroute(connection, parcel.key, now):
        return False
    say = words(told.language)["rerouted"].format(channel=channel, why=why)
    copy = replace(told, lines=(*told.lines, say), key=f"{told.key}~{to}")
    spool.put(connection, lane_of(to), copy.key, copy.body(), now, told.thread)
    return True
