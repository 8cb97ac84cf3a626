"""Jobs: the same numbers wherever they wait, in the table `job_record` or in Redis (BullMQ)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from toban.collect.backfill import EventBook
from toban.core.ports import Recorder
from toban.core.samples import Batch, Sample, counter, gauge
from toban.instruments.cardinality import CardinalityLimits

WAITING: Final = gauge("vendure_jobs_waiting", "Jobs that wait to be begun, by queue.")
OLDEST: Final = gauge(
    "vendure_jobs_oldest_waiting_seconds", "How long the oldest job has been waiting to be begun, by queue.", "seconds"
)
RUNNING: Final = gauge("vendure_jobs_running", "Jobs that are being done, by queue.")
RETRYING: Final = gauge("vendure_jobs_retrying", "Jobs that failed and wait to be tried again, by queue.")
LONGEST_RUNNING: Final = gauge(
    "vendure_jobs_longest_running_seconds",
    "How long the job has been running that was begun first, by queue.",
    "seconds",
)
FAILED: Final = counter("vendure_jobs_failed_total", "Jobs that were given up, by queue.")
COMPLETED: Final = counter("vendure_jobs_completed_total", "Jobs that were done, by queue.")
RETRIED: Final = counter(
    "vendure_jobs_retried_total", "Tries that failed and were followed by another, by queue; counted at a job's end."
)

STANDING: Final = (WAITING, OLDEST, RUNNING, RETRYING, LONGEST_RUNNING)
"""How a queue stands: in this order in a query's columns, and in what is read of Redis."""

ENDED: Final = (COMPLETED, FAILED, RETRIED)

MARGIN: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that was done or given up, after so many tries."""

    id: str
    at: datetime
    queue: str
    failed: bool
    tries: int

    def count(self, recorder: Recorder, budgets: CardinalityLimits) -> None:
        """Count it."""
        queue = budgets.limited("queue", self.queue)
        recorder.add(FAILED if self.failed else COMPLETED, 1, queue=queue)
        # A queue that is known has all three numbers: nought is one too.
        recorder.add(COMPLETED if self.failed else FAILED, 0, queue=queue)
        recorder.add(RETRIED, max(0, self.tries - 1), queue=queue)


def counted_queues(batches: Iterable[Batch]) -> set[str]:
    """Return the queues of which jobs were counted: they are known from then on, whether they hold jobs or not."""
    layouts = {id(batch.layout): batch.layout for batch in batches}.values()
    return {labels["queue"] for layout in layouts for labels in layout.series if "queue" in labels}


def empty_queue_samples(queues: Iterable[str]) -> Iterator[Sample]:
    """Return how queues stand that hold no job."""
    return (family.sample(0, queue=queue) for queue in sorted(queues) for family in STANDING)


def jobs_book(name: str) -> EventBook:
    """Return the book of jobs that are read by a collector of this kind."""
    return EventBook(f"{name}_jobs", ENDED, MARGIN)
