"""
The transactional outbox: the one way to send with retry.

A message is enqueued in the transaction that decides on it, claimed by lease, sent, and recorded: a crash between
sending and recording costs a repetition under the same key, never a loss. In = out + dropped (with a reason) + waiting,
always. Messages with the same ordering key are sent in the order in which they were enqueued.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Table,
    delete,
    exists,
    false,
    func,
    insert,
    select,
    update,
)

from toban.core.backoff import retry_delay
from toban.core.errors import DeliveryError, StateError, TobanError
from toban.core.periodic import raise_if_cancelled
from toban.core.ports import Clock
from toban.state import quarantine
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.database import State

log = structlog.get_logger("toban.state")

OUTBOX: Final = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("queue", SafeString(200), nullable=False),
    Column("key", SafeString(200), nullable=False),
    Column("body", Json, nullable=False),
    Column("enqueued", Timestamp, nullable=False),
    Column("due", Timestamp, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", SafeString(1000), nullable=False),
    Column("ordering_key", SafeString(200), nullable=False, server_default=""),
    Column("leased", Boolean, nullable=False, server_default=false()),
    Index("outbox_due", "queue", "due", "id"),
    Index("outbox_ordering_key", "queue", "ordering_key", "id"),
)
FINISHED: Final = Table(
    "outbox_finished",
    metadata,
    Column("queue", SafeString(200), primary_key=True),
    Column("outcome", SafeString(200), primary_key=True),
    Column("messages", Id, nullable=False),
)
SENT: Final = "sent"

# Built once: every channel reads the outbox each second.
_OLDER: Final = OUTBOX.alias("older")
_IS_FIRST: Final = (OUTBOX.c.ordering_key == "") | ~exists().where(
    _OLDER.c.queue == OUTBOX.c.queue, _OLDER.c.ordering_key == OUTBOX.c.ordering_key, _OLDER.c.id < OUTBOX.c.id
)
"""The condition that no older message with the same ordering key waits."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to send. ``key`` stays the same over all attempts, so that its receiver can detect a repetition."""

    id: int
    queue: str
    key: str
    body: Any
    enqueued: datetime
    due: datetime
    attempts: int
    ordering_key: str = ""


class UnreadableMessageError(TobanError):
    """The body of a message can't be read: it is put in quarantine, and those behind it are sent."""


Finish = Callable[[Connection], None]
"""What is written in the transaction that records a message as sent."""

OnFailure = Callable[[Connection, OutboxMessage, DeliveryError], None]
"""What is written in the transaction that postpones or drops a message."""


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """The messages that wait in a queue, since when, and the last error of the oldest."""

    size: int = 0
    since: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The outcomes of a queue's messages: ``enqueued`` = ``sent`` + ``dropped`` + ``waiting``."""

    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def enqueued(self) -> int:
        """How many were ever enqueued."""
        return self.sent + sum(self.dropped.values()) + self.waiting


def _message(row: Row[Any]) -> OutboxMessage:
    return OutboxMessage(row.id, row.queue, row.key, row.body, row.enqueued, row.due, row.attempts, row.ordering_key)


def enqueue(connection: Connection, queue: str, key: str, body: Any, now: datetime, ordering_key: str = "") -> None:
    """Enqueue a message; it is sent after those with the same ordering key, if it has one."""
    connection.execute(
        insert(OUTBOX).values(
            queue=queue, key=key, body=body, enqueued=now, due=now, attempts=0, error="", ordering_key=ordering_key
        )
    )


def claim(connection: Connection, queue: str, now: datetime, lease: timedelta, limit: int = 1) -> list[OutboxMessage]:
    """
    Claim the oldest messages that are due; whoever does not record them within the lease loses them to the next.

    What was enqueued by a clock that was set back since is due at once.
    """
    ahead = (OUTBOX.c.queue == queue) & (OUTBOX.c.enqueued > now) & OUTBOX.c.leased.is_(False)
    connection.execute(update(OUTBOX).where(ahead).values(enqueued=now, due=now))
    due = (
        select(OUTBOX).where(OUTBOX.c.queue == queue, OUTBOX.c.due <= now, _IS_FIRST).order_by(OUTBOX.c.id).limit(limit)
    )
    messages = [
        OutboxMessage(
            row.id, row.queue, row.key, row.body, row.enqueued, now + lease, row.attempts + 1, row.ordering_key
        )
        for row in connection.execute(due.with_for_update(skip_locked=True, of=OUTBOX))
    ]
    for message in messages:
        connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.id == message.id)
            .values(due=message.due, attempts=message.attempts, leased=True)
        )
    return messages


def release_leases(connection: Connection, queue: str, now: datetime) -> None:
    """Make leased messages due at once, for a caller who knows that those who claimed them are dead."""
    connection.execute(
        update(OUTBOX).where(OUTBOX.c.queue == queue, OUTBOX.c.leased, OUTBOX.c.due > now).values(due=now, leased=False)
    )


def update_body(connection: Connection, message: OutboxMessage, body: Any) -> None:
    """Change a waiting message: the next attempt knows the result of this one, also after a restart."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == message.id).values(body=body))


def mark_delivered(connection: Connection, message: OutboxMessage) -> None:
    """Record that the receiver accepted a message."""
    _end(connection, message, SENT)


def drop(connection: Connection, message: OutboxMessage, reason: str) -> None:
    """Drop a message; reasons are counted, so they come from a short list."""
    _end(connection, message, f"dropped: {reason}")


def quarantine_message(connection: Connection, message: OutboxMessage, error: Exception, now: datetime) -> None:
    """Put a message that can't be read in quarantine."""
    quarantine.keep(connection, OUTBOX.name, f"{message.queue} {message.key}", message.body, error, now)
    drop(connection, message, "unreadable")


def postpone(connection: Connection, message: OutboxMessage, until: datetime, error: str) -> None:
    """Try again later."""
    connection.execute(
        update(OUTBOX).where(OUTBOX.c.id == message.id).values(due=until, error=error[:1000], leased=False)
    )


def counts(connection: Connection, queue: str) -> QueueCounts:
    """Count the outcomes of a queue's messages."""
    ended = {
        row.outcome: row.messages
        for row in connection.execute(select(FINISHED.c.outcome, FINISHED.c.messages).where(FINISHED.c.queue == queue))
    }
    waiting = connection.execute(select(func.count()).where(OUTBOX.c.queue == queue)).scalar_one()
    sent = ended.pop(SENT, 0)
    return QueueCounts(sent, {outcome.removeprefix("dropped: "): many for outcome, many in ended.items()}, waiting)


def backlog(connection: Connection, queue: str) -> QueueBacklog:
    """Return how many messages wait in a queue, since when, and the last error of the oldest."""
    many = connection.execute(select(func.count()).where(OUTBOX.c.queue == queue)).scalar_one()
    oldest = connection.execute(
        select(OUTBOX.c.enqueued, OUTBOX.c.error).where(OUTBOX.c.queue == queue).order_by(OUTBOX.c.id).limit(1)
    ).first()
    return QueueBacklog(many, oldest.enqueued, oldest.error) if oldest else QueueBacklog()


def overdue(connection: Connection, queue: str, before: datetime) -> list[tuple[OutboxMessage, str]]:
    """Return messages that were enqueued before a time, were attempted, and still wait, each with its last error."""
    rows = connection.execute(
        select(OUTBOX)
        .where(OUTBOX.c.queue == queue, OUTBOX.c.enqueued <= before, OUTBOX.c.attempts > 0)
        .order_by(OUTBOX.c.id)
    )
    return [(_message(row), row.error) for row in rows]


def is_pending(connection: Connection, queue: str, ordering_key: str) -> bool:
    """Tell whether a message with an ordering key waits in a queue."""
    return (
        connection.execute(
            select(OUTBOX.c.id).where(OUTBOX.c.queue == queue, OUTBOX.c.ordering_key == ordering_key)
        ).first()
        is not None
    )


def unclaimed(connection: Connection, queue_prefix: str, ordering_key: str) -> list[OutboxMessage]:
    """Return the messages with an ordering key, in queues whose names begin so, that nobody is sending now."""
    rows = connection.execute(
        select(OUTBOX)
        .where(
            OUTBOX.c.queue.startswith(queue_prefix, autoescape=True),
            OUTBOX.c.ordering_key == ordering_key,
            OUTBOX.c.leased.is_(False),
        )
        .order_by(OUTBOX.c.id)
    )
    return [_message(row) for row in rows]


def peek(connection: Connection, queue: str, limit: int = 100) -> list[OutboxMessage]:
    """Return the oldest messages of a queue, due or not, without claiming them: for when nothing can be written."""
    rows = connection.execute(select(OUTBOX).where(OUTBOX.c.queue == queue).order_by(OUTBOX.c.id).limit(limit))
    return [_message(row) for row in rows]


def queues(connection: Connection, prefix: str) -> list[str]:
    """Return the queues that are not empty and whose names begin so."""
    found = connection.execute(
        select(OUTBOX.c.queue).where(OUTBOX.c.queue.startswith(prefix, autoescape=True)).distinct()
    )
    return sorted(found.scalars())


def next_due(connection: Connection, queue: str) -> datetime | None:
    """Return when the next message of a queue is due; nothing when none waits."""
    return connection.execute(select(func.min(OUTBOX.c.due)).where(OUTBOX.c.queue == queue, _IS_FIRST)).scalar()


def _end(connection: Connection, message: OutboxMessage, outcome: str) -> None:
    # Whoever removes it counts it: after an expired lease two senders may record the same message.
    if connection.execute(delete(OUTBOX).where(OUTBOX.c.id == message.id)).rowcount == 0:
        return
    row = (FINISHED.c.queue == message.queue) & (FINISHED.c.outcome == outcome)
    if connection.execute(update(FINISHED).where(row).values(messages=FINISHED.c.messages + 1)).rowcount == 0:
        connection.execute(insert(FINISHED).values(queue=message.queue, outcome=outcome, messages=1))


async def drain(
    state: State,
    queue: str,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    *,
    clock: Clock,
    lease: timedelta = timedelta(minutes=1),
    limit: timedelta | None = None,
    on_failure: OnFailure | None = None,
    schedule: Callable[[OutboxMessage, Coroutine[Any, Any, None]], Awaitable[None]] | None = None,
) -> int:
    """
    Send what is due in a queue in order; return how many attempts that took.

    ``send`` raises ``DeliveryError`` for a failed attempt: permanent ones drop the message, others are retried with
    backoff; ``on_failure`` writes in the same transaction. What ``send`` returns writes in the transaction that records
    the message as sent. It raises `UnreadableMessageError` for a message that belongs in quarantine. An attempt ends
    after ``limit``, the lease by default; a longer one renews its lease. ``schedule`` awaits each delivery, or lets it
    continue concurrently with those behind it. Raises ``StateError``.
    """
    attempts = 0
    while claimed := await state.transaction(partial(claim, queue=queue, now=clock.now(), lease=lease)):
        for message in claimed:
            attempts += 1
            delivery = _deliver(state, message, send, lease, limit or lease, clock, on_failure)
            await (schedule(message, delivery) if schedule else delivery)
            raise_if_cancelled()
    return attempts


async def _deliver(
    state: State,
    message: OutboxMessage,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    lease: timedelta,
    limit: timedelta,
    clock: Clock,
    on_failure: OnFailure | None,
) -> None:
    """Attempt to send a message, and record the outcome."""
    async with _renewed_lease(state, message, lease, clock):
        finish = await _attempt(message, send, limit, clock, on_failure)
    await state.transaction(finish)


@asynccontextmanager
async def _renewed_lease(state: State, message: OutboxMessage, lease: timedelta, clock: Clock) -> AsyncIterator[None]:
    """Renew a message's lease as long as the block lasts: nobody else sends it, however long it takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                await state.transaction(partial(_renew, message=message, due=clock.now() + lease))
            except StateError as error:
                log.debug("lease not renewed", queue=message.queue, error=str(error))

    renewing = asyncio.create_task(renew(), name=f"lease {message.queue}")
    try:
        yield
    finally:
        renewing.cancel()
        # It may be in the middle of a transaction, which must not come after the one that records the message.
        await asyncio.wait([renewing])


def _renew(connection: Connection, message: OutboxMessage, due: datetime) -> None:
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == message.id, OUTBOX.c.leased).values(due=due))


async def _attempt(
    message: OutboxMessage,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    limit: timedelta,
    clock: Clock,
    on_failure: OnFailure | None,
) -> Finish:
    """Attempt to send a message; return how to record the outcome."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            finish = await send(message)
    except UnreadableMessageError as caught:
        log.exception("outbox message unreadable, moved to quarantine", queue=message.queue)
        return partial(quarantine_message, message=message, error=caught, now=clock.now())
    except DeliveryError as caught:
        error = caught
    except TimeoutError:
        error = DeliveryError(f"no response within {limit}")
    else:
        return _both(finish, partial(mark_delivered, message=message))

    def record_failure(connection: Connection) -> None:
        if on_failure:
            on_failure(connection, message, error)

    if error.permanent:
        return _both(record_failure, partial(drop, message=message, reason="rejected"))
    wait = retry_delay(message.attempts, error.after, random.random())  # noqa: S311  # spreading retries is no secret
    return _both(record_failure, partial(postpone, message=message, until=clock.now() + wait, error=str(error)))


def _both(first: Finish | None, second: Finish) -> Finish:
    def work(connection: Connection) -> None:
        if first:
            first(connection)
        second(connection)

    return work
