"""The shop's jobs, where they wait in Redis."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import PrivateAttr

from toban.collect import backfill, job_metrics
from toban.collect import repository as books
from toban.collect.backfill import Slice
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.event_stream import EventCounter, EventStream, ReadState
from toban.collect.job_metrics import EndedJob
from toban.collect.log_once import LogOnce
from toban.collect.sql_metrics import is_due
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.errors import CollectError, StateError
from toban.core.samples import Sample, milliseconds, moment
from toban.shop.connections import ShopConnections
from toban.shop.redis import RedisError, RedisFailure, ShopRedis

GRANTS: Final = "+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore"
"""What a user wants to see jobs."""

SCRIPT: Final = Path(__file__).with_suffix(".lua").read_text("utf-8")

BOOK: Final = job_metrics.jobs_book("bullmq")

HISTORY: Final = timedelta(days=1)
"""How far back jobs are counted at a first start."""

APART: Final = 1000
"""How many jobs of a state are looked at; the rest counts as `other`."""

ENDED: Final = 2000
"""How many jobs that were done, and how many that were given up, are read at once."""

STEPS: Final = 1000

ABSENT_EVERY: Final = timedelta(minutes=10)
"""How often is asked for a queue that isn't there."""

STATES: Final = ("waiting", "running", "retrying")


@dataclass(frozen=True, slots=True)
class Stand:
    """
    How many jobs of a queue are in a state, and since when the oldest is; nothing, where nobody knows.

    A job that runs is as old as its run, any other as itself.
    """

    state: str
    queue: str
    count: int
    oldest: datetime | None


class Bullmq(Collector):
    """
    Read how many jobs wait, run and failed where Vendure keeps them in Redis (BullMQJobQueuePlugin).

    The numbers are those of `vendure_db` for jobs that wait in the database. A look is one command, an EVAL of a script
    that only reads, and never what jobs are about (their data); where there is no such queue, it is one in ten minutes.
    A user of its own wants `+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore` and `%R~bull:*`.
    """

    kind: Literal["bullmq"] = "bullmq"

    interval: Duration = timedelta(minutes=1)

    prefix: str = "bull"
    """What the queue's keys begin with."""

    queue: str = "vendure-job-queue"
    """The name of the queue in Redis: Vendure has one for all of its own."""

    _counting: EventCounter = PrivateAttr(default_factory=EventCounter)
    _told: LogOnce = PrivateAttr(default_factory=LogOnce)
    _absent: float | None = PrivateAttr(default=None)

    def address_in(self, shop: ShopConnections) -> str:
        """Return where the server is."""
        return shop.redis.address if shop.redis else ""

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return how the queues stand, and count the jobs that ended since the last look."""
        redis = tools.shop.redis
        if redis is None:
            raise CollectError(f"{self.name}: there is no shop.redis to look at")
        asked = tools.clock.monotonic()
        if self._absent is not None and not is_due(self._absent, ABSENT_EVERY, self.interval, asked):
            return ScrapeResult()
        now, position, troubles = moment(milliseconds(tools.clock.now())), None, list[str]()
        if tools.state:
            began = now - HISTORY
            try:
                position = await tools.state.transaction(lambda at: books.position(at, BOOK.name, began))
            except StateError as error:
                troubles.append(f"{self.name}: jobs wait to be counted: {error}")
        try:
            found = await self._ask(redis, backfill.reread_from(position, BOOK.margin, now) if position else now)
        except RedisError as error:
            # Who was never let in may have no queue there at all; `redis` says how the server is.
            if not never_let_in(error) or (position and position.until > position.began):
                raise
            self._told.update(self.name, "jobs", unseen(error))
            return ScrapeResult()
        self._told.update(self.name, "jobs")
        if found is None:
            self._absent = asked
            return ScrapeResult(notes=["there is no queue of BullMQ: the shop's jobs wait elsewhere"])
        self._absent = None
        stands, ended = found
        if not tools.state or not position:
            return ScrapeResult(list(standing(stands, set(), now)), error="; ".join(troubles))
        target = {**self.target, "instance": self.instance or self.address_in(tools.shop)}
        counted = await self._counting.count([stream(ended, now)], tools.state, tools, target, self.interval, now)
        if counted.trouble:
            troubles.append(f"{self.name}: jobs wait to be counted: {counted.trouble}")
        known = job_metrics.counted_queues([*counted.standing, *counted.batches][-1:])
        return ScrapeResult(
            list(standing(stands, known, now)),
            counted.batches,
            "; ".join(troubles),
            unchanged=counted.standing,
            stored=counted.stored,
        )

    async def check(self, tools: CollectorTools) -> ScrapeResult:
        """Say whether there is a queue, counting nothing."""
        if tools.shop.redis is None:
            raise CollectError(f"{self.name}: there is no shop.redis to look at")
        now = tools.clock.now()
        try:
            found = await self._ask(tools.shop.redis, now)
        except RedisError as error:
            if not never_let_in(error):
                raise
            return ScrapeResult(notes=[unseen(error)])
        if found is None:
            return ScrapeResult(notes=["there is no queue of BullMQ: the shop's jobs wait elsewhere"])
        return ScrapeResult(list(standing(found[0], set(), now)))

    async def _ask(self, redis: ShopRedis, since: datetime) -> tuple[list[Stand], list[EndedJob]] | None:
        """Return how each queue stands, and the jobs that ended since a time; nothing, where there is no queue."""
        key = f"{self.prefix}:{self.queue}:"
        found = await redis.ask("EVAL", SCRIPT, "0", key, str(APART), str(milliseconds(since)), str(ENDED))
        if found is None:
            return None
        stands, ended = found
        return [_stand(row) for row in stands], [_ended(row) for row in ended]


def never_let_in(error: RedisError) -> bool:
    """Tell whether this user has none of the rights that are wanted, rather than too few."""
    return error.reason is RedisFailure.NO_PRIVILEGE and re.search(r"'(eval|select)'", str(error)) is not None


def unseen(error: RedisError) -> str:
    """Say that jobs can't be seen, and what would show them."""
    return f"jobs in Redis can't be seen: {error}; all that is wanted: {GRANTS} %R~bull:*"


def stream(ended: Sequence[EndedJob], read_at: datetime) -> EventStream:
    """Return the stream of jobs that ended, as they were read at once; what was not read is read next time."""
    end = read_until(ended, read_at)

    async def read(known: ReadState, now: datetime) -> Slice:
        since = known.position.until
        until = min(backfill.slice_end(since, now, STEPS), max(end, since))
        return Slice([one for one in ended if one.at <= until or until == now], until)

    return EventStream(BOOK, HISTORY, read)


def read_until(ended: Sequence[EndedJob], now: datetime) -> datetime:
    """Return up to when all jobs that ended were read: the last of as many of a sort as are read at once, or now."""
    ends = [now]
    for failed in (False, True):
        of_sort = [one.at for one in ended if one.failed is failed]
        if len(of_sort) >= ENDED:
            ends.append(max(of_sort))
    return min(ends)


def standing(stands: Sequence[Stand], known: set[str], now: datetime) -> Iterator[Sample]:
    """Return how each queue stands: those that have jobs in a state, and those that are ``known`` to have had any."""
    for queue in sorted({*known, *(stand.queue for stand in stands)}):
        own = [stand for stand in stands if stand.queue == queue]
        waiting, running, retrying = (sum(one.count for one in own if one.state == state) for state in STATES)
        waits, runs = (
            min((one.oldest for one in own if one.state == state and one.oldest), default=now)
            for state in ("waiting", "running")
        )
        ages = [max(0.0, (now - since).total_seconds()) for since in (waits, runs)]
        numbers = (waiting, ages[0], running, retrying, ages[1])
        for family, number in zip(job_metrics.STANDING, numbers, strict=True):
            yield family.sample(number, queue=queue)


def _stand(row: Sequence[Any]) -> Stand:
    state, queue, count, oldest = row
    return Stand(_text(state), _text(queue), int(count), moment(int(oldest)) if int(oldest) else None)


def _ended(row: Sequence[Any]) -> EndedJob:
    key, at, failed, tries, queue = row
    return EndedJob(_text(key), moment(int(float(at))), _text(queue), bool(failed), int(tries))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
