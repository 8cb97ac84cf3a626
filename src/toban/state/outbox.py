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

from toban.core.backoff import pause
from toban.core.errors import DeliveryError, StateError, TobanError
from toban.core.periodic import obey
from toban.core.ports import Clock
from toban.state import quarantine
from toban.state.column_types import Id, Json, Moment, SafeString, metadata
from toban.state.database import State

log = structlog.get_logger("toban.state")

SPOOL: Final = Table(
    "spool",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("lane", SafeString(200), nullable=False),
    Column("key", SafeString(200), nullable=False),
    Column("body", Json, nullable=False),
    Column("put", Moment, nullable=False),
    Column("due", Moment, nullable=False),
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
class Parcel:
    """Something on its way. ``key`` stays the same over all tries, so that its receiver can tell a repetition."""

    id: int
    lane: str
    key: str
    body: Any
    put: datetime
    due: datetime
    tries: int
    line: str = ""


class UnreadableParcelError(TobanError):
    """What a parcel holds can't be read: it is put in quarantine, and those behind it go on."""


Finish = Callable[[Connection], None]
"""What is to be written in the transaction that marks a parcel as sent."""

Troubled = Callable[[Connection, Parcel, DeliveryError], None]
"""What is to be written in the transaction that postpones a parcel or gives it up."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits on a lane, and the last trouble with it."""

    many: int = 0
    since: datetime | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a lane's parcels: ``taken`` = ``sent`` + ``dropped`` + ``waiting``."""

    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0

    @property
    def taken(self) -> int:
        """How many were ever put."""
        return self.sent + sum(self.dropped.values()) + self.waiting


def put(connection: Connection, lane: str, key: str, body: Any, now: datetime, line: str = "") -> None:
    """Take something to be sent; after what was put on the same ``line`` of this lane before, if it names one."""
    connection.execute(
        insert(SPOOL).values(lane=lane, key=key, body=body, put=now, due=now, tries=0, trouble="", line=line)
    )


def claim(connection: Connection, lane: str, now: datetime, lease: timedelta, limit: int = 1) -> list[Parcel]:
    """
    Lend the oldest parcels that are due; who does not mark them within the lease loses them to the next.

    What was put by a clock that was set back since is due at once.
    """
    ahead = (SPOOL.c.lane == lane) & (SPOOL.c.put > now) & SPOOL.c.lent.is_(False)
    connection.execute(update(SPOOL).where(ahead).values(put=now, due=now))
    due = select(SPOOL).where(SPOOL.c.lane == lane, SPOOL.c.due <= now, _its_turn()).order_by(SPOOL.c.id).limit(limit)
    parcels = [
        Parcel(row.id, row.lane, row.key, row.body, row.put, now + lease, row.tries + 1, row.line)
        for row in connection.execute(due.with_for_update(skip_locked=True, of=SPOOL))
    ]
    for parcel in parcels:
        connection.execute(
            update(SPOOL).where(SPOOL.c.id == parcel.id).values(due=parcel.due, tries=parcel.tries, lent=True)
        )
    return parcels


def take_back(connection: Connection, lane: str, now: datetime) -> None:
    """Make due at once what is lent, for whoever knows that nobody has it: those who had it are dead."""
    connection.execute(
        update(SPOOL).where(SPOOL.c.lane == lane, SPOOL.c.lent, SPOOL.c.due > now).values(due=now, lent=False)
    )


def rewrite(connection: Connection, parcel: Parcel, body: Any) -> None:
    """Change what waits to be sent: what a try brought is known at the next one, also after a restart."""
    connection.execute(update(SPOOL).where(SPOOL.c.id == parcel.id).values(body=body))


def _its_turn() -> ColumnElement[bool]:
    """Return the condition that nothing older waits on a parcel's line."""
    older = SPOOL.alias("older")
    return (SPOOL.c.line == "") | ~exists().where(
        older.c.lane == SPOOL.c.lane, older.c.line == SPOOL.c.line, older.c.id < SPOOL.c.id
    )


def mark_sent(connection: Connection, parcel: Parcel) -> None:
    """Note that the receiver has it."""
    _end(connection, parcel, SENT)


def drop(connection: Connection, parcel: Parcel, reason: str) -> None:
    """Give up on it; the reason is counted, so it comes from a short list."""
    _end(connection, parcel, f"dropped: {reason}")


def quarantined(connection: Connection, parcel: Parcel, error: Exception, now: datetime) -> None:
    """Put a parcel that can't be read in quarantine."""
    quarantine.keep(connection, SPOOL.name, f"{parcel.lane} {parcel.key}", parcel.body, error, now)
    drop(connection, parcel, "unreadable")


def postpone(connection: Connection, parcel: Parcel, until: datetime, trouble: str) -> None:
    """Try again later."""
    connection.execute(
        update(SPOOL).where(SPOOL.c.id == parcel.id).values(due=until, trouble=trouble[:1000], lent=False)
    )


def tally(connection: Connection, lane: str) -> Tally:
    """Count what became of a lane's parcels."""
    ended = {
        row.outcome: row.many
        for row in connection.execute(select(ENDED.c.outcome, ENDED.c.many).where(ENDED.c.lane == lane))
    }
    waiting = connection.execute(select(func.count()).where(SPOOL.c.lane == lane)).scalar_one()
    sent = ended.pop(SENT, 0)
    return Tally(sent, {outcome.removeprefix("dropped: "): many for outcome, many in ended.items()}, waiting)


def waiting(connection: Connection, lane: str) -> Waiting:
    """Return what waits on a lane, since when, and what the oldest of it last met."""
    many = connection.execute(select(func.count()).where(SPOOL.c.lane == lane)).scalar_one()
    oldest = connection.execute(
        select(SPOOL.c.put, SPOOL.c.trouble).where(SPOOL.c.lane == lane).order_by(SPOOL.c.id).limit(1)
    ).first()
    return Waiting(many, oldest.put, oldest.trouble) if oldest else Waiting()


def late(connection: Connection, lane: str, before: datetime) -> list[tuple[Parcel, str]]:
    """Return what was put before a time, was tried, and still waits, each with its last trouble."""
    rows = connection.execute(
        select(SPOOL).where(SPOOL.c.lane == lane, SPOOL.c.put <= before, SPOOL.c.tries > 0).order_by(SPOOL.c.id)
    )
    return [
        (Parcel(row.id, row.lane, row.key, row.body, row.put, row.due, row.tries, row.line), row.trouble)
        for row in rows
    ]


def stands(connection: Connection, lane: str, line: str) -> bool:
    """Tell whether something waits on a line of a lane."""
    return connection.execute(select(SPOOL.c.id).where(SPOOL.c.lane == lane, SPOOL.c.line == line)).first() is not None


def peek(connection: Connection, lane: str, limit: int = 100) -> list[Parcel]:
    """Return the oldest parcels of a lane, due or not, without claiming them: for when nothing can be written."""
    rows = connection.execute(select(SPOOL).where(SPOOL.c.lane == lane).order_by(SPOOL.c.id).limit(limit))
    return [Parcel(row.id, row.lane, row.key, row.body, row.put, row.due, row.tries, row.line) for row in rows]


def lanes(connection: Connection, prefix: str) -> list[str]:
    """Return the lanes on which something waits and whose names begin so."""
    found = connection.execute(select(SPOOL.c.lane).where(SPOOL.c.lane.startswith(prefix, autoescape=True)).distinct())
    return sorted(found.scalars())


def next_due(connection: Connection, lane: str) -> datetime | None:
    """Return when the next parcel of a lane is due; nothing when none waits."""
    return connection.execute(select(func.min(SPOOL.c.due)).where(SPOOL.c.lane == lane, _its_turn())).scalar()


def _end(connection: Connection, parcel: Parcel, outcome: str) -> None:
    # Only who removes it counts it: a lease that ran out may let two senders mark the same parcel.
    if connection.execute(delete(SPOOL).where(SPOOL.c.id == parcel.id)).rowcount == 0:
        return
    row = (ENDED.c.lane == parcel.lane) & (ENDED.c.outcome == outcome)
    if connection.execute(update(ENDED).where(row).values(many=ENDED.c.many + 1)).rowcount == 0:
        connection.execute(insert(ENDED).values(lane=parcel.lane, outcome=outcome, many=1))


async def work_off(
    state: State,
    lane: str,
    send: Callable[[Parcel], Awaitable[Finish | None]],
    *,
    clock: Clock,
    lease: timedelta = timedelta(minutes=1),
    limit: timedelta | None = None,
    troubled: Troubled | None = None,
    treat: Callable[[Parcel, Coroutine[Any, Any, None]], Awaitable[None]] | None = None,
) -> int:
    """
    Send what is due on a lane, one after the other; return how many tries that took.

    ``send`` raises ``DeliveryError`` when it did not work: permanent ones are dropped, others tried again later; what
    ``troubled`` writes is written with that. What ``send`` returns is done in the transaction that marks the parcel as
    sent. It raises `UnreadableParcelError` for a parcel that goes into quarantine. A try ends after ``limit``, which
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
            obey()
    return tries


async def _treated(
    state: State,
    parcel: Parcel,
    send: Callable[[Parcel], Awaitable[Finish | None]],
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
async def _held(state: State, parcel: Parcel, lease: timedelta, clock: Clock) -> AsyncIterator[None]:
    """Renew a parcel's lease as long as the block lasts: nobody else sends it meanwhile, however long it takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease.total_seconds() / 3)
            try:
                await state.transaction(partial(_renew, parcel=parcel, due=clock.now() + lease))
            except StateError as error:
                log.debug("a lease was not renewed", lane=parcel.lane, error=str(error))

    renewing = asyncio.create_task(renew(), name=f"lease {parcel.lane}")
    try:
        yield
    finally:
        renewing.cancel()
        # It may be in the middle of a transaction, which must not come after the one that marks the parcel.
        await asyncio.wait([renewing])


def _renew(connection: Connection, parcel: Parcel, due: datetime) -> None:
    connection.execute(update(SPOOL).where(SPOOL.c.id == parcel.id, SPOOL.c.lent).values(due=due))


async def _tried(
    parcel: Parcel,
    send: Callable[[Parcel], Awaitable[Finish | None]],
    limit: timedelta,
    clock: Clock,
    troubled: Troubled | None,
) -> Finish:
    """Try to send a parcel and return how to mark it."""
    try:
        async with asyncio.timeout(limit.total_seconds()):
            finish = await send(parcel)
    except UnreadableParcelError as caught:
        log.exception("a parcel can't be read: it is put in quarantine", lane=parcel.lane)
        return partial(quarantined, parcel=parcel, error=caught, now=clock.now())
    except DeliveryError as caught:
        error = caught
    except TimeoutError:
        error = DeliveryError(f"no end after {limit}")
    else:
        return _both(finish, partial(mark_sent, parcel=parcel))

    def tell(connection: Connection) -> None:
        if troubled:
            troubled(connection, parcel, error)

    if error.permanent:
        return _both(tell, partial(drop, parcel=parcel, reason="refused"))
    wait = pause(parcel.tries, error.after, random.random())  # noqa: S311  # spreading retries is no secret
    return _both(tell, partial(postpone, parcel=parcel, until=clock.now() + wait, trouble=str(error)))


def _both(first: Finish | None, second: Finish) -> Finish:
    def work(connection: Connection) -> None:
        if first:
            first(connection)
        second(connection)

    return work
