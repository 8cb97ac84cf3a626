"""Where a Vendure keeps its jobs: in its database, or in Redis. Pure: what was seen in, a decision out."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SQL_TASK: Final = "clean-jobs"
"""The scheduled task that the DefaultJobQueuePlugin registers."""
BULLMQ_TASK: Final = "clean-job-queue-index"
"""The scheduled task that the BullMQJobQueuePlugin registers."""


class JobStore(StrEnum):
    """Where jobs are kept."""

    SQL = "sql"
    """In the table `job_record`: DefaultJobQueuePlugin."""
    BULLMQ = "bullmq"
    """In Redis: BullMQJobQueuePlugin."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class JobStoreEvidence:
    """
    What was seen of a shop.

    ``tasks`` are the ids of its scheduled tasks. ``has_table`` tells whether there is a table `job_record`, and
    ``has_keys`` whether Redis has the keys of a queue; None where Redis is not configured. ``sampled`` are the newest
    jobs of the Admin API, and ``found`` how many of them are rows of the table, by id, queue and time.
    """

    tasks: AbstractSet[str]
    has_table: bool
    has_keys: bool | None
    sampled: int
    found: int


def job_store(seen: JobStoreEvidence) -> tuple[JobStore, str]:
    """
    Return where a shop keeps its jobs, and why that is certain or not.

    It is the database only where all that was seen says so: with BullMQ, `removeSettledJobs` deletes every settled job
    whatever its arguments are.
    """
    if BULLMQ_TASK in seen.tasks:
        return JobStore.BULLMQ, f"the BullMQJobQueuePlugin has registered its task {BULLMQ_TASK}"
    if seen.has_keys and not seen.has_table:
        return JobStore.BULLMQ, "Redis has a queue of BullMQ, and the database no table job_record"
    if not seen.has_table:
        return JobStore.UNKNOWN, "the database has no table job_record, and no queue of BullMQ was found"
    if seen.has_keys:
        return JobStore.UNKNOWN, "both the database and Redis have jobs: one of them is left from before"
    if SQL_TASK not in seen.tasks:
        return JobStore.UNKNOWN, f"the shop has not registered the task {SQL_TASK} of the DefaultJobQueuePlugin"
    if not seen.sampled:
        return JobStore.UNKNOWN, "the Admin API returns no job that could be compared with the table job_record"
    if seen.found < seen.sampled:
        return (
            JobStore.UNKNOWN,
            f"{seen.sampled - seen.found} of the {seen.sampled} newest jobs are not in the table job_record",
        )
    return JobStore.SQL, f"the {seen.sampled} newest jobs of the Admin API are rows of the table job_record"
