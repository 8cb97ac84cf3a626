"""The collector `bullmq`: the shop's job queue in Redis."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol

from toban.collect import backfill, job_metrics, repository
from toban.collect.backfill import Slice
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.event_stream import EventCounter, EventStream, ReadState
from toban.collect.intervals import is_due
from toban.collect.job_metrics import EndedJob
from toban.collect.log_once import LogOnce
from toban.collect.repository import ReadPosition
from toban.collect.tools import HasClock, HasMeters, HasShopRedis, HasState
from toban.core.config_types import Duration
from toban.core.errors import StateError
from toban.core.samples import Sample, milliseconds, moment
from toban.shop.redis import RedisError, RedisFailure

GRANTS: Final = "+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore"
"""The commands that a user needs to read jobs."""

SCRIPT: Final = Path(__file__).with_suffix(".lua").read_text("utf-8")

STREAM: Final = job_metrics.jobs_stream("bullmq")

BACKFILL: Final = timedelta(days=1)
"""How far back jobs are counted at the first start."""

NAMED_JOBS: Final = 1000
"""Jobs of a state whose queue is read; the rest counts as `other`."""

MAX_ENDED: Final = 2000
"""Completed jobs, and failed jobs, that are read at once."""

MAX_STEPS: Final = 1000

ABSENT_INTERVAL: Final = timedelta(minutes=10)
"""Interval of the check whether a missing queue exists."""

STATES: Final = ("waiting", "running", "retrying")

NO_QUEUE: Final = "there is no queue of BullMQ: the shop's jobs wait elsewhere"


@dataclass(frozen=True, slots=True)
class QueueState:
    """
    The number of jobs of a queue in a state, and since when the oldest is in it; None where that is unknown.

    Running jobs count from their start, others from when they were added.
    """

    state: str
    queue: str
    count: int
    oldest: datetime | None


class Tools(HasClock, HasMeters, HasShopRedis, HasState, Protocol):
    """What the collector uses."""


class Bullmq(Collector):
    """
    Read how many jobs wait, run and failed where Vendure keeps them in Redis (BullMQJobQueuePlugin).

    The metrics are those that `vendure_db` has for jobs in the database. A collection is one command, an EVAL of a
    read-only script that never reads the jobs' data; where there is no such queue, it is one in ten minutes. A user of
    its own needs `+eval +exists +hmget +lrange +llen +zrange +zcard +zrangebyscore` and `%R~bull:*`.
    """

    kind: Literal["bullmq"] = "bullmq"

    shop_part: ClassVar[Literal["redis"]] = "redis"

    interval: Duration = timedelta(minutes=1)

    prefix: str = "bull"
    """Prefix of the queue's keys."""

    queue: str = "vendure-job-queue"
    """Name of the queue in Redis: Vendure has one for all of its own."""

    def open(self, tools: Tools) -> Scraper:
        """Keep the counting of ended jobs, and when the queue was missing."""
        return BullmqScraper(self, tools)


class BullmqScraper(Scraper):
    """Reads the queue and counts the jobs that ended."""

    def __init__(self, collector: Bullmq, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._redis = tools.shop_redis
        self._state = tools.state
        self._counter = EventCounter(tools.state, tools.clock, tools.meters) if tools.state else None
        self._log = LogOnce(collector.name)
        self._absent_at: float | None = None

    async def collect(self) -> ScrapeResult:
        """Return the state of the queues, and count the jobs that ended since the last collection."""
        collector, started = self._collector, self._clock.monotonic()
        if self._absent_at is not None and not is_due(self._absent_at, ABSENT_INTERVAL, collector.interval, started):
            return ScrapeResult()
        now, errors = moment(milliseconds(self._clock.now())), list[str]()
        position = await self._position(now, errors)
        try:
            found = await self._read(backfill.reread_from(position, STREAM.lateness, now) if position else now)
        except RedisError as error:
            # A user without any of the permissions may have no queue there at all; `redis` reports the server's state.
            if not lacks_all_permissions(error) or (position and position.until > position.began):
                raise
            self._log.update("jobs", permission_note(error))
            return ScrapeResult()
        self._log.update("jobs")
        self._absent_at = started if found is None else None
        if found is None:
            return ScrapeResult(notes=[NO_QUEUE])
        states, ended = found
        if not self._counter or not position:
            return ScrapeResult(list(queue_samples(states, set(), now)), error="; ".join(errors))
        counted = await self._counter.count([job_stream(ended, now)], collector.target, collector.interval, now)
        if counted.error:
            errors.append(f"{collector.name}: jobs wait to be counted: {counted.error}")
        known = job_metrics.counted_queues([*counted.unchanged, *counted.batches][-1:])
        return ScrapeResult(
            list(queue_samples(states, known, now)),
            counted.batches,
            "; ".join(errors),
            unchanged=counted.unchanged,
            stored=counted.stored,
        )

    async def check(self) -> ScrapeResult:
        """Report whether there is a queue, and count nothing."""
        now = self._clock.now()
        try:
            found = await self._read(now)
        except RedisError as error:
            if not lacks_all_permissions(error):
                raise
            return ScrapeResult(notes=[permission_note(error)])
        if found is None:
            return ScrapeResult(notes=[NO_QUEUE])
        return ScrapeResult(list(queue_samples(found[0], set(), now)))

    async def _position(self, now: datetime, errors: list[str]) -> ReadPosition | None:
        """Return how far jobs were counted; None without state, or while it is unavailable."""
        if self._state is None:
            return None
        began = now - BACKFILL
        try:
            return await self._state.transaction(lambda at: repository.position(at, STREAM.name, began))
        except StateError as error:
            errors.append(f"{self._collector.name}: jobs wait to be counted: {error}")
            return None

    async def _read(self, since: datetime) -> tuple[list[QueueState], list[EndedJob]] | None:
        """Return the state of each queue, and the jobs that ended since a time; None where there is no queue."""
        key = f"{self._collector.prefix}:{self._collector.queue}:"
        given = (key, str(NAMED_JOBS), str(milliseconds(since)), str(MAX_ENDED))
        found = await self._redis.execute("EVAL", SCRIPT, "0", *given)
        if found is None:
            return None
        states, ended = found
        return [_queue_state(row) for row in states], [_ended_job(row) for row in ended]


def lacks_all_permissions(error: RedisError) -> bool:
    """Return whether the user has none of the permissions that are needed, rather than too few."""
    return error.reason is RedisFailure.NO_PRIVILEGE and re.search(r"'(eval|select)'", str(error)) is not None


def permission_note(error: RedisError) -> str:
    """Return that jobs can't be read, and what would allow it."""
    return f"jobs in Redis can't be read: {error}; all that is needed: {GRANTS} %R~bull:*"


def job_stream(ended: Sequence[EndedJob], read_at: datetime) -> EventStream:
    """Return the stream of ended jobs that were read at once; the next collection reads the others."""
    end = read_until(ended, read_at)

    async def read(known: ReadState, now: datetime) -> Slice:
        since = known.position.until
        until = min(backfill.slice_end(since, now, MAX_STEPS), max(end, since))
        return Slice([job for job in ended if job.at <= until or until == now], until)

    return EventStream(STREAM, BACKFILL, read)


def read_until(ended: Sequence[EndedJob], now: datetime) -> datetime:
    """Return up to when all ended jobs were read: now, or the last of those of which only so many are read at once."""
    ends = [now]
    for failed in (False, True):
        times = [job.at for job in ended if job.failed is failed]
        if len(times) >= MAX_ENDED:
            ends.append(max(times))
    return min(ends)


def queue_samples(states: Sequence[QueueState], known: set[str], now: datetime) -> Iterator[Sample]:
    """Yield the samples of each queue: those with jobs in a state, and the ``known`` ones, which had some before."""
    for queue in sorted({*known, *(state.queue for state in states)}):
        own = [state for state in states if state.queue == queue]
        waiting, running, retrying = (sum(it.count for it in own if it.state == name) for name in STATES)
        oldest, started = (
            min((it.oldest for it in own if it.state == name and it.oldest), default=now)
            for name in ("waiting", "running")
        )
        ages = [max(0.0, (now - since).total_seconds()) for since in (oldest, started)]
        values = (waiting, ages[0], running, retrying, ages[1])
        for family, value in zip(job_metrics.QUEUE_GAUGES, values, strict=True):
            yield family.sample(value, queue=queue)


def _queue_state(row: Sequence[Any]) -> QueueState:
    state, queue, count, oldest = row
    return QueueState(_text(state), _text(queue), int(count), moment(int(oldest)) if int(oldest) else None)


def _ended_job(row: Sequence[Any]) -> EndedJob:
    key, at, failed, attempts, queue = row
    return EndedJob(_text(key), moment(int(float(at))), _text(queue), bool(failed), int(attempts))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
