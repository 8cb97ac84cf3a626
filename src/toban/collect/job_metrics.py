"""Metrics of Vendure's jobs, wherever they wait: in the table `job_record` or in Redis (BullMQ)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from toban.collect.backfill import StreamDefinition
from toban.core.ports import Recorder
from toban.core.samples import Batch, Sample, counter, gauge
from toban.instruments.cardinality import CardinalityLimits

WAITING: Final = gauge("vendure_jobs_waiting", "Jobs that wait to be started, by queue.", labels=("queue",))
OLDEST: Final = gauge(
    "vendure_jobs_oldest_waiting_seconds",
    "Age of the oldest job that waits to be started, by queue.",
    "seconds",
    labels=("queue",),
)
RUNNING: Final = gauge("vendure_jobs_running", "Jobs that are running, by queue.", labels=("queue",))
RETRYING: Final = gauge(
    "vendure_jobs_retrying", "Jobs that failed and wait to be retried, by queue.", labels=("queue",)
)
LONGEST_RUNNING: Final = gauge(
    "vendure_jobs_longest_running_seconds",
    "How long the job that was started first has been running, by queue.",
    "seconds",
    labels=("queue",),
)
FAILED: Final = counter("vendure_jobs_failed_total", "Jobs that failed for good, by queue.", labels=("queue",))
COMPLETED: Final = counter("vendure_jobs_completed_total", "Jobs that were completed, by queue.", labels=("queue",))
RETRIED: Final = counter(
    "vendure_jobs_retried_total",
    "Attempts that failed and were followed by another, by queue; counted when a job ends.",
    labels=("queue",),
)

QUEUE_GAUGES: Final = (WAITING, OLDEST, RUNNING, RETRYING, LONGEST_RUNNING)
"""The gauges of a queue, in the order of a query's columns and of what is read from Redis."""

ENDED: Final = (COMPLETED, FAILED, RETRIED)

LATENESS: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that was completed or failed for good, after so many attempts."""

    id: str
    at: datetime
    queue: str
    failed: bool
    attempts: int

    def count(self, recorder: Recorder, limits: CardinalityLimits) -> None:
        """Add it to the counters."""
        queue = limits.limited("queue", self.queue)
        recorder.add(FAILED if self.failed else COMPLETED, 1, queue=queue)
        # A known queue has all three series: zero is a value too.
        recorder.add(COMPLETED if self.failed else FAILED, 0, queue=queue)
        recorder.add(RETRIED, max(0, self.attempts - 1), queue=queue)


def counted_queues(batches: Iterable[Batch]) -> set[str]:
    """Return the queues whose jobs were counted: they keep their series from then on, with or without jobs."""
    layouts = {id(batch.layout): batch.layout for batch in batches}.values()
    return {labels["queue"] for layout in layouts for labels in layout.series if "queue" in labels}


def empty_queue_samples(queues: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples of queues without jobs."""
    return (family.sample(0, queue=queue) for queue in sorted(queues) for family in QUEUE_GAUGES)


def jobs_stream(prefix: str) -> StreamDefinition:
    """Return the definition of the stream of ended jobs that a collector of this kind reads."""
    return StreamDefinition(f"{prefix}_jobs", ENDED, LATENESS)
