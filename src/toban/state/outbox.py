"""
The spool: the one way to send with retry.

A parcel is put in the transaction that decides on it, claimed by lease, sent, and marked: a crash between sending and
marking costs a repetition under the same key, never a loss. In = out + dropped (with a reason) + waiting, always.
Parcels of the same line leave in the order in which they were put: the end of a story never arrives before its start.
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
    ColumnElement,
    Connection,
    Index,
    Integer,
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
    "spool",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("lane", SafeString(200), nullable=False),
    Column("key", SafeString(200), nullable=False),
    Column("body", Json, nullable=False),
    Column("put", Timestamp, nullable=False),
    Column("due", Timestamp, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("trouble", SafeString(1000), nullable=False),
    Column("line", SafeString(200), nullable=False, server_default=""),
    Column("lent", Boolean, nullable=False, server_default=false()),
    Index("spool_due", "lane", "due", "id"),
    Index("spool_line", "lane", "line", "id"),
)
ENDED: Final = Table(
    "spool_ended",
    metadata,
    Column("lane", SafeString(200), primary_key=True),
    Column("outcome", SafeString(200), primary_key=True),
    Column("many", Id, nullable=False),
)
SENT: Final = "sent"


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """Something on its way. ``key`` stays the same over all tries, so that its receiver can tell a repetition."""

    id: int
    queue: str
    key: str
    body: Any
    enqueued: datetime
    due: datetime
    attempts: int
    ordering_key: str = ""


class UnreadableMessageError(TobanError):
    """What a parcel holds can't be read: it is put in quarantine, and those behind it go on."""


Finish = Callable[[Connection], None]
"""What is to be written in the transaction that marks a parcel as sent."""

Troubled = Callable[[Connection, OutboxMessage, DeliveryError], None]
"""What is to be written in the transaction that postpones a parcel or gives it up."""


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """What waits on a lane, and the last trouble with it."""

    size: int = 0
    since: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """What became of a lane's parcels: ``enqueued`` = ``sent`` + ``dropped`` + ``waiting``."""

    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def enqueued(self) -> int:
        """How many were ever put."""
        return self.sent + sum(self.dropped.values()) + self.waiting


def enqueue(connection: Connection, lane: str, key: str, body: Any, now: datetime, line: str = "") -> None:
    """Take something to be sent; after what was put on the same ``line`` of this lane before, if it names one."""
    connection.execute(
        insert(OUTBOX).values(lane=lane, key=key, body=body, put=now, due=now, tries=0, trouble="", line=line)
    )


def claim(connection: Connection, lane: str, now: datetime, lease: timedelta, limit: int = 1) -> list[OutboxMessage]:
    """
    Lend the oldest parcels that are due; who does not mark them within the lease loses them to the next.

    What was put by a clock that was set back since is due at once.
    """
    ahead = (OUTBOX.c.lane == lane) & (OUTBOX.c.put > now) & OUTBOX.c.lent.is_(False)
    connection.execute(update(OUTBOX).where(ahead).values(put=now, due=now))
    due = (
        select(OUTBOX).where(OUTBOX.c.lane == lane, OUTBOX.c.due <= now, _its_turn()).order_by(OUTBOX.c.id).limit(limit)
    )
    parcels = [
        OutboxMessage(row.id, row.lane, row.key, row.body, row.put, now + lease, row.tries + 1, row.line)
        for row in connection.execute(due.with_for_update(skip_locked=True, of=OUTBOX))
    ]
    for parcel in parcels:
        connection.execute(
            update(OUTBOX).where(OUTBOX.c.id == parcel.id).values(due=parcel.due, tries=parcel.attempts, lent=True)
        )
    return parcels


def release_leases(connection: Connection, lane: str, now: datetime) -> None:
    """Make due at once what is lent, for whoever knows that nobody has it: those who had it are dead."""
    connection.execute(
        update(OUTBOX).where(OUTBOX.c.lane == lane, OUTBOX.c.lent, OUTBOX.c.due > now).values(due=now, lent=False)
    )


def update_body(connection: Connection, parcel: OutboxMessage, body: Any) -> None:
    """Change what waits to be sent: what a try brought is known at the next one, also after a restart."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == parcel.id).values(body=body))


def _its_turn() -> ColumnElement[bool]:
    """Return the condition that nothing older waits on a parcel's line."""
    older = OUTBOX.alias("older")
    return (OUTBOX.c.line == "") | ~exists().where(
        older.c.lane == OUTBOX.c.lane, older.c.line == OUTBOX.c.line, older.c.id < OUTBOX.c.id
    )


def mark_delivered(connection: Connection, parcel: OutboxMessage) -> None:
    """Note that the receiver has it."""
    _end(connection, parcel, SENT)


def drop(connection: Connection, parcel: OutboxMessage, reason: str) -> None:
    """Give up on it; the reason is counted, so it comes from a short list."""
    _end(connection, parcel, f"dropped: {reason}")


def quarantine_message(connection: Connection, parcel: OutboxMessage, error: Exception, now: datetime) -> None:
    """Put a parcel that can't be read in quarantine."""
    quarantine.keep(connection, OUTBOX.name, f"{parcel.queue} {parcel.key}", parcel.body, error, now)
    drop(connection, parcel, "unreadable")


def postpone(connection: Connection, parcel: OutboxMessage, until: datetime, trouble: str) -> None:
    """Try again later."""
    connection.execute(
        update(OUTBOX).where(OUTBOX.c.id == parcel.id).values(due=until, trouble=trouble[:1000], lent=False)
    )


def counts(connection: Connection, lane: str) -> QueueCounts:
    """Count what became of a lane's parcels."""
    ended = {
        row.outcome: row.many
        for row in connection.execute(select(ENDED.c.outcome, ENDED.c.many).where(ENDED.c.lane == lane))
    }
    waiting = connection.execute(select(func.count()).where(OUTBOX.c.lane == lane)).scalar_one()
    sent = ended.pop(SENT, 0)
    return QueueCounts(sent, {outcome.removeprefix("dropped: "): many for outcome, many in ended.items()}, waiting)


def backlog(connection: Connection, lane: str) -> QueueBacklog:
    """Return what waits on a lane, since when, and what the oldest of it last met."""
    many = connection.execute(select(func.count()).where(OUTBOX.c.lane == lane)).scalar_one()
    oldest = connection.execute(
        select(OUTBOX.c.put, OUTBOX.c.trouble).where(OUTBOX.c.lane == lane).order_by(OUTBOX.c.id).limit(1)
    ).first()
    return QueueBacklog(many, oldest.put, oldest.trouble) if oldest else QueueBacklog()


def overdue(connection: Connection, lane: str, before: datetime) -> list[tuple[OutboxMessage, str]]:
    """Return what was put before a time, was tried, and still waits, each with its last trouble."""
    rows = connection.execute(
        select(OUTBOX).where(OUTBOX.c.lane == lane, OUTBOX.c.put <= before, OUTBOX.c.tries > 0).order_by(OUTBOX.c.id)
    )
    return [
        (OutboxMessage(row.id, row.lane, row.key, row.body, row.put, row.due, row.tries, row.line), row.trouble)
        for row in rows
    ]


def is_pending(connection: Connection, lane: str, line: str) -> bool:
    """Tell whether something waits on a line of a lane."""
    return (
        connection.execute(select(OUTBOX.c.id).where(OUTBOX.c.lane == lane, OUTBOX.c.line == line)).first() is not None
    )


def peek(connection: Connection, lane: str, limit: int = 100) -> list[OutboxMessage]:
    """Return the oldest parcels of a lane, due or not, without claiming them: for when nothing can be written."""
    rows = connection.execute(select(OUTBOX).where(OUTBOX.c.lane == lane).order_by(OUTBOX.c.id).limit(limit))
    return [OutboxMessage(row.id, row.lane, row.key, row.body, row.put, row.due, row.tries, row.line) for row in rows]


def queues(connection: Connection, prefix: str) -> list[str]:
    """Return the lanes on which something waits and whose names begin so."""
    found = connection.execute(
        select(OUTBOX.c.lane).where(OUTBOX.c.lane.startswith(prefix, autoescape=True)).distinct()
    )
    return sorted(found.scalars())


def next_due(connection: Connection, lane: str) -> datetime | None:
    """Return when the next parcel of a lane is due; nothing when none waits."""
    return connection.execute(select(func.min(OUTBOX.c.due)).where(OUTBOX.c.lane == lane, _its_turn())).scalar()


def _end(connection: Connection, parcel: OutboxMessage, outcome: str) -> None:
    # Only who removes it counts it: a lease that ran out may let two senders mark the same parcel.
    if connection.execute(delete(OUTBOX).where(OUTBOX.c.id == parcel.id)).rowcount == 0:
        return
    row = (ENDED.c.lane == parcel.queue) & (ENDED.c.outcome == outcome)
    if connection.execute(update(ENDED).where(row).values(many=ENDED.c.many + 1)).rowcount == 0:
        connection.execute(insert(ENDED).values(lane=parcel.queue, outcome=outcome, many=1))


async def drain(
    state: State,
    lane: str,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    *,
    clock: Clock,
    lease: timedelta = timedelta(minutes=1),
    limit: timedelta | None = None,
    troubled: Troubled | None = None,
    treat: Callable[[OutboxMessage, Coroutine[Any, Any, None]], Awaitable[None]] | None = None,
) -> int:
    """
    Send what is due on a lane, one after the other; return how many tries that took.

    ``send`` raises ``DeliveryError`` when it did not work: permanent ones are dropped, others tried again later; what
    ``troubled`` writes is written with that. What ``send`` returns is done in the transaction that marks the parcel as
    sent. It raises `UnreadableMessageError` for a parcel that goes into quarantine. A try ends after ``limit``, which
    is the lease unless given; one that takes longer than its lease renews it. ``treat`` is given each parcel with
    what is to be done with it, and may let that go on beside those that follow. Raises ``StateError`` when state is
    away.
    """
    tries = 0
    while claimed := await state.transaction(partial(claim, lane=lane, now=clock.now(), lease=lease)):
        for parcel in claimed:
            tries += 1
            treatment = _treated(state, parcel, send, lease, limit or lease, clock, troubled)
            await (treat(parcel, treatment) if treat else treatment)
            raise_if_cancelled()
    return tries


async def _treated(
    state: State,
    parcel: OutboxMessage,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    lease: timedelta,
    limit: timedelta,
    clock: Clock,
    troubled: Troubled | None,
) -> None:
    """Try to send a parcel, and mark it."""
    async with _held(state, parcel, lease, clock):
        finish = await _tried(parcel, send, limit, clock, troubled)
    await state.transaction(finish)


@asynccontextmanager
async def _held(state: State, parcel: OutboxMessage, lease: timedelta, clock: Clock) -> AsyncIterator[None]:
    """Renew a parcel's lease as long as the block lasts: nobody else sends it meanwhile, however long it takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                await state.transaction(partial(_renew, parcel=parcel, due=clock.now() + lease))
            except StateError as error:
                log.debug("a lease was not renewed", lane=parcel.queue, error=str(error))

    renewing = asyncio.create_task(renew(), name=f"lease {parcel.queue}")
    try:
        yield
    finally:
        renewing.cancel()
        # It may be in the middle of a transaction, which must not come after the one that marks the parcel.
        await asyncio.wait([renewing])


def _renew(connection: Connection, parcel: OutboxMessage, due: datetime) -> None:
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == parcel.id, OUTBOX.c.lent).values(due=due))


async def _tried(
    parcel: OutboxMessage,
    send: Callable[[OutboxMessage], Awaitable[Finish | None]],
    limit: timedelta,
    clock: Clock,
    troubled: Troubled | None,
) -> Finish:
    """Try to send a parcel and return how to mark it."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            finish = await send(parcel)
    except UnreadableMessageError as caught:
        log.exception("a parcel can't be read: it is put in quarantine", lane=parcel.queue)
        return partial(quarantine_message, parcel=parcel, error=caught, now=clock.now())
    except DeliveryError as caught:
        error = caught
    except TimeoutError:
        error = DeliveryError(f"no end after {limit}")
    else:
        return _both(finish, partial(mark_delivered, parcel=parcel))

    def tell(connection: Connection) -> None:
        if troubled:
            troubled(connection, parcel, error)

    if error.permanent:
        return _both(tell, partial(drop, parcel=parcel, reason="refused"))
    wait = retry_delay(parcel.attempts, error.after, random.random())  # noqa: S311  # spreading retries is no secret
    return _both(tell, partial(postpone, parcel=parcel, until=clock.now() + wait, trouble=str(error)))


def _both(first: Finish | None, second: Finish) -> Finish:
    def work(connection: Connection) -> None:
        if first:
            first(connection)
        second(connection)

    return work
