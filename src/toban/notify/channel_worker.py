"""The worker of one channel: sends what is in its queue, retries, and reroutes what can't be delivered."""

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
from toban.core.notification import DELIVERY_TOPIC, Delivery, Notification
from toban.core.periodic import raise_if_cancelled
from toban.core.redaction import redact_text
from toban.core.samples import counter, gauge
from toban.core.wakeup import Wakeup
from toban.notify import queued_notifications, repository
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.delivery_attempt import DeliveryAttempt
from toban.notify.queued_notifications import parse_notification, queue_of, reroute
from toban.notify.repository import ChannelFailure, RefusedRecipient
from toban.state import event_log, outbox
from toban.state.database import State
from toban.state.outbox import Finish, OutboxMessage, QueueBacklog

log = structlog.get_logger("toban.notify")

SENT: Final = counter(
    "toban_notifications_total",
    "Delivery attempts by channel and outcome (sent, failed, rejected, dropped).",
    labels=("channel", "outcome"),
)
WAITING: Final = gauge("toban_outbox_messages", "Messages in the queue of a channel.", labels=("channel",))

REROUTE_AFTER: Final = timedelta(minutes=2)
"""After how long a failing message is rerouted, and the wait before one that may have arrived is sent again."""
LEASE: Final = timedelta(minutes=1)
"""After how long another copy of toban may send a message when the one that claimed it dies."""
SLOW_SECONDS: Final = 10.0
"""Seconds after which a message no longer delays those behind it: it continues concurrently."""
CONCURRENCY: Final = 4
"""How many messages of a channel may be in flight at once."""
MAX_UNCONFIRMED: Final = 2
"""How often a message that may have arrived is sent, where the receiver can't detect a repetition."""
MAY_HAVE_ARRIVED: Final = "it was sent twice and may have arrived: it is not sent again"
IDLE: Final = 30.0
"""Seconds that a worker waits at most before it reads what another copy of toban has enqueued."""
STATE_RETRY: Final = 2.0
"""Seconds that a worker waits while state is unavailable."""
MEMORY_LIMIT: Final = 1_000
"""How many messages are kept in memory while state is unavailable; the oldest are dropped, and counted."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that the channel accepted: the handle of its group, the result of each recipient, and who waits."""

    handle: Handle
    attempt: DeliveryAttempt = field(default_factory=DeliveryAttempt)
    behind: tuple[str, ...] = ()
    """Recipients for whom an older message of the group waits: they get this one after it."""


class ChannelWorker:
    """
    Sends the messages of one channel in order; a channel that hangs delays no other.

    While state is unavailable, messages are sent from memory.
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
        """``before`` is the worker of a channel of the same name, whose messages and groups this one continues."""
        self.channel = channel
        self.name = channel.name
        self.failure: ChannelFailure | None = None
        self.refused: Mapping[str, RefusedRecipient] = {}
        """The recipients whose last message was rejected."""
        self.waiting = QueueBacklog()
        self.direct: deque[Notification] = deque()
        self._fallback = fallback
        self._state = state
        self._tools = tools
        self._meters = meters
        self._rerouted = rerouted
        self._has_rerouted = False
        self._started = False
        self._wakeup = Wakeup(tools.clock)
        self._handles: dict[str, Handle] = {}
        self._unrecorded: dict[str, Delivered] = {}
        """By key, what the channel accepted and state has not recorded yet."""
        self._attempted = set[str]()
        """The keys of messages that were attempted and may have arrived without a confirmation."""
        self._attempts: dict[str, DeliveryAttempt] = {}
        """By key, the last failed attempt of a message."""
        self._unconfirmed = Counter[str]()
        """By key, how many attempts of a message ended without a response."""
        self._rejected = set[str]()
        """The keys of messages that were permanently rejected while state is unavailable."""
        self._in_flight = set[asyncio.Task[None]]()
        if before:
            self.direct, self.failure = before.direct, before.failure
            self._attempted, self._unconfirmed = before._attempted, before._unconfirmed  # noqa: SLF001  # its like
            if before.channel.kind == channel.kind:
                self._handles, self._unrecorded = before._handles, before._unrecorded  # noqa: SLF001  # its like

    @property
    def problem(self) -> str:
        """The error of the channel or of its recipients; empty when it delivers."""
        error = self.failure.message if self.failure else ""
        others = [f"{it.name} is rejected: {it.message}" for it in self.refused.values() if it.name not in error]
        return "; ".join(filter(None, [error, *others]))

    def configure(self, fallback: str, tools: ChannelTools) -> None:
        """Go on with another fallback and other tools."""
        self._fallback, self._tools = fallback, tools

    def wake(self) -> None:
        """Wake the worker: there may be something to send."""
        self._wakeup.set()

    def send_from_memory(self, notification: Notification) -> None:
        """Send a message that can't be put in the outbox, because state is unavailable."""
        if len(self.direct) >= MEMORY_LIMIT:
            self.direct.popleft()
            self._meters.add(SENT, channel=self.name, outcome="dropped")
            log.error("message dropped: too many wait while state is unavailable", channel=self.name)
        self.direct.append(notification)
        self.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                seconds = STATE_RETRY
                try:
                    seconds = await self.drain()
                except StateError as error:
                    log.debug("state unavailable", channel=self.name, error=str(error))
                    await self.send_unclaimed()
                # On a full disk state can be read all the same: what could not be enqueued is sent from memory.
                await self.send_direct()
                await self._wakeup.wait(min(seconds, STATE_RETRY) if self.direct else seconds)
        finally:
            for task in self._in_flight:
                task.cancel()
            if self._in_flight:
                await asyncio.wait(self._in_flight)

    async def drain(self) -> float:
        """Send what is due; return how many seconds to wait. Raises ``StateError``."""
        clock, queue = self._tools.clock, queue_of(self.name)
        if not self._started and self._state.is_exclusive:
            # After a crash between sending and recording nobody must wait until the lease has expired.
            await self._state.transaction(lambda connection: outbox.release_leases(connection, queue, clock.now()))
        self._started = True
        await outbox.drain(
            self._state,
            queue,
            self._send,
            clock=clock,
            lease=LEASE,
            limit=self.channel.max_duration + LEASE,
            on_failure=self._record_failure,
            schedule=self._run_delivery,
        )

        def read(
            connection: Connection,
        ) -> tuple[QueueBacklog, datetime | None, dict[str, ChannelFailure], dict[str, RefusedRecipient]]:
            for queued, error in outbox.overdue(connection, queue, clock.now() - REROUTE_AFTER):
                self._reroute(connection, queued, error or "no response")
            refused = repository.refused_recipients(connection, self.name)
            return (
                outbox.backlog(connection, queue),
                outbox.next_due(connection, queue),
                repository.channel_failures(connection),
                refused,
            )

        self.waiting, due, failures, refused = await self._state.transaction(read)
        self.failure = failures.get(self.name)
        # Recipients that were removed from the settings don't matter any more.
        self.refused = {name: it for name, it in refused.items() if name in self.channel.recipients}
        self._rejected.clear()
        self._meters.set(WAITING, self.waiting.size, channel=self.name)
        if self._has_rerouted:
            # Once for what was rerouted: workers that woke each other for each failure would never wait.
            self._has_rerouted = False
            self._rerouted(self._fallback)
        times = [due, self.waiting.since and self.waiting.since + REROUTE_AFTER]
        coming = [(at - clock.now()).total_seconds() for at in times if at is not None]
        return min([IDLE, *(seconds for seconds in coming if seconds > 0)]) if due is None or due > clock.now() else 0.0

    async def _run_delivery(self, queued: OutboxMessage, delivery: Coroutine[Any, Any, None]) -> None:
        """Wait until a message is sent and recorded; a slow one continues concurrently with those behind it."""

        async def recorded() -> None:
            await delivery
            self._unrecorded.pop(queued.key, None)
            self._unconfirmed.pop(queued.key, None)

        task = asyncio.create_task(recorded(), name=f"channel {self.name}: a message")
        self._in_flight.add(task)
        try:
            await asyncio.wait([task], timeout=SLOW_SECONDS)
            while len(self._in_flight) >= CONCURRENCY and not task.done():
                await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
                self._in_flight = {it for it in self._in_flight if not it.done()} | {task}
        finally:
            if task.done():
                self._in_flight.discard(task)
            else:
                task.add_done_callback(self._ended_late)
        if task.done():
            task.result()

    def _ended_late(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        if task.cancelled():
            return
        if isinstance(error := task.exception(), StateError):
            log.debug("state unavailable", channel=self.name, error=str(error))
        elif error:
            log.error("failed unexpectedly", channel=self.name, exc_info=error)
        self.wake()

    async def send_direct(self) -> None:
        """Send the messages in memory; those that fail stay."""
        for notification in [it for it in self.direct if it.key not in self._rejected]:
            try:
                handle = self._handles.get(notification.group_id, {})
                delivered = await self._deliver(notification, handle, self._unconfirmed[notification.key] + 1)
            except DeliveryError as error:
                self._attempts.pop(notification.key, None)
                self._failed(notification, error, 1)
                self.failure = ChannelFailure(self.name, self._tools.clock.now(), str(error), error.permanent)
                if not error.permanent:
                    return
                # It is rerouted when state is back.
                self._rejected.add(notification.key)
                continue
            self.failure = None
            self._unconfirmed.pop(notification.key, None)
            refused = tuple(name for name, refusal in delivered.attempt.refused.items() if not refusal.permanent)
            # Recipients that were rejected temporarily get it again.
            key = queued_notifications.recipient_key(notification, *refused)
            left = [replace(notification, recipients=refused, key=key)] if refused else []
            self.direct = deque(each for it in self.direct for each in (left if it is notification else [it]))
            raise_if_cancelled()

    async def send_unclaimed(self) -> None:
        """Send from a state that can be read and not written; it is recorded as sent when it can be."""
        queue, blocked = queue_of(self.name), set[str]()
        try:
            waiting = await self._state.transaction(lambda connection: outbox.peek(connection, queue))
            for queued in waiting:
                if queued.key in self._unrecorded or queued.key in self._rejected or queued.ordering_key in blocked:
                    continue
                try:
                    await self._send(queued)
                except outbox.UnreadableMessageError as error:
                    # It is put in quarantine when state can be written.
                    log.debug("message skipped: unreadable", channel=self.name, error=str(error))
                except DeliveryError as error:
                    self._attempts.pop(queued.key, None)
                    self._failed(parse_notification(queued), error, queued.attempts + 1)
                    blocked.add(queued.ordering_key)
                    if error.permanent:
                        self._rejected.add(queued.key)
        except StateError as error:
            log.debug("state not readable", channel=self.name, error=str(error))

    async def _send(self, queued: OutboxMessage) -> Finish:
        notification = parse_notification(queued)
        if queued.attempts > 1:
            self._attempted.add(notification.key)

        def known(connection: Connection) -> tuple[Handle, tuple[str, ...]]:
            behind = (
                ()
                if notification.recipients
                else queued_notifications.recipients_behind(connection, self.channel, notification)
            )
            return repository.load_handle(connection, notification.group_id, self.name), behind

        if queued.key not in self._unrecorded:
            remembered = self._handles.get(notification.group_id, {})
            stored, behind = await self._state.transaction(known)
            # The handle of what was delivered and is not recorded yet is not in state either.
            handle = (remembered if self._unrecorded else {}) or stored or remembered
            self._unrecorded[queued.key] = await self._sent(queued, notification, handle, behind)
        delivered = self._unrecorded[queued.key]
        now = self._tools.clock.now()

        def finish(connection: Connection) -> None:
            attempt = delivered.attempt
            repository.save_handle(connection, notification.group_id, self.name, delivered.handle, now)
            repository.clear_channel_failure(connection, self.name)
            repository.record_recipients(connection, self.name, attempt, now)
            if delivered.attempt.accepted or not delivered.behind:
                event_log.append(connection, DELIVERY_TOPIC, Delivery.of(notification, self.name, now).as_dict(), now)
            for_now = (name for name, refusal in attempt.refused.items() if not refusal.permanent)
            for recipient in (*for_now, *delivered.behind):
                queued_notifications.enqueue_for_recipient(connection, self.name, notification, recipient, now)

        return finish

    async def _sent(
        self, queued: OutboxMessage, notification: Notification, handle: Handle, behind: tuple[str, ...]
    ) -> Delivered:
        """Send a message to the recipients that don't wait for an older one."""
        if behind:
            recipients = tuple(name for name in self.channel.recipients if name not in behind)
            if not recipients:
                return Delivered(handle, behind=behind)
            notification = replace(notification, recipients=recipients)
        try:
            return replace(await self._deliver(notification, handle, queued.attempts), behind=behind)
        except asyncio.CancelledError:
            if self._attempts.pop(notification.key, DeliveryAttempt()).unanswered:
                # toban stops: the next process must know that this message may have arrived.
                unconfirmed = replace(
                    notification,
                    recipients=parse_notification(queued).recipients,
                    unconfirmed=self._unconfirmed[notification.key],
                )
                with suppress(StateError):  # then it may come once more
                    await self._state.transaction(
                        lambda connection: outbox.update_body(connection, queued, unconfirmed.as_dict())
                    )
            raise

    async def _deliver(self, notification: Notification, handle: Handle, number: int) -> Delivered:
        """Send one message. Raises ``DeliveryError``, whatever goes wrong."""
        key = notification.key
        notification = replace(notification, is_retry=key in self._attempted)
        self._attempted.add(key)
        self._unconfirmed[key] = max(self._unconfirmed[key], notification.unconfirmed)
        if self._unconfirmed[key] >= MAX_UNCONFIRMED and not self.channel.is_idempotent:
            raise DeliveryError(
                f"{self.name}: toban was stopped before the response came: {MAY_HAVE_ARRIVED}", permanent=True
            )
        attempt = self._attempts[key] = DeliveryAttempt()
        try:
            async with asyncio.timeout(self.channel.max_duration.total_seconds()):
                handle = await self.channel.send(notification, handle, replace(self._tools, attempt=attempt))
        except asyncio.CancelledError:
            self._unconfirmed[key] += attempt.unanswered
            raise
        except DeliveryError as error:
            raise self._limit_unconfirmed(key, attempt, error) from error
        except TimeoutError as error:
            late = DeliveryError(f"{self.name}: no response within {self.channel.max_duration}")
            raise self._limit_unconfirmed(key, attempt, late) from error
        except Exception as error:
            # A bug in a channel must not end the others; it is reported like any other failure.
            log.exception("failed unexpectedly", channel=self.name)
            raise DeliveryError(f"{self.name}: {type(error).__name__}: {error}") from error
        self._attempted.discard(key)
        self._attempts.pop(key, None)
        self._meters.add(SENT, channel=self.name, outcome="sent")
        log.info("notification sent", **queued_notifications.log_fields(self.name, notification, number))
        for refusal in attempt.refused.values():
            log.warning(
                "recipient rejected",
                **queued_notifications.log_fields(self.name, notification, number),
                error=redact_text(refusal.message),
            )
        self._handles[notification.group_id] = handle
        if notification.is_resolved:
            self._handles.pop(notification.group_id, None)
        return Delivered(handle, attempt)

    def _limit_unconfirmed(self, key: str, attempt: DeliveryAttempt, error: DeliveryError) -> DeliveryError:
        """Return the error; a permanent one when the message may have arrived as often as it may be sent."""
        if error.permanent:
            self._attempted.discard(key)
        if not attempt.unanswered:
            return error
        self._unconfirmed[key] += 1
        if self.channel.is_idempotent:
            return error
        if self._unconfirmed[key] >= MAX_UNCONFIRMED:
            self._attempted.discard(key)
            return DeliveryError(f"{error}: {MAY_HAVE_ARRIVED}", permanent=True)
        return DeliveryError(str(error), after=max(error.after or 0.0, REROUTE_AFTER.total_seconds()))

    def _failed(self, notification: Notification, error: DeliveryError, number: int) -> None:
        self._meters.add(SENT, channel=self.name, outcome="rejected" if error.permanent else "failed")
        fields = {**queued_notifications.log_fields(self.name, notification, number), "error": redact_text(str(error))}
        if error.permanent:
            log.error("notification rejected", **fields)
        elif number <= 1 or self.failure is None or self.failure.message != str(error):
            log.warning("notification failed", **fields)
        else:
            log.debug("notification failed again", **fields)

    def _record_failure(self, connection: Connection, queued: OutboxMessage, error: DeliveryError) -> None:
        """Record a failed attempt; what is rejected or fails for long is rerouted too."""
        now, notification = self._tools.clock.now(), parse_notification(queued)
        attempt = self._attempts.pop(queued.key, DeliveryAttempt())
        self._failed(notification, error, queued.attempts)
        repository.record_channel_failure(connection, self.name, str(error), now, permanent=error.permanent)
        repository.record_recipients(connection, self.name, attempt, now)
        queued_notifications.record_attempt(connection, queued, self.channel, attempt, self._unconfirmed[queued.key])
        if error.permanent:
            failed = Delivery.of(notification, self.name, now, redact_text(str(error))[:300])
            event_log.append(connection, DELIVERY_TOPIC, failed.as_dict(), now)
        if error.permanent or now - queued.enqueued >= REROUTE_AFTER:
            self._reroute(connection, queued, str(error))

    def _reroute(self, connection: Connection, queued: OutboxMessage, why: str) -> None:
        """Put a message in another channel's queue too, if there is one."""
        now = self._tools.clock.now()
        try:
            if self._fallback and reroute(connection, queued, self.name, self._fallback, why, now):
                self._has_rerouted = True
        except outbox.UnreadableMessageError as error:
            outbox.quarantine_message(connection, queued, error, now)
