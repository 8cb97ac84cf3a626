"""One channel's way out: what waits for it, is sent, fails, and goes elsewhere then."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from toban.core.errors import DeliveryError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import raise_if_cancelled
from toban.core.redaction import redact_text
from toban.core.samples import counter, gauge
from toban.notify import queued_notifications, repository
from toban.notify.channel import Channel, ChannelTools, DeliveryAttempt, Handle
from toban.notify.notification import Notification
from toban.notify.queued_notifications import parse_notification, queue_of, reroute
from toban.notify.repository import ChannelFailure, RefusedRecipient
from toban.notify.wakeup import Wakeup
from toban.state import outbox
from toban.state.database import State
from toban.state.outbox import Finish, OutboxMessage, QueueBacklog

log = structlog.get_logger("toban.notify")

SENT: Final = counter("toban_notifications_total", "Messages by channel and how a try ended.")
WAITING: Final = gauge("toban_outbox_messages", "Messages that wait for a channel.")

ELSEWHERE_AFTER: Final = timedelta(minutes=2)
"""How long a message may fail before another channel is told too; and how long one rests that may have arrived."""
LEASE: Final = timedelta(minutes=1)
"""How long a message is held back from other copies of toban when the one that sends it dies."""
HELD_UP: Final = 10.0
"""Seconds that a message may hold up those behind it; then it goes on beside them."""
BESIDE: Final = 4
"""How many messages of a channel may be under way beside each other."""
UNSURE: Final = 2
"""How often a message is sent that may have arrived, where the receiver can't tell a repetition."""
MAY_HAVE_ARRIVED: Final = "it was sent twice and may have arrived: it is not sent again"
REST: Final = 30.0
"""Seconds: how long a lane rests at most before it looks for what another copy has put."""
AWAY: Final = 2.0
"""Seconds: how long a lane rests while state is away."""
KEPT_DIRECT: Final = 1_000
"""How many messages are kept in memory while state is away; the oldest are let go, and counted."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a channel has taken: what to remember of the thread, what became of each recipient, and who waits."""

    handle: Handle
    attempt: DeliveryAttempt = field(default_factory=DeliveryAttempt)
    behind: tuple[str, ...] = ()
    """Recipients for whom an older message of the thread waits: they get this one after that."""


class ChannelWorker:
    """
    Sends what waits for one channel, one after the other; a channel that hangs delays no other.

    While state is away, what is given directly is sent from memory.
    """

    def __init__(
        self,
        channel: Channel,
        fallback: str,
        state: State,
        tools: ChannelTools,
        meters: MetricRegistry,
        rerouted: Callable[[str], None],
        before: "ChannelWorker | None" = None,
    ) -> None:
        """``before`` is the lane of a channel of the same name, whose messages and threads this one goes on with."""
        self.channel = channel
        self.name = channel.name
        self.failure: ChannelFailure | None = None
        self.refused: Mapping[str, RefusedRecipient] = {}
        """The recipients that were refused when something was sent to them last."""
        self.waiting = QueueBacklog()
        self.direct: deque[Notification] = deque()
        self._fallback = fallback
        self._state = state
        self._tools = tools
        self._meters = meters
        self._rerouted = rerouted
        self._put_elsewhere = False
        self._begun = False
        self._bell = Wakeup(tools.clock)
        self._handles: dict[str, Handle] = {}
        self._unmarked: dict[str, Delivery] = {}
        """By its key, what the channel has taken and state does not know of yet."""
        self._tried = set[str]()
        """The keys of what was tried and may have arrived without a word of that."""
        self._attempts: dict[str, DeliveryAttempt] = {}
        """By its key, what the newest try of a message came to that failed."""
        self._unsure = Counter[str]()
        """By its key, how many tries of a message ended without an answer."""
        self._given_up = set[str]()
        """The keys of what was refused for good while state is away."""
        self._under_way = set[asyncio.Task[None]]()
        if before:
            self.direct, self.failure = before.direct, before.failure
            self._tried, self._unsure = before._tried, before._unsure  # noqa: SLF001  # its like
            if before.channel.kind == channel.kind:
                self._handles, self._unmarked = before._handles, before._unmarked  # noqa: SLF001  # its like

    @property
    def problem(self) -> str:
        """What is wrong with the channel or with recipients of it; nothing when all is well."""
        said = self.failure.message if self.failure else ""
        others = [f"{it.name} is refused: {it.message}" for it in self.refused.values() if it.name not in said]
        return "; ".join(filter(None, [said, *others]))

    def configure(self, fallback: str, tools: ChannelTools) -> None:
        """Go on with another fallback, and with what channels are lent now."""
        self._fallback, self._tools = fallback, tools

    def wake(self) -> None:
        """Say that there is something to send."""
        self._bell.set()

    def send_from_memory(self, notification: Notification) -> None:
        """Take a message that can't be put in the spool, because state is away."""
        if len(self.direct) >= KEPT_DIRECT:
            self.direct.popleft()
            self._meters.add(SENT, channel=self.name, outcome="let go")
            log.error("a message was let go: too many wait while state is away", channel=self.name)
        self.direct.append(notification)
        self.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                raise_if_cancelled()
                rest = AWAY
                try:
                    rest = await self.drain()
                except StateError as error:
                    log.debug("state is away", channel=self.name, error=str(error))
                    await self.send_unclaimed()
                # Where the disk is full, state can be read all the same: what could not be put there leaves from here.
                await self.send_direct()
                await self._bell.wait(min(rest, AWAY) if self.direct else rest)
        finally:
            for task in self._under_way:
                task.cancel()
            if self._under_way:
                await asyncio.wait(self._under_way)

    async def drain(self) -> float:
        """Send what is due; return how many seconds to rest. Raises ``StateError``."""
        clock, lane = self._tools.clock, queue_of(self.name)
        if not self._begun and self._state.is_exclusive:
            # A crash between sending and marking must not make anybody wait until the lease has run out.
            await self._state.transaction(lambda connection: outbox.release_leases(connection, lane, clock.now()))
        self._begun = True
        await outbox.drain(
            self._state,
            lane,
            self._send,
            clock=clock,
            lease=LEASE,
            limit=self.channel.max_duration + LEASE,
            troubled=self._troubled,
            treat=self._treat,
        )

        def look(
            connection: Connection,
        ) -> tuple[QueueBacklog, datetime | None, dict[str, ChannelFailure], dict[str, RefusedRecipient]]:
            for parcel, trouble in outbox.overdue(connection, lane, clock.now() - ELSEWHERE_AFTER):
                self._tell_another(connection, parcel, trouble or "no answer")
            refused = repository.refused_recipients(connection, self.name)
            return (
                outbox.backlog(connection, lane),
                outbox.next_due(connection, lane),
                repository.channel_failures(connection),
                refused,
            )

        self.waiting, due, troubles, refused = await self._state.transaction(look)
        self.failure = troubles.get(self.name)
        # Who is no recipient any more is no trouble any more.
        self.refused = {name: it for name, it in refused.items() if name in self.channel.recipients}
        self._given_up.clear()
        self._meters.set(WAITING, self.waiting.size, channel=self.name)
        if self._put_elsewhere:
            # Once for what was put there: lanes that woke each other for their trouble would never rest.
            self._put_elsewhere = False
            self._rerouted(self._fallback)
        times = [due, self.waiting.since and self.waiting.since + ELSEWHERE_AFTER]
        coming = [(at - clock.now()).total_seconds() for at in times if at is not None]
        return min([REST, *(seconds for seconds in coming if seconds > 0)]) if due is None or due > clock.now() else 0.0

    async def _treat(self, parcel: OutboxMessage, treatment: Coroutine[Any, Any, None]) -> None:
        """Wait until a message is sent and marked; one that takes long goes on beside those behind it."""

        async def treated() -> None:
            await treatment
            self._unmarked.pop(parcel.key, None)
            self._unsure.pop(parcel.key, None)

        task = asyncio.create_task(treated(), name=f"channel {self.name}: a message")
        self._under_way.add(task)
        try:
            await asyncio.wait([task], timeout=HELD_UP)
            while len(self._under_way) >= BESIDE and not task.done():
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                self._under_way = {it for it in self._under_way if not it.done()} | {task}
        finally:
            if task.done():
                self._under_way.discard(task)
            else:
                task.add_done_callback(self._ended_late)
        if task.done():
            task.result()

    def _ended_late(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if task.cancelled():
            return
        if isinstance(error := task.exception(), StateError):
            log.debug("state is away", channel=self.name, error=str(error))
        elif error:
            log.error("failed unexpectedly", channel=self.name, exc_info=error)
        self.wake()

    async def send_direct(self) -> None:
        """Send what was given directly, while state is away; what fails stays."""
        for notification in [it for it in self.direct if it.key not in self._given_up]:
            try:
                handle = self._handles.get(notification.thread, {})
                delivered = await self._deliver(notification, handle, self._unsure[notification.key] + 1)
            except DeliveryError as error:
                self._attempts.pop(notification.key, None)
                self._failed(notification, error, 1)
                self.failure = ChannelFailure(self.name, self._tools.clock.now(), str(error), error.permanent)
                if not error.permanent:
                    return
                # It goes to another channel when state is back.
                self._given_up.add(notification.key)
                continue
            self.failure = None
            self._unsure.pop(notification.key, None)
            rest = tuple(name for name, refusal in delivered.attempt.refused.items() if not refusal.permanent)
            # Whoever was refused for now is not forgotten with the others.
            left = (
                [replace(notification, only=rest, key=queued_notifications.recipient_key(notification, *rest))]
                if rest
                else []
            )
            self.direct = deque(each for it in self.direct for each in (left if it is notification else [it]))
            raise_if_cancelled()

    async def send_unclaimed(self) -> None:
        """Send what waits in a state that can be read and not written; it is marked as sent when it can."""
        lane, troubled = queue_of(self.name), set[str]()
        try:
            waiting = await self._state.transaction(lambda connection: outbox.peek(connection, lane))
            for parcel in waiting:
                if parcel.key in self._unmarked or parcel.key in self._given_up or parcel.ordering_key in troubled:
                    continue
                try:
                    await self._send(parcel)
                except outbox.UnreadableMessageError as error:
                    # It is put in quarantine when state can be written.
                    log.debug("left out", channel=self.name, error=str(error))
                except DeliveryError as error:
                    self._attempts.pop(parcel.key, None)
                    self._failed(parse_notification(parcel), error, parcel.attempts + 1)
                    troubled.add(parcel.ordering_key)
                    if error.permanent:
                        self._given_up.add(parcel.key)
                raise_if_cancelled()
        except StateError as error:
            log.debug("state can't be read either", channel=self.name, error=str(error))

    async def _send(self, parcel: OutboxMessage) -> Finish:
        notification = parse_notification(parcel)
        if parcel.attempts > 1:
            self._tried.add(notification.key)

        def known(connection: Connection) -> tuple[Handle, tuple[str, ...]]:
            behind = (
                ()
                if notification.only
                else queued_notifications.recipients_behind(connection, self.channel, notification)
            )
            return repository.load_handle(connection, notification.thread, self.name), behind

        if parcel.key not in self._unmarked:
            remembered = self._handles.get(notification.thread, {})
            stored, behind = await self._state.transaction(known)
            # What was delivered and is not marked yet is not in state either.
            handle = (remembered if self._unmarked else {}) or stored or remembered
            self._unmarked[parcel.key] = await self._sent(parcel, notification, handle, behind)
        delivered = self._unmarked[parcel.key]
        now = self._tools.clock.now()

        def finish(connection: Connection) -> None:
            attempt = delivered.attempt
            repository.save_handle(connection, notification.thread, self.name, delivered.handle, now)
            repository.clear_channel_failure(connection, self.name)
            repository.record_recipients(connection, self.name, attempt, now)
            for_now = (name for name, refusal in attempt.refused.items() if not refusal.permanent)
            for recipient in (*for_now, *delivered.behind):
                queued_notifications.enqueue_for_recipient(connection, self.name, notification, recipient, now)

        return finish

    async def _sent(
        self, parcel: OutboxMessage, notification: Notification, handle: Handle, behind: tuple[str, ...]
    ) -> Delivery:
        """Send a message to those who can have it now."""
        if behind:
            only = tuple(name for name in self.channel.recipients if name not in behind)
            if not only:
                return Delivery(handle, behind=behind)
            notification = replace(notification, only=only)
        try:
            return replace(await self._deliver(notification, handle, parcel.attempts), behind=behind)
        except asyncio.CancelledError:
            if self._attempts.pop(notification.key, DeliveryAttempt()).unanswered:
                # toban stops: the next run must know that this one may have arrived.
                unsure = replace(
                    notification, only=parse_notification(parcel).only, unsure=self._unsure[notification.key]
                )
                with suppress(StateError):  # then it may come once more
                    await self._state.transaction(
                        lambda connection: outbox.update_body(connection, parcel, unsure.as_dict())
                    )
            raise

    async def _deliver(self, notification: Notification, handle: Handle, number: int) -> Delivery:
        """Send one message. Raises ``DeliveryError``, whatever goes wrong."""
        key = notification.key
        notification = replace(notification, again=key in self._tried)
        self._tried.add(key)
        self._unsure[key] = max(self._unsure[key], notification.unsure)
        if self._unsure[key] >= UNSURE and not self.channel.is_idempotent:
            raise DeliveryError(
                f"{self.name}: toban was stopped before the answer came: {MAY_HAVE_ARRIVED}", permanent=True
            )
        attempt = self._attempts[key] = DeliveryAttempt()
        try:
            async with asyncio.timeout(self.channel.max_duration.total_seconds()):
                kept = await self.channel.send(notification, handle, replace(self._tools, attempt=attempt))
        except asyncio.CancelledError:
            self._unsure[key] += attempt.unanswered
            raise
        except DeliveryError as error:
            raise self._unless_unsure(key, attempt, error) from error
        except TimeoutError as error:
            late = DeliveryError(f"{self.name}: no answer within {self.channel.max_duration}")
            raise self._unless_unsure(key, attempt, late) from error
        except Exception as error:
            # A fault in a channel must not end the others; it is told like any other trouble.
            log.exception("failed unexpectedly", channel=self.name)
            raise DeliveryError(f"{self.name}: {type(error).__name__}: {error}") from error
        self._tried.discard(key)
        self._attempts.pop(key, None)
        self._meters.add(SENT, channel=self.name, outcome="sent")
        log.info("notification sent", **queued_notifications.log_fields(self.name, notification, number))
        for refusal in attempt.refused.values():
            log.warning(
                "a recipient was refused",
                **queued_notifications.log_fields(self.name, notification, number),
                error=redact_text(refusal.message),
            )
        self._handles[notification.thread] = kept
        if notification.over:
            self._handles.pop(notification.thread, None)
        return Delivery(kept, attempt)

    def _unless_unsure(self, key: str, attempt: DeliveryAttempt, error: DeliveryError) -> DeliveryError:
        """Return the error; one that ends the tries of what may have arrived as often as it may."""
        if error.permanent:
            self._tried.discard(key)
        if not attempt.unanswered:
            return error
        self._unsure[key] += 1
        if self.channel.is_idempotent:
            return error
        if self._unsure[key] >= UNSURE:
            self._tried.discard(key)
            return DeliveryError(f"{error}: {MAY_HAVE_ARRIVED}", permanent=True)
        return DeliveryError(str(error), after=max(error.after or 0.0, ELSEWHERE_AFTER.total_seconds()))

    def _failed(self, notification: Notification, error: DeliveryError, number: int) -> None:
        self._meters.add(SENT, channel=self.name, outcome="refused" if error.permanent else "failed")
        facts = {**queued_notifications.log_fields(self.name, notification, number), "error": redact_text(str(error))}
        if error.permanent:
            log.error("notification given up", **facts)
        elif number <= 1 or self.failure is None or self.failure.message != str(error):
            log.warning("notification failed", **facts)
        else:
            log.debug("notification failed again", **facts)

    def _troubled(self, connection: Connection, parcel: OutboxMessage, error: DeliveryError) -> None:
        """Write down trouble; what is refused or fails for long goes to another channel too."""
        now, notification = self._tools.clock.now(), parse_notification(parcel)
        attempt = self._attempts.pop(parcel.key, DeliveryAttempt())
        self._failed(notification, error, parcel.attempts)
        repository.record_channel_failure(connection, self.name, str(error), now, permanent=error.permanent)
        repository.record_recipients(connection, self.name, attempt, now)
        queued_notifications.record_attempt(connection, parcel, self.channel, attempt, self._unsure[parcel.key])
        if error.permanent or now - parcel.enqueued >= ELSEWHERE_AFTER:
            self._tell_another(connection, parcel, str(error))

    def _tell_another(self, connection: Connection, parcel: OutboxMessage, why: str) -> None:
        """Put a message on another channel's lane too, if there is one."""
        now = self._tools.clock.now()
        try:
            if self._fallback and reroute(connection, parcel, self.name, self._fallback, why, now):
                self._put_elsewhere = True
        except outbox.UnreadableMessageError as error:
            outbox.quarantine_message(connection, parcel, error, now)
