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
from toban.collect.collector import Collector, Look
from toban.collect.event_stream import Counting, Known, Stream
from toban.collect.job_metrics import Ended
from toban.collect.log_once import Told
from toban.collect.sql_metrics import is_due
from toban.collect.tools import Tools
from toban.core.config_types import Duration
from toban.core.errors import CollectError, StateError
from toban.core.samples import Sample, milliseconds, moment
from toban.shop.connections import Shop
from toban.shop.redis import Reason, Redis, RedisError

GRANTS: Final = "+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore"
"""What a user wants to see jobs."""

SCRIPT: Final = Path(__file__).with_suffix(".lua").read_text("utf-8")

BOOK: Final = job_metrics.jobs_in("bullmq")

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

    every: Duration = timedelta(minutes=1)

    prefix: str = "bull"
    """What the queue's keys begin with."""

    queue: str = "vendure-job-queue"
    """The name of the queue in Redis: Vendure has one for all of its own."""

    _counting: Counting = PrivateAttr(default_factory=Counting)
    _told: Told = PrivateAttr(default_factory=Told)
    _absent: float | None = PrivateAttr(default=None)

    def address_in(self, shop: Shop) -> str:
        """Return where the server is."""
        return shop.redis.address if shop.redis else ""

    async def collect(self, tools: Tools) -> Look:
        """Return how the queues stand, and count the jobs that ended since the last look."""
        redis = tools.shop.redis
        if redis is None:
            raise CollectError(f"{self.name}: there is no shop.redis to look at")
        asked = tools.clock.monotonic()
        if self._absent is not None and not is_due(self._absent, ABSENT_EVERY, self.every, asked):
            return Look()
        now, position, troubles = moment(milliseconds(tools.clock.now())), None, list[str]()
        if tools.state:
            began = now - HISTORY
            try:
                position = await tools.state.transaction(lambda at: books.position(at, BOOK.name, began))
            except StateError as error:
                troubles.append(f"{self.name}: jobs wait to be counted: {error}")
        try:
            found = await self._ask(redis, backfill.again_from(position, BOOK.margin, now) if position else now)
        except RedisError as error:
            # Who was never let in may have no queue there at all; `redis` says how the server is.
            if not never_let_in(error) or (position and position.until > position.began):
                raise
            self._told.note(self.name, "jobs", unseen(error))
            return Look()
        self._told.note(self.name, "jobs")
        if found is None:
            self._absent = asked
            return Look(notes=["there is no queue of BullMQ: the shop's jobs wait elsewhere"])
        self._absent = None
        stands, ended = found
        if not tools.state or not position:
            return Look(list(standing(stands, set(), now)), trouble="; ".join(troubles))
        target = {**self.target, "instance": self.instance or self.address_in(tools.shop)}
        counted = await self._counting.count([stream(ended, now)], tools.state, tools, target, self.every, now)
        if counted.trouble:
            troubles.append(f"{self.name}: jobs wait to be counted: {counted.trouble}")
        known = job_metrics.queues_of([*counted.standing, *counted.batches][-1:])
        return Look(
            list(standing(stands, known, now)),
            counted.batches,
            "; ".join(troubles),
            standing=counted.standing,
            stored=counted.stored,
        )

    async def check(self, tools: Tools) -> Look:
        """Say whether there is a queue, counting nothing."""
        if tools.shop.redis is None:
            raise CollectError(f"{self.name}: there is no shop.redis to look at")
        now = tools.clock.now()
        try:
            found = await self._ask(tools.shop.redis, now)
        except RedisError as error:
            if not never_let_in(error):
                raise
            return Look(notes=[unseen(error)])
        if found is None:
            return Look(notes=["there is no queue of BullMQ: the shop's jobs wait elsewhere"])
        return Look(list(standing(found[0], set(), now)))

    async def _ask(self, redis: Redis, since: datetime) -> tuple[list[Stand], list[Ended]] | None:
        """Return how each queue stands, and the jobs that ended since a time; nothing, where there is no queue."""
        key = f"{self.prefix}:{self.queue}:"
        found = await redis.ask("EVAL", SCRIPT, "0", key, str(APART), str(milliseconds(since)), str(ENDED))
        if found is None:
            return None
        stands, ended = found
        return [_stand(row) for row in stands], [_ended(row) for row in ended]


def never_let_in(error: RedisError) -> bool:
    """Tell whether this user has none of the rights that are wanted, rather than too few."""
    return error.reason is Reason.NO_PRIVILEGE and re.search(r"'(eval|select)'", str(error)) is not None


def unseen(error: RedisError) -> str:
    """Say that jobs can't be seen, and what would show them."""
    return f"jobs in Redis can't be seen: {error}; all that is wanted: {GRANTS} %R~bull:*"


def stream(ended: Sequence[Ended], read_at: datetime) -> Stream:
    """Return the stream of jobs that ended, as they were read at once; what was not read is read next time."""
    end = read_until(ended, read_at)

    async def read(known: Known, now: datetime) -> Slice:
        since = known.position.until
        until = min(backfill.reach(since, now, STEPS), max(end, since))
        return Slice([one for one in ended if one.at <= until or until == now], until)

    return Stream(BOOK, HISTORY, read)


def read_until(ended: Sequence[Ended], now: datetime) -> datetime:
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


def _ended(row: Sequence[Any]) -> Ended:
    key, at, failed, tries, queue = row
    return Ended(_text(key), moment(int(float(at))), _text(queue), bool(failed), int(tries))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
